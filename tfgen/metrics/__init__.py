"""Numbers about generators: likelihoods with error bars, sample quality, reconstructions."""

from tfgen.metrics.likelihood import (
    ImportanceWeightedBound,
    MeanWithStandardError,
    bits_per_dim,
    evaluate_likelihood,
)

__all__ = [
    "ImportanceWeightedBound",
    "MeanWithStandardError",
    "bits_per_dim",
    "evaluate_likelihood",
]
