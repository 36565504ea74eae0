r"""Phrase grounding on scenes of clothes and digits, in compositions that no training has seen.

tfgen-train --config=configs/grounding/composed.py --workdir=runs/composed --data_dir=data
tfgen-train --config=configs/grounding/composed.py:runlocal ...  # every step in half a minute

Needs `fashion_mnist` and `mnist`. Regions are windows of the picture, cropped out of a feature map
that is learnt along with the words; no box is seen in training.
"""

from tfgen import recipes

MODES = ("", "runlocal")


def get_config(mode=""):
    return recipes.composed_scenes(mode)
