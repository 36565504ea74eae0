r"""LSGM on CIFAR-10, in the paper's three variants.

Without a mode it balances images and likelihood, `:fid` is for images, `:nll` for the likelihood.
Each has its VAE: `:vae`, `:vae_fid`, `:vae_nll`.

    tfgen-train --config=configs/lsgm/cifar10.py:vae --workdir=runs/cifar10-vae
    tfgen-train --config=configs/lsgm/cifar10.py --config.vae=runs/cifar10-vae \
        --workdir=runs/cifar10-lsgm --strategy=mirrored

`:vae_runlocal` and `:runlocal` show every step of the same programs in a few minutes.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = (*recipes.LSGM_MODES, "fid", "vae_fid", "nll", "vae_nll")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe of a variant, or a smaller one: `mode` is one of `MODES`."""
    recipes.check_mode(mode, MODES)
    likelihood = mode.endswith("nll")
    vae = recipes.colour_nvae(
        32,
        architecture="res_bnswish",
        num_channels=256 if likelihood else 128,
        num_scales=1,
        num_groups=4 if likelihood else 20,
        latent_channels=45 if likelihood else 9,
        encoder_cells=3 if likelihood else 2,
        decoder_cells=3 if likelihood else 2,
        preprocess_cells=3 if likelihood else 2,
        postprocess_cells=3 if likelihood else 2,
        num_flows=2 if likelihood else 0,
    )
    model = {"mixing_logit": -3.0, "spectral_coefficient": 1e-2, "algorithm": 3, "weighting": "un"}
    if likelihood:
        model.update(algorithm=1, weighting="ll", importance=False, cutoff=0.0)
        model["sde"] = "geometric_sde"
    if likelihood or mode.endswith("fid"):
        model["kl_initial"] = 0.7
    config = recipes.lsgm(
        "cifar10",
        vae,
        {"num_channels": 512, "multipliers": (1, 1, 1), "filtered": True},
        batch_size=256,
        epochs=1875,
        learning_rate=1e-4,
        warmup_epochs=5,
        model=model,
        flip=True,
    )
    size = "runlocal" if mode.endswith("runlocal") else ""
    stage = "vae" if mode.startswith("vae") else ""
    return recipes.stages(
        "_".join(filter(None, (stage, size))), config, 256, 600 if mode == "vae" else 400
    )
