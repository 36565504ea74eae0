"""NVAE: deep hierarchical variational autoencoder (arXiv:2007.03898)."""

from tfgen.generative.nvae.frozen import FrozenNVAE
from tfgen.generative.nvae.nvae import NVAE
from tfgen.optimizers import Adamax as _Adamax  # noqa: F401 (saved models name it)

__all__ = ["NVAE", "FrozenNVAE"]
