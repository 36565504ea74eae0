r"""Phrase grounding from the captions of Flickr30K, tested on the boxes of Flickr30K Entities.

Published: 74.94 % pointing accuracy, 76.74 % when trained on COCO.

tfgen-train --config=configs/grounding/flickr30k.py --workdir=runs/flickr30k --data_dir=data
tfgen-train --config=configs/grounding/flickr30k.py:runlocal ...  # every step in a minute

`cpu` trains 4,000 steps at ten times the rate.

The folder `flickr30k` of the data folder holds what docs/grounding.md tells to prepare.
"""

from tfgen import recipes

MODES = ("", "cpu", "runlocal")


def get_config(mode=""):
    return recipes.grounding("arrays:flickr30k", mode)
