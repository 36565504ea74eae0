r"""NVAE on CelebA-HQ at 256 x 256 RGB in 5 bits, five scales, two pairs of flows a group.

The paper's recipe: 0.70 bits/dim (5 bits) after 94 hours on 24 V100s with 32 GB. Users
report that four images a device with 30 channels do not fit there without recomputation;
`recompute=True` trades a second forward pass for that memory. With 24 channels
(`--config.model.num_channels=24`) the result is about 0.01 bits/dim worse.

    tfgen-train --config=configs/nvae/celeba_hq256.py --workdir=runs/celeba-hq256 \
        --strategy=multi_worker --precision=mixed_float16
    tfgen-evaluate --workdir=runs/celeba-hq256

`:runlocal` shows every step of the same program on two cores in a few minutes:

    tfgen-train --config=configs/nvae/celeba_hq256.py:runlocal --workdir=runs/celeba-hq256-local
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = ("", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    return recipes.face_nvae(
        mode,
        data="celeba_hq256",
        optimizer=recipes.adamax(),
        epochs=300,
        split="validation",
        spectral_coefficient=1e-2,
    )
