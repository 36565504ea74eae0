"""Whether a classifier's probabilities can be taken at their word."""

import numpy as np

from tfgen.errors import DataError
from tfgen.ops.checks import whole_number

_COLDEST, _HOTTEST = 1e-2, 1e2


def expected_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, num_bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy (Guo et al., 2017), a float in [0, 1].

    Images are sorted into bins of equal width by the largest probability.

    Args:
        probabilities: `[N, C]`, rows that sum to 1.
        labels: `[N]` integers.
        num_bins: integer, at least 1. Defaults to `15`.

    Raises:
        DataError: shapes do not fit, or the rows are no probabilities.
    """
    whole_number("num_bins", num_bins, 1)
    probabilities, labels = _checked(probabilities, labels, "probabilities")
    if np.min(probabilities) < -1e-6 or np.max(np.abs(probabilities.sum(axis=1) - 1.0)) > 1e-3:
        raise DataError(
            "the probabilities have rows that are negative or do not sum to 1; take the softmax of "
            "the logits"
        )
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    gaps = np.bincount(bins, confidence - right, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(labels))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T at which `softmax(logits / T)` is most likely (Guo et al., 2017).

    Args:
        logits: `[N, C]`, of images that were not trained on.
        labels: `[N]` integers.

    Returns:
        A float between 0.01 and 100. Where every image is right there is no largest likelihood, and
        it is 0.01.

    Raises:
        DataError: shapes do not fit, or logits are not finite.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    logits, labels = _checked(logits, labels, "logits")
    margins = logits - logits[np.arange(len(labels)), labels][:, None]

    def surprise(temperature):
        return np.mean(logsumexp(margins / temperature, axis=1))

    # In log T there is one minimum, as the surprise is convex in 1 / T.
    found = minimize_scalar(
        lambda log_temperature: surprise(np.exp(log_temperature)),
        bounds=(np.log(_COLDEST), np.log(_HOTTEST)),
        method="bounded",
        options={"xatol": 1e-8},
    )
    end = min(_COLDEST, _HOTTEST, key=surprise)  # which the search comes near, but never takes
    return end if surprise(end) <= found.fun else float(np.exp(found.x))


def _checked(values, labels, what):
    values, labels = np.asarray(values, np.float64), np.asarray(labels)
    if values.ndim != 2 or labels.shape != values.shape[:1] or labels.dtype.kind not in "iu":
        raise DataError(
            f"{what} of shape {values.shape} came with labels of shape {labels.shape} and type "
            f"{labels.dtype}; expected [N, classes] and [N] integers"
        )
    if not len(values) or not np.all(np.isfinite(values)):
        raise DataError(f"the {what} are none, or hold NaN or infinity; expected finite numbers")
    if np.min(labels) < 0 or np.max(labels) >= values.shape[1]:
        raise DataError(
            f"labels from {np.min(labels)} to {np.max(labels)} came with {values.shape[1]} "
            "classes; expected them to count from 0"
        )
    return values, labels
