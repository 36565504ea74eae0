"""VAEBM: a VAE sharpened by an energy network (arXiv:2010.00654)."""

from tfgen.generative.vaebm.energy import EnergyNetwork
from tfgen.generative.vaebm.frozen import FrozenVAEBM
from tfgen.generative.vaebm.guard import ExplosionError, ExplosionGuard
from tfgen.generative.vaebm.inpainting import inpaint
from tfgen.generative.vaebm.partition import log_partition_bounds
from tfgen.generative.vaebm.vaebm import VAEBM

__all__ = [
    "VAEBM",
    "EnergyNetwork",
    "ExplosionError",
    "ExplosionGuard",
    "FrozenVAEBM",
    "inpaint",
    "log_partition_bounds",
]
