"""VAEBM: a VAE sharpened by an energy network (arXiv:2010.00654)."""

from tfgen.generative.vaebm.energy import EnergyNetwork

__all__ = ["EnergyNetwork"]
