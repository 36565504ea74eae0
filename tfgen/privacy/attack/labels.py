"""Class labels of a batch, read off the gradient of its last dense layer without optimisation.

With features `o_k >= 0` of image k, softmax outputs `p_k` and one-hot labels `y_k`, the gradients
of the mean cross-entropy by kernel and bias are

    G[m, n] = 1/K sum_k (p_k[n] - y_k[n]) o_k[m],    b[n] = 1/K sum_k (p_k[n] - y_k[n]).

A term is negative only where n is the label of its image, so a negative entry in column n proves
that class n is in the batch (Yin et al., 2021, arXiv:2104.07586, section 3.2). Keras kernels are
features x classes. Everything here is float64 NumPy: the arrays are small and signs matter.
"""

import numpy as np

from tfgen.errors import UserError
from tfgen.privacy.attack.separation import separable_classes
from tfgen.privacy.network.residual import sigmoid, softmax

# Of the assumption that a network's mean output is uniform, beside one equation of the counts.
_PRIOR_WEIGHT = 0.6


def restore_labels(
    kernel_gradient: np.ndarray,
    bias_gradient: np.ndarray | None,
    batch_size: int,
    method: str = "instance",
    *,
    kernel: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    signed_features: bool = False,
    link: str = "softmax",
) -> np.ndarray:
    """The labels of a batch of known size, in ascending order.

    Methods:

    - "min": the paper's column rule. The classes whose columns of G have the smallest minima; no
      class can be found twice, so at most as many images as classes.
    - "sum": the classes with the smallest column sums, iDLG's rule extended to batches.
    - "bias": counting by greedy correction. Classes with `b < 0` once each; then repeatedly the
      class of the smallest b, which is raised by the mean effect of one image.
    - "uniform": counting for an untrained network, whose outputs are nearly `1/N`: the identity
      `count[n] = K (mean p[n] - b[n])` with `mean p = 1/N`.
    - "instance": counting for any network (iLRG). `G[:, c] / b[c]` approximates the features of
      class c; the head turns them into outputs, with which the same identity becomes a linear
      system for the counts. Needs `kernel`, and `bias` if the head has one.

    Where features have both signs, negative entries of G prove nothing. Then the signs of b do, and
    "min" and "sum" go by b; without b they begin with `separable_classes`.

    Args:
        kernel_gradient: array G, `[M, N]`: features x classes.
        bias_gradient: array b, `[N]`; None where the head has no bias, which leaves "min" and
            "sum".
        batch_size: integer K.
        method: string, one of `LABEL_METHODS`. Defaults to `"instance"`.
        kernel: array `[M, N]`, values of the head's kernel; None where they are not known.
        bias: array `[N]`, values of the head's bias; None where they are not known.
        signed_features: whether features can be negative. Defaults to `False`.
        link: "softmax", or "sigmoid" for heads trained class by class. Defaults to `"softmax"`.

    Returns:
        int64 `[K]`, ascending: the order of images in a batch leaves no trace in a mean gradient.

    Raises:
        UserError: a shape, value or method that cannot be.
    """
    if method not in LABEL_METHODS:
        raise UserError(
            f"label method is {method!r}; expected one of {', '.join(map(repr, LABEL_METHODS))}"
        )
    gradient, bias_gradient = _checked(kernel_gradient, bias_gradient)
    num_classes = gradient.shape[1]
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; expected at least 1")
    if method in ("min", "sum"):
        if batch_size > num_classes:
            raise UserError(
                f"the {method!r} rule finds every class once, but {batch_size} images were asked "
                f"for and there are {num_classes} classes; use 'instance', 'bias' or 'uniform'"
            )
        score = gradient.min(axis=0) if method == "min" else gradient.sum(axis=0)
        if signed_features:
            score = _score_of_signed(gradient, bias_gradient, score)
        return np.sort(np.argsort(score, kind="stable")[:batch_size])
    if bias_gradient is None:
        raise UserError(
            f"the {method!r} rule counts with the gradient of the head's bias, and this head has "
            "none; use 'min' or 'sum'"
        )
    if method == "instance":
        if kernel is None or np.shape(kernel) != gradient.shape:
            raise UserError(
                f"the 'instance' rule needs the head's kernel of shape {gradient.shape}; got "
                f"{None if kernel is None else np.shape(kernel)}"
            )
        bias = np.zeros(num_classes) if bias is None else np.asarray(bias, np.float64)
        present = present_classes(gradient, bias_gradient, signed_features=signed_features)
        if link == "sigmoid":
            counts = _sigmoid_counts(gradient, bias_gradient, batch_size, kernel, bias)
        else:
            counts = _instance_counts(gradient, bias_gradient, batch_size, kernel, bias, present)
    elif method == "bias":
        counts = _bias_counts(bias_gradient, batch_size)
    else:
        counts = round_to_total(
            batch_size * (_usual(link, num_classes) - bias_gradient), batch_size
        )
    return np.repeat(np.arange(num_classes), counts)


def present_classes(
    kernel_gradient: np.ndarray,
    bias_gradient: np.ndarray | None = None,
    tolerance: float = 0.0,
    *,
    signed_features: bool = False,
) -> np.ndarray:
    """Classes that the gradient proves to be in the batch, ascending.

    Their number is a lower bound of the batch size, and the batch size itself where no class
    repeats and no image hides another.

    Args:
        kernel_gradient: array `[M, N]`.
        bias_gradient: array `[N]`, or None.
        tolerance: float, how far below zero counts, relative to the largest magnitude. Defaults to
            `0.0`.
        signed_features: whether features can be negative: then only b proves a class by its sign,
            and without b it takes `separable_classes`. Defaults to `False`.

    Returns:
        Integer array, at most `[N]`.
    """
    gradient, bias_gradient = _checked(kernel_gradient, bias_gradient)
    if signed_features:
        if bias_gradient is None:
            return separable_classes(gradient)
        return np.flatnonzero(bias_gradient < -tolerance * np.abs(bias_gradient).max())
    found = gradient.min(axis=0) < -tolerance * np.abs(gradient).max()
    if bias_gradient is not None:
        found |= bias_gradient < -tolerance * np.abs(bias_gradient).max()
    return np.flatnonzero(found)


