"""Generators of images and their common contract."""

from tfgen.generative.base import Generator, NoiseSpec, seeds_for
from tfgen.generative.latent import GroupPrior, LatentGenerator, PosteriorWalk, check_walk

__all__ = [
    "Generator",
    "GroupPrior",
    "LatentGenerator",
    "NoiseSpec",
    "PosteriorWalk",
    "check_walk",
    "seeds_for",
]
