"""Optimizers that Keras lacks."""

from tfgen.optimizers.adamax import Adamax
from tfgen.optimizers.clipped_adam import ClippedAdam

__all__ = ["Adamax", "ClippedAdam"]
