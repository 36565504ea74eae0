"""NVAE: deep hierarchical variational autoencoder (arXiv:2007.03898)."""

from tfgen.generative.nvae.frozen import FrozenNVAE
from tfgen.generative.nvae.nvae import NVAE

__all__ = ["NVAE", "FrozenNVAE"]
