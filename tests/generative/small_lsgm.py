"""Small LSGMs over VAEs whose latents are known, and over a tiny NVAE."""

import numpy as np
import tensorflow as tf
from tiny_nvae import shaken_nvae
from toy_vae import ToyVAE

from tfgen.generative.lsgm import LSGM

MLP = dict(width=32, num_blocks=2, embedding_dims=16)
UNET = dict(num_channels=8, multipliers=(1,), num_blocks=1, embedding_dims=8)
RK45 = {"name": "rk45"}
DPM = {"name": "dpm_solver", "num_steps": 4}
SEEDS = tf.range(4)


def toy(dims=2, **options):
    return LSGM(ToyVAE(dims=dims), MLP, sampler=options.pop("sampler", DPM), **options)


def over_nvae(**options):
    """Over two grids, of which the smaller has the diffusion."""
    vae = shaken_nvae(num_scales=2, num_groups=2, ada_groups=False)
    return LSGM(vae, UNET, **{"sampler": DPM, **options})


def disturbed(model, logit=0.0):
    """With a prior that is no Normal."""
    model.build()
    rng = np.random.default_rng(3)
    for variable in model.network.trainable_variables:
        variable.assign_add(0.1 * rng.standard_normal(variable.shape))
    model.mixing_logit.assign(tf.fill(model.mixing_logit.shape, logit))
    return model
