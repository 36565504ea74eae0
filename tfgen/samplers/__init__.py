"""Samplers that know a call shape and no model: `energy(state) -> [B]`, `log_weight(z) -> [B]`."""

from tfgen.samplers.chain import Chain, Trace, compiled
from tfgen.samplers.hmc import hmc
from tfgen.samplers.langevin import langevin, mala
from tfgen.samplers.noise import ChainNoise

__all__ = [
    "Chain",
    "ChainNoise",
    "Trace",
    "compiled",
    "hmc",
    "langevin",
    "mala",
]
