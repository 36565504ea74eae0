"""Words that fit a caption but not its image: what the second loss learns from."""

from tfgen.grounding.negatives.masked_lm import MaskedLanguageModel
from tfgen.grounding.negatives.proposals import WordNegatives, propose_negatives
from tfgen.grounding.negatives.ranking import noun_probabilities, ranked_words, substituted

__all__ = [
    "MaskedLanguageModel",
    "WordNegatives",
    "noun_probabilities",
    "propose_negatives",
    "ranked_words",
    "substituted",
]
