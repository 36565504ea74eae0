"""UNAS: architecture search with an unbiased gradient (Vahdat et al., 2020, arXiv:1912.07651)."""

from tfgen.search.unas.classifier import SearchedClassifier
from tfgen.search.unas.criteria import Criterion
from tfgen.search.unas.distribution import ArchitectureDistribution, Architectures
from tfgen.search.unas.estimators import (
    ESTIMATORS,
    GradientEstimator,
    GumbelSoftmax,
    Reinforce,
    UnbiasedEstimator,
)
from tfgen.search.unas.genotypes import GENOTYPES, BlockGenotype, CellGenotype
from tfgen.search.unas.searcher import UNAS

__all__ = [
    "ESTIMATORS",
    "GENOTYPES",
    "UNAS",
    "ArchitectureDistribution",
    "Architectures",
    "BlockGenotype",
    "CellGenotype",
    "Criterion",
    "GradientEstimator",
    "GumbelSoftmax",
    "Reinforce",
    "SearchedClassifier",
    "UnbiasedEstimator",
]
