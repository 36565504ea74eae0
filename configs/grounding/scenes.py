r"""Phrase grounding on scenes of handwritten digits: pictures and captions, nothing to download.

tfgen-train --config=configs/grounding/scenes.py --workdir=runs/scenes  # six minutes on busy cores
tfgen-train --config=configs/grounding/scenes.py:runlocal ...           # every step in half one

Regions are windows of the picture, words are learnt along; no box is seen in training.
"""

from tfgen import recipes

MODES = ("", "runlocal")


def get_config(mode=""):
    return recipes.grounding_scenes(mode)