def label_accuracy(labels: np.ndarray, restored: np.ndarray) -> float:
    """Share of the labels that were restored, counting repetitions: multiset overlap / K.

    Args:
        labels: integer array `[K]`, the true ones.
        restored: integer array `[K]`, in any order.

    Returns:
        Float in [0, 1].
    """
    size = 1 + max(np.max(labels), np.max(restored))
    counts = [np.bincount(np.asarray(x, np.int64), minlength=size) for x in (labels, restored)]
    return float(np.minimum(*counts).sum() / len(labels))


def _bias_counts(b, batch_size):
    """Greedy counting, bias-corrected: every image pulls its class down by about m."""
    b = b.copy()
    counts = (b < 0).astype(np.int64)
    if counts.sum() > batch_size:  # more proofs than images: the strongest
        counts = np.zeros_like(counts)
        counts[np.argsort(b, kind="stable")[:batch_size]] = 1
    effect = b[b < 0].sum() / batch_size
    b -= effect * counts
    while counts.sum() < batch_size:
        lowest = int(np.argmin(b))
        counts[lowest] += 1
        b[lowest] -= effect if effect < 0 else -1.0 / batch_size
    return counts


def _score_of_signed(gradient, b, score):
    """What ranks classes by evidence where features have both signs; smallest first."""
    if b is not None:
        return b
    score = score / (np.abs(score).max() or 1.0)
    score[separable_classes(gradient)] -= 2.0
    return score


def _usual(link, num_classes):
    """The mean output of a network that knows nothing."""
    return 0.5 if link == "sigmoid" else 1.0 / num_classes


def _sigmoid_counts(gradient, b, batch_size, kernel, bias):
    """The identity of counts, with outputs at the mean features: sigmoids hide what signs prove."""
    common = gradient @ b / max(b @ b, 1e-300)
    return round_to_total(batch_size * (sigmoid(common @ kernel + bias) - b), batch_size)


def _instance_counts(gradient, b, batch_size, kernel, bias, present):
    """iLRG: outputs at the features each present class shows, then least squares for counts."""
    if not len(present) or not np.any(b):
        return _bias_counts(b, batch_size)
    # G[:, c] / b[c] shows the features of class c, unless the images of other classes cancel its
    # own in b[c]: the smaller b[c] beside what one image adds, the more the common features count.
    common = gradient @ b / (b @ b)
    doubt = (0.3 / batch_size) ** 2
    features = (gradient * b + doubt * common[:, None]) / (b * b + doubt)
    outputs = softmax(features[:, present].T @ kernel + bias)
    # sum_j p_j[i] n_j - n_i = K b_i for every class i, and sum_j n_j = K. The surer the network,
    # the nearer this comes to 0 = 0; what it leaves open is decided by mean p = 1/N.
    rows, prior = np.arange(len(present)), batch_size * np.maximum(1.0 / len(b) - b, 0.0)
    system = outputs.T.copy()
    system[present, rows] -= 1.0
    system = np.vstack([system, np.ones(len(present)), _PRIOR_WEIGHT * np.eye(len(present))])
    known = np.concatenate([batch_size * b, [batch_size], _PRIOR_WEIGHT * prior[present]])
    solution = np.linalg.lstsq(system, known, rcond=None)[0]
    counts = np.zeros(len(b), np.int64)
    proven = 1 if len(present) <= batch_size else 0  # noise "proves" too much
    rest = batch_size - proven * len(present)
    counts[present] = proven + round_to_total(solution - proven, rest)
    return counts


def round_to_total(values: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers of at least 0 near `values` that add up to `total` (largest remainders).

    Args:
        values: array `[N]` of numbers of at least 0.
        total: integer, what the result adds up to.

    Returns:
        int64 `[N]`.
    """
    values = np.maximum(np.asarray(values, np.float64), 0.0)
    values = values * (total / values.sum()) if values.sum() > 0 else values + total / len(values)
    counts = np.floor(values + 1e-9).astype(np.int64)
    missing = total - counts.sum()
    counts[np.argsort(counts - values, kind="stable")[:missing]] += 1
    return counts


def _checked(kernel_gradient, bias_gradient):
    gradient = np.asarray(kernel_gradient, np.float64)
    if gradient.ndim != 2:
        raise UserError(
            f"the gradient of the head's kernel has shape {gradient.shape}; expected "
            "[features, classes]"
        )
    if bias_gradient is not None:
        bias_gradient = np.asarray(bias_gradient, np.float64)
        if bias_gradient.shape != gradient.shape[1:]:
            raise UserError(
                f"the gradient of the head's bias has shape {bias_gradient.shape}; expected "
                f"({gradient.shape[1]},), one number a class"
            )
    if not all(np.all(np.isfinite(g)) for g in (gradient, bias_gradient) if g is not None):
        raise UserError("the gradient of the head holds NaN or infinity; labels need finite ones")
    return gradient, bias_gradient


LABEL_METHODS = ("min", "sum", "bias", "uniform", "instance")
