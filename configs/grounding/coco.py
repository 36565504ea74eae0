r"""Phrase grounding from the captions of COCO, the paper's larger set.

Published: 76.74 % pointing accuracy on Flickr30K Entities.

tfgen-train --config=configs/grounding/coco.py --workdir=runs/coco_captions --data_dir=data
tfgen-train --config=configs/grounding/coco.py:runlocal ...  # every step in a minute

`cpu` trains 4,000 steps at ten times the rate.

The folder `coco_captions` of the data folder holds what docs/grounding.md tells to prepare.
"""

from tfgen import recipes

MODES = ("", "cpu", "runlocal")


def get_config(mode=""):
    return recipes.grounding("arrays:coco_captions", mode)
