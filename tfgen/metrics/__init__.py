"""Numbers about generators: likelihoods with error bars, sample quality, reconstructions."""

from tfgen.metrics.features import FeatureExtractor, inception_v3
from tfgen.metrics.frechet import frechet_distance
from tfgen.metrics.kernel_distance import kernel_distance
from tfgen.metrics.likelihood import (
    ImportanceWeightedBound,
    MeanWithStandardError,
    bits_per_dim,
    evaluate_likelihood,
)
from tfgen.metrics.mode_count import ModeCount, classify_channels, count_modes, expected_kl
from tfgen.metrics.moments import Moments
from tfgen.metrics.neighbours import nearest_neighbours
from tfgen.metrics.precision_recall import precision_recall
from tfgen.metrics.reconstruction import mean_squared_error, psnr_db, ssim
from tfgen.metrics.sample_quality import FeatureStatistics, compare_samples, feature_statistics

__all__ = [
    "FeatureExtractor",
    "FeatureStatistics",
    "ImportanceWeightedBound",
    "MeanWithStandardError",
    "ModeCount",
    "Moments",
    "bits_per_dim",
    "classify_channels",
    "compare_samples",
    "count_modes",
    "evaluate_likelihood",
    "expected_kl",
    "feature_statistics",
    "frechet_distance",
    "inception_v3",
    "kernel_distance",
    "mean_squared_error",
    "nearest_neighbours",
    "precision_recall",
    "psnr_db",
    "ssim",
]
