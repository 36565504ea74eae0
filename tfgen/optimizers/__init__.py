"""Optimizers that Keras lacks."""

from tfgen.optimizers.adamax import Adamax
from tfgen.optimizers.fromage import Fromage

__all__ = ["Adamax", "Fromage"]
