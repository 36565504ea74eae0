"""NCP-VAE: a noise-contrastive prior over a trained VAE (arXiv:2010.02917)."""

from tfgen.generative.ncp.frozen import FrozenNCPVAE
from tfgen.generative.ncp.ncp import NCPVAE

__all__ = ["NCPVAE", "FrozenNCPVAE"]
