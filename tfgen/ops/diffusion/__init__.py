"""Diffusions that turn data into noise, and the times at which they are looked at."""

from tfgen.ops.diffusion.sdes import SDE, VESDE, VPSDE, GeometricVPSDE, SubVPSDE, sde_from_config
from tfgen.ops.diffusion.time_sampling import WEIGHTINGS, TimeSampler, loss_weight, uniforms

__all__ = [
    "SDE",
    "VESDE",
    "VPSDE",
    "WEIGHTINGS",
    "GeometricVPSDE",
    "SubVPSDE",
    "TimeSampler",
    "loss_weight",
    "sde_from_config",
    "uniforms",
]
