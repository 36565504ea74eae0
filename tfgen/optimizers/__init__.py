"""Optimizers that Keras lacks."""

from tfgen.optimizers.adamax import Adamax

__all__ = ["Adamax"]
