"""Labels in every form a client may hold them in, as the targets of a loss."""

import numpy as np

from tfgen.errors import UserError


def as_targets(
    labels: np.ndarray,
    num_classes: int,
    num_images: int | None = None,
    ignored: int | None = None,
) -> np.ndarray:
    """One row of targets an image.

    Args:
        labels: class indices `[K]` or `[K, 1]` (whole numbers of any type), or rows `[K, N]`,
            one-hot or soft. Where N is 1, the targets themselves, `[K]` or `[K, 1]`.
        num_classes: integer N.
        num_images: integer K; None: as many as there are labels.
        ignored: integer that stands for no class; its row is zeros unless it is one of 0..N-1.
            None: there is none.

    Returns:
        float64 `[K, N]`.

    Raises:
        UserError: another shape or number, words, or an index that is none of the classes.
    """
    labels = np.asarray(labels)
    if labels.dtype.kind not in "biuf":
        raise UserError(
            f"the labels are of type {labels.dtype}; expected class indices from 0 on or rows "
            "[K, N]: number words first"
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    rows = labels.ndim == 2 and labels.shape[1] == num_classes
    if (labels.ndim != 1 and not rows) or num_images not in (None, len(labels)):
        raise UserError(
            f"labels of shape {labels.shape} came for "
            f"{'a batch of' if num_images is None else num_images} images and {num_classes} "
            f"classes; expected indices [K], a column [K, 1] or rows [K, {num_classes}]"
        )
    if not np.all(np.isfinite(labels)):
        raise UserError("the labels hold NaN or infinity; expected indices or rows of targets")
    if rows or num_classes == 1:
        return labels.astype(np.float64).reshape(len(labels), num_classes)
    return _one_hot(labels, num_classes, ignored)


def _one_hot(labels, num_classes, ignored):
    indices = labels.astype(np.int64)
    if np.any(indices != labels):
        raise UserError(
            f"label {labels[indices != labels][0]} is no whole number; expected class indices, or "
            f"rows [K, {num_classes}] for soft labels"
        )
    outside = (indices < 0) | (indices >= num_classes)
    wrong = outside if ignored is None else outside & (indices != ignored)
    if wrong.any():
        raise UserError(
            f"label {indices[wrong][0]} is outside 0..{num_classes - 1}, the classes of the "
            "network; give class indices from 0 on"
        )
    return np.eye(num_classes)[np.where(outside, 0, indices)] * ~outside[:, None]


def likeliest(targets: np.ndarray) -> np.ndarray:
    """int64 `[K]`, the class of each row `[K, N]`; with N = 1 the targets as they are."""
    targets = np.asarray(targets)
    return targets[:, 0] if targets.shape[1] == 1 else np.argmax(targets, axis=1)
