"""Thresholds and p-values that hold for any score and any data, by exchangeability alone.

The calibration images must be in-distribution and have had no part in training or fitting. A new
in-distribution image then has any rank among them with the same probability (Vovk et al., 2005).
"""

import math

import numpy as np

from tfgen.errors import DataError
from tfgen.metrics.separation import checked_scores
from tfgen.ops.checks import in_range


def conformal_p_values(calibration_scores: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """How unusual each score is: `(1 + number of calibration scores at least as large) / (n + 1)`.

    Of an in-distribution image, P(p <= a) is at most a for every a.

    Args:
        calibration_scores: `[n]`, larger is more out-of-distribution.
        scores: `[N]`, of new images.

    Returns:
        float64 array `[N]`, in (0, 1].

    Raises:
        DataError: there are no calibration scores, or a score is NaN.
    """
    known = np.sort(checked_scores(calibration_scores, "the calibration set"))
    scores = checked_scores(scores, "the set of new images")
    at_least = len(known) - np.searchsorted(known, scores, side="left")
    return (1.0 + at_least) / (len(known) + 1.0)


def acceptance_threshold(
    calibration_scores: np.ndarray, acceptance: float = 0.95, confidence: float | None = None
) -> float:
    """The threshold up to which images are accepted, with a guarantee for in-distribution ones.

    Without `confidence`, a new in-distribution image is accepted with probability at least
    `acceptance`, over the draw of the calibration images as well. With it, the threshold is one
    whose own acceptance rate is at least `acceptance` with that confidence (Wilks, 1941): higher,
    as it must hold for nearly all calibration sets.

    Args:
        calibration_scores: `[n]`, larger is more out-of-distribution.
        acceptance: float, in (0, 1). Defaults to `0.95`.
        confidence: float, in (0, 1); None: on average over calibration sets.

    Returns:
        A float; accept scores that are at most this.

    Raises:
        DataError: there are too few calibration images for the guarantee, or a score is NaN.
    """
    in_range("acceptance", acceptance, 0.0, above=True, below=1.0)
    known = np.sort(checked_scores(calibration_scores, "the calibration set"))
    count, place = len(known), _place(len(known), acceptance, confidence)
    if place > count:
        raise DataError(
            f"{count} calibration images cannot guarantee an acceptance of {acceptance:g}; give at "
            f"least {fewest_images(acceptance, confidence)}"
        )
    return float(known[place - 1])


def fewest_images(acceptance: float, confidence: float | None = None) -> int:
    """The fewest calibration images for a guarantee of `acceptance_threshold`, an integer.

    Args:
        acceptance: float, in (0, 1).
        confidence: float, in (0, 1), or None as there.
    """
    if confidence is None:  # n / (n + 1) at least
        return max(1, math.ceil(acceptance / (1.0 - acceptance) - 1e-9))
    return max(1, math.ceil(math.log(1.0 - confidence) / math.log(acceptance) - 1e-9))


def _place(count, acceptance, confidence) -> int:
    """Which of the sorted calibration scores it is, from 1; beyond the last if none will do."""
    if confidence is None:
        return max(1, math.ceil((count + 1) * acceptance - 1e-9))
    from scipy.stats import binom

    in_range("confidence", confidence, 0.0, above=True, below=1.0)
    # The k-th smallest of n accepts too little where k or more of the n lie in the lowest part of
    # probability `acceptance`: wanted is the smallest k with P(Binomial < k) at least `confidence`.
    return int(binom.ppf(confidence, count, acceptance)) + 1
