"""Numbers about models: likelihoods with error bars, sample quality, detection, calibration."""

from tfgen.metrics.calibration import expected_calibration_error, fit_temperature
from tfgen.metrics.conformal import acceptance_threshold, conformal_p_values, fewest_images
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
from tfgen.metrics.separation import (
    Separation,
    auroc,
    average_precision_in,
    average_precision_out,
    fpr_id_positive,
    fpr_ood_positive,
    measure_separation,
    roc_curve,
)
from tfgen.metrics.separation_intervals import (
    AurocDifference,
    Interval,
    bootstrap_intervals,
    compare_auroc,
    delong_interval,
)

__all__ = [
    "AurocDifference",
    "FeatureExtractor",
    "FeatureStatistics",
    "ImportanceWeightedBound",
    "Interval",
    "MeanWithStandardError",
    "ModeCount",
    "Moments",
    "Separation",
    "acceptance_threshold",
    "auroc",
    "average_precision_in",
    "average_precision_out",
    "bits_per_dim",
    "bootstrap_intervals",
    "classify_channels",
    "compare_auroc",
    "compare_samples",
    "conformal_p_values",
    "count_modes",
    "delong_interval",
    "evaluate_likelihood",
    "expected_calibration_error",
    "expected_kl",
    "feature_statistics",
    "fewest_images",
    "fit_temperature",
    "fpr_id_positive",
    "fpr_ood_positive",
    "frechet_distance",
    "inception_v3",
    "kernel_distance",
    "mean_squared_error",
    "measure_separation",
    "nearest_neighbours",
    "precision_recall",
    "psnr_db",
    "roc_curve",
    "ssim",
]
