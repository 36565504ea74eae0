r"""The blocks that UNAS found on ImageNet for a latency, trained as in the paper.

    tfgen-train --config=configs/searched/imagenet_blocks.py --workdir=runs/blocks-found \
        --config.data.name=folder:PATH

300 epochs in batches of 512 with random crops of any size, random colours and smoothed labels. The
rate falls to 0; that of the published program ends near 1.4e-4.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = recipes.SEARCHED_MODES


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    return recipes.searched_imagenet(
        mode,
        "unas_proxyless",
        kind="blocks",
        network={"width": 1.0},
        epochs=300,
        batch_size=512,
        learning_rate=0.2,
        weight_penalty=5e-5,
    )
