"""Which region of an image a phrase means, learnt from captions alone.

Gupta et al., 2020 (arXiv:2006.09920, version 3).
"""

from tfgen.grounding.phrase_grounding import PhraseGrounding

__all__ = ["PhraseGrounding"]
