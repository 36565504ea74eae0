"""Building blocks shared by the generative models."""

from tfgen.layers.bank import ParameterBank
from tfgen.layers.data_init import DataDependentWeights
from tfgen.layers.declarations import BatchNorm, Conv, Dense, GroupNorm
from tfgen.layers.residual import Cell, InvertedResidual, Residual
from tfgen.layers.stored import StoredWeights
from tfgen.layers.weights import FoldedWeights, LiveWeights

__all__ = [
    "BatchNorm",
    "Cell",
    "Conv",
    "DataDependentWeights",
    "Dense",
    "FoldedWeights",
    "GroupNorm",
    "InvertedResidual",
    "LiveWeights",
    "ParameterBank",
    "Residual",
    "StoredWeights",
]
