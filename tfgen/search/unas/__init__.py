"""UNAS: architecture search with an unbiased gradient (Vahdat et al., 2020, arXiv:1912.07651)."""

from tfgen.search.unas.distribution import ArchitectureDistribution, Architectures
from tfgen.search.unas.estimators import (
    ESTIMATORS,
    GradientEstimator,
    GumbelSoftmax,
    Reinforce,
    UnbiasedEstimator,
)
from tfgen.search.unas.genotypes import GENOTYPES, BlockGenotype, CellGenotype

__all__ = [
    "ESTIMATORS",
    "GENOTYPES",
    "ArchitectureDistribution",
    "Architectures",
    "BlockGenotype",
    "CellGenotype",
    "GradientEstimator",
    "GumbelSoftmax",
    "Reinforce",
    "UnbiasedEstimator",
]
