"""Generators of images and their common contract."""

from tfgen.generative.base import Generator, NoiseSpec, seeds_for

__all__ = ["Generator", "NoiseSpec", "seeds_for"]
