"""How well a score parts outliers from inliers; larger scores are more out-of-distribution.

All of these numbers depend on nothing but the order of the scores, ties included, and are exact:
streaming metrics with a few hundred thresholds can be off in the second digit.
"""

import math
from typing import NamedTuple

import numpy as np

from tfgen.errors import DataError
from tfgen.ops.checks import in_range


class Separation(NamedTuple):
    """How far two sets of scores lie apart; each is a float in [0, 1].

    Attributes:
        auroc: float, probability that an outlier scores above an inlier, ties counted half.
        average_precision_out: float, area under precision and recall of outliers, by steps.
        average_precision_in: float, the same of inliers, which are found by low scores.
        fpr95_id_positive: float, share of outliers accepted where 95 % of inliers are.
        fpr95_ood_positive: float, share of inliers rejected where 95 % of outliers are.
    """

    auroc: float
    average_precision_out: float
    average_precision_in: float
    fpr95_id_positive: float
    fpr95_ood_positive: float


def measure_separation(in_scores: np.ndarray, out_scores: np.ndarray) -> Separation:
    """All numbers of `Separation` at once, as a named tuple of floats.

    Args:
        in_scores: `[N]`, of in-distribution examples.
        out_scores: `[M]`, of others.

    Raises:
        DataError: a set is empty, or a score is NaN.
    """
    both = in_scores, out_scores
    return Separation(
        auroc(*both),
        average_precision_out(*both),
        average_precision_in(*both),
        fpr_id_positive(*both),
        fpr_ood_positive(*both),
    )


def auroc(in_scores: np.ndarray, out_scores: np.ndarray) -> float:
    """P(outlier above inlier) + P(equal) / 2: the area under the ROC curve, as a float.

    Args:
        in_scores: `[N]`, of in-distribution examples.
        out_scores: `[M]`, of others.

    Raises:
        DataError: a set is empty, or a score is NaN.
    """
    from sklearn.metrics import roc_auc_score

    inside, outside = ordered(in_scores, out_scores)
    return float(roc_auc_score(_labels(inside, outside), np.r_[inside, outside]))


def average_precision_out(in_scores: np.ndarray, out_scores: np.ndarray) -> float:
    """Average precision where outliers are to be found, by high scores, as a float.

    The step-wise sum. The trapezoid under the same points, which some libraries print, is larger
    where scores tie: 0.8 instead of 0.6 where all do.

    Args:
        in_scores: `[N]`, of in-distribution examples.
        out_scores: `[M]`, of others.

    Raises:
        DataError: a set is empty, or a score is NaN.
    """
    from sklearn.metrics import average_precision_score

    inside, outside = ordered(in_scores, out_scores)
    return float(average_precision_score(_labels(inside, outside), np.r_[inside, outside]))


def average_precision_in(in_scores: np.ndarray, out_scores: np.ndarray) -> float:
    """Average precision where inliers are to be found, by low scores, as a float.

    Args:
        in_scores: `[N]`, of in-distribution examples.
        out_scores: `[M]`, of others.

    Raises:
        DataError: a set is empty, or a score is NaN.
    """
    inside, outside = ordered(in_scores, out_scores)
    return average_precision_out(-outside, -inside)


def fpr_id_positive(
    in_scores: np.ndarray, out_scores: np.ndarray, acceptance: float = 0.95
) -> float:
    """Share of outliers accepted where at least `acceptance` of the inliers are, a float.

    The convention of ODIN's and CSI's authors.

    Args:
        in_scores: `[N]`, of in-distribution examples.
        out_scores: `[M]`, of others.
        acceptance: float, in (0, 1]. Defaults to `0.95`.

    Raises:
        DataError: a set is empty, or a score is NaN.
    """
    inside, outside = ordered(in_scores, out_scores)
    threshold = np.sort(inside)[smallest_count(acceptance, len(inside)) - 1]
    return float(np.mean(outside <= threshold))


def fpr_ood_positive(
    in_scores: np.ndarray, out_scores: np.ndarray, rejection: float = 0.95
) -> float:
    """Share of inliers rejected where at least `rejection` of the outliers are, a float.

    The convention of OpenOOD and pytorch-ood.

    Args:
        in_scores: `[N]`, of in-distribution examples.
        out_scores: `[M]`, of others.
        rejection: float, in (0, 1]. Defaults to `0.95`.

    Raises:
        DataError: a set is empty, or a score is NaN.
    """
    inside, outside = ordered(in_scores, out_scores)
    threshold = np.sort(outside)[::-1][smallest_count(rejection, len(outside)) - 1]
    return float(np.mean(inside >= threshold))


def roc_curve(in_scores: np.ndarray, out_scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the ROC curve, outliers positive, as a pair of arrays.

    Args:
        in_scores: `[N]`, of in-distribution examples.
        out_scores: `[M]`, of others.

    Returns:
        `(share of inliers rejected, share of outliers rejected)`, both from 0 to 1.

    Raises:
        DataError: a set is empty, or a score is NaN.
    """
    from sklearn import metrics

    inside, outside = ordered(in_scores, out_scores)
    false, true, _ = metrics.roc_curve(_labels(inside, outside), np.r_[inside, outside])
    return false, true


def smallest_count(rate: float, total: int) -> int:
    """The fewest of `total` that are at least a share `rate` of them: an integer of at least 1.

    Args:
        rate: float, in (0, 1].
        total: integer, at least 1.
    """
    in_range("the rate", rate, 0.0, above=True, most=1.0)
    return max(1, math.ceil(rate * total - 1e-9))  # 0.95 of 20 is 19, rounded as it may be


def ordered(in_scores: np.ndarray, out_scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers `[N]` and `[M]` in the order of the scores, equal where those are.

    Infinite scores have their place in it.

    Args:
        in_scores: `[N]`, of in-distribution examples.
        out_scores: `[M]`, of others.

    Raises:
        DataError: a set is empty or is no vector, or a score is NaN.
    """
    inside = checked_scores(in_scores, "the in-distribution set")
    outside = checked_scores(out_scores, "the set of outliers")
    _, places = np.unique(np.r_[inside, outside], return_inverse=True)
    return places[: len(inside)], places[len(inside) :]


def checked_scores(scores: np.ndarray, where: str) -> np.ndarray:
    """Scores as float64 `[N]`.

    Args:
        scores: array of numbers.
        where: string, whose scores they are, for the message.

    Raises:
        DataError: there are none, they are no vector, or one is NaN.
    """
    found = np.asarray(scores, np.float64)
    if found.ndim != 1 or not found.size:
        raise DataError(
            f"{where} has scores of shape {found.shape}; expected one score an image, [N], and at "
            "least one image"
        )
    bad = np.flatnonzero(np.isnan(found))
    if bad.size:
        raise DataError(
            f"{where} has {bad.size} scores that are NaN, first of image {bad[0]}; look at its "
            "images and the network's weights: no number can be made of them"
        )
    return found


def _labels(inside, outside):
    return np.r_[np.zeros(len(inside), np.int8), np.ones(len(outside), np.int8)]
