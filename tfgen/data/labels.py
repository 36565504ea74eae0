"""Labels in the forms that people keep them in, as integers."""

import os
from typing import NamedTuple

import numpy as np

from tfgen.errors import DataError

_ERRORS = "backslashreplace"  # different words stay different


class Labels(NamedTuple):
    """int64 `[N]`, and the name of each number where the labels were words."""

    numbers: np.ndarray
    names: tuple[str, ...] | None = None


def as_labels(
    labels: np.ndarray,
    num_images: int,
    where: str | os.PathLike,
    vocabulary: np.ndarray | None = None,
) -> Labels:
    """Labels as integers, one for each image.

    Args:
        labels: `[N]` or `[N, 1]`: integers, booleans, floating-point whole numbers, or words, which
            are numbered in alphabetical order; or `[N, C]`, one-hot. Probabilities of classes are
            refused: which class they stand for is not ours to say.
        num_images: integer N.
        where: the file and array, for the message.
        vocabulary: sequence of all words there are, when these may be a part of them; None: these.

    Raises:
        DataError: another shape, or nothing that names a class.
    """
    labels = _plain(np.asarray(labels))
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]  # keras.datasets gives CIFAR's labels as a column.
    if labels.ndim == 2 and len(labels) == num_images and _is_one_hot(labels):
        return Labels(np.argmax(labels, axis=1))
    if labels.shape == (num_images,):
        if labels.dtype.kind in "US":
            return _numbered(labels, vocabulary)
        if _is_whole(labels):
            return Labels(labels.astype(np.int64))
    raise DataError(
        f"{where} has labels of shape {labels.shape} and type {labels.dtype}; "
        f"expected {num_images} integers, one for each image (or words, or one-hot rows)"
        f"{_remedy(labels)}"
    )


def check_all_words(names: tuple[str, ...] | None, num_classes: int, where: str) -> None:
    """Refuses words of which some are missing: those there are would get the numbers of others.

    Args:
        names: tuple of the words that were numbered; None: labels were numbers.
        num_classes: integer, the classes that there are.
        where: string, what has the labels, for the message.

    Raises:
        DataError: there are fewer words than classes, or more.
    """
    if names is not None and len(names) != num_classes:
        shown = ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")
        raise DataError(
            f"{where} has {len(names)} words as labels ({shown}) for {num_classes} classes, so "
            "which class each is cannot be known; give integers"
        )


def _plain(labels):
    """Words that are kept as Python objects, as an array of text."""
    if labels.dtype != object or not all(isinstance(x, (str, bytes)) for x in labels.flat):
        return labels
    words = [x if isinstance(x, str) else x.decode("utf-8", _ERRORS) for x in labels.flat]
    return np.array(words, str).reshape(labels.shape)


def _remedy(labels) -> str:
    if labels.ndim != 2 or labels.dtype.kind not in "biuf" or not labels.size:
        return ""
    if np.allclose(labels.sum(axis=1), 1.0, atol=1e-3) and (labels >= 0).all():
        return "; these are probabilities, of which np.argmax(labels, axis=1) is the likeliest"
    return ""


def _is_one_hot(labels) -> bool:
    if labels.dtype.kind not in "biuf":
        return False
    ones = labels == 1
    return bool((ones.sum(axis=1) == 1).all() and (ones | (labels == 0)).all())


def _is_whole(labels) -> bool:
    """Whole numbers that a model's int32 can hold."""
    if labels.dtype.kind not in "biuf" or not np.isfinite(labels).all():
        return False
    inside = (labels >= -(2.0**31)) & (labels < 2.0**31)
    return bool(inside.all() and (labels == np.floor(labels)).all())


def _numbered(labels, vocabulary) -> Labels:
    words = _words(labels)
    names = np.unique(words if vocabulary is None else _words(_plain(np.asarray(vocabulary))))
    return Labels(np.searchsorted(names, words).astype(np.int64), tuple(map(str, names)))


def _words(labels):
    labels = np.asarray(labels)
    return np.char.decode(labels, "utf-8", _ERRORS) if labels.dtype.kind == "S" else labels
