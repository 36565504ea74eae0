r"""NVAE on FFHQ at 256 x 256 RGB in 5 bits, five scales, two pairs of flows a group.

The paper's recipe: 0.69 bits/dim (5 bits) after 160 hours on 24 V100s with 32 GB. Users
report that four images a device with 30 channels do not fit there without recomputation;
`recompute=True` trades a second forward pass for that memory. With 24 channels
(`--config.model.num_channels=24`) the result is about 0.01 bits/dim worse.

    tfgen-train --config=configs/nvae/ffhq256.py --workdir=runs/ffhq256 \
        --strategy=multi_worker --precision=mixed_float16
    tfgen-evaluate --workdir=runs/ffhq256

`:runlocal` shows every step of the same program on two cores in a few minutes:

    tfgen-train --config=configs/nvae/ffhq256.py:runlocal --workdir=runs/ffhq256-local
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = ("", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    return recipes.face_nvae(
        mode,
        data="ffhq256",
        optimizer=recipes.adamax(learning_rate=0.008),
        epochs=200,
        split="test",
        spectral_coefficient=1e-1,
    )
