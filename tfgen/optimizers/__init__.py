"""Optimizers that Keras lacks, and what an optimizer does to a network, measured."""

from tfgen.optimizers.adam import Adam, AdamW
from tfgen.optimizers.adamax import Adamax
from tfgen.optimizers.clipped_adam import ClippedAdam
from tfgen.optimizers.diagnostics import RelativeUpdates
from tfgen.optimizers.fromage import Fromage
from tfgen.optimizers.loss_slice import loss_slice, plot_loss_slices
from tfgen.optimizers.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Adamax",
    "ClippedAdam",
    "Fromage",
    "RelativeUpdates",
    "loss_slice",
    "plot_loss_slices",
]
