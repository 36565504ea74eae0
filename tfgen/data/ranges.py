"""What pixels may be: one rule for every door that images come in by.

- floating point: intensities in [0, 1]; NaN, infinity and other ranges are refused;
- bool, and integers of which none is above 1: 0 is black and 1 is white;
- other integers: 0 is black and 255 is white; negative and larger ones are refused.

Sources keep images as uint8 (`as_levels`), models take them as float32 (`as_intensities`).
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfgen.data.mapped import Array, Mapped
from tfgen.errors import DataError

_ROUNDING = 1e-5  # of what was computed in float32 or half precision to lie in [0, 1]
_REMEDIES = ("divide by 255", "(x + 1) / 2 brings [-1, 1] there")  # without, with negative ones
_CHUNK_BYTES = 2**24
_BFLOAT16 = tf.bfloat16.as_numpy_dtype


def as_intensities(images: Any, where: str | os.PathLike = "the array of images") -> tf.Tensor:
    """Images as float32 in [0, 1], or why they are none.

    What is checked is read where it lies: float32 is handed on uncopied. Within a graph the values
    are not known, so that only floating point and bool are taken, unchecked; see
    `checked_in_dataset`.

    Args:
        images: array, tensor or nested list, any shape.
        where: string or path, what they are called, for the message. Defaults to `"the array of
            images"`.

    Raises:
        DataError: another type or range; NaN or infinite pixels; rows of several lengths.
    """
    if tf.is_tensor(images) and not hasattr(images, "numpy"):
        return _symbolic(images, where)
    pixels = _as_array(images, where)
    if _is_floating(pixels):
        _check_floats(pixels, where)
        return tf.cast(images if tf.is_tensor(images) else pixels, tf.float32)
    white = 1 if _is_black_and_white(pixels, where) else 255
    return tf.convert_to_tensor(pixels.astype(np.float32) / np.float32(white))


def checked_in_dataset(images: tf.Tensor, where: str = "a batch of images") -> tf.Tensor:
    """One batch within `tf.data.Dataset.map` as float32 in [0, 1], or why it is none.

    The check is part of the graph and runs when the batch is made: Python in a thread of the
    pipeline would hold up the others. What it raises reaches the user as an error of TensorFlow,
    of which `tfgen.errors.plain_user_errors` makes the `DataError` again.

    Args:
        images: floating point or bool, any shape. Whether integers mean 0 and 1 or 0 to 255 cannot
            be told from one batch.
        where: string, what they are called, for the message. Defaults to `"a batch of images"`.

    Raises:
        DataError: integers.
    """
    images = as_intensities(images, where)
    low, high = tf.reduce_min(images), tf.reduce_max(images)
    finite = tf.reduce_all(tf.math.is_finite(images))
    good = finite & (low >= -_ROUNDING) & (high <= 1.0 + _ROUNDING)
    sentence = _range_sentence(
        where,
        *(tf.strings.as_string(value, shortest=True) for value in (low, high)),
        tf.where(low >= 0.0, *_REMEDIES),
    )
    sentence = tf.where(finite, sentence, f"{where} has NaN or infinite pixels; mend it")
    assertion = tf.debugging.Assert(
        good | tf.equal(tf.size(images), 0),
        [tf.strings.join([f"{DataError.__name__}: ", sentence])],
    )
    with tf.control_dependencies([assertion]):
        return tf.identity(images)


def as_levels(images: np.ndarray, where: str | os.PathLike) -> Array:
    """An array of images as uint8 `[N, H, W, C]`, or why it is none.

    Intensities are rounded to the nearest of the 256 levels. A memory map stays where it is.

    Args:
        images: `[N, H, W]` or `[N, H, W, C]`.
        where: the file and array, for the message.

    Raises:
        DataError: wrong shape, type or range; no images; NaN or infinite pixels.
    """
    images = _batch_of_images(images, where)
    change = _to_levels(images, where)
    if change is None:
        return images
    if isinstance(images, np.memmap):
        return Mapped(images, change=change, dtype=np.uint8)
    # In chunks: a temporary of the size of the whole set might not fit into memory.
    levels = np.empty(images.shape, np.uint8)
    for first, rows in _chunks(images):
        levels[first : first + len(rows)] = change(rows)
    return levels


def _symbolic(images, where):
    if images.dtype.is_floating or images.dtype == tf.bool:
        return tf.cast(images, tf.float32)
    raise DataError(
        f"{where} has type {images.dtype.name}, whose range is not known in a graph; expected "
        "floating point in [0, 1]: divide 8-bit pixels by 255 in the data set"
    )


def _as_array(images, where) -> np.ndarray:
    try:
        return np.asarray(images)
    except ValueError as error:
        raise DataError(
            f"{where} is no array ({error}); expected equal sizes throughout"
        ) from error


def _batch_of_images(images, where):
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or 0 in images.shape:
        raise DataError(
            f"{where} has shape {tuple(images.shape)}; expected images [N, height, width] or "
            "[N, height, width, channels], none of them 0"
        )
    if images.shape[1] in (1, 3) and images.shape[3] > 4:
        raise DataError(
            f"{where} has shape {tuple(images.shape)}, its channels before height and width; "
            "expected [N, height, width, channels]: transpose(0, 2, 3, 1) gives that"
        )
    return images


def _to_levels(images, where) -> Callable[[np.ndarray], np.ndarray] | None:
    """What makes uint8 levels of rows that are checked here; None where they are that already."""
    if _is_floating(images):
        _check_floats(images, where)
        return lambda rows: np.rint(np.clip(rows, 0.0, 1.0) * 255.0).astype(np.uint8)
    if _is_black_and_white(images, where):
        return lambda rows: rows.astype(np.uint8) * np.uint8(255)
    return None if images.dtype == np.uint8 else lambda rows: rows.astype(np.uint8)


def _is_floating(pixels) -> bool:
    return np.issubdtype(pixels.dtype, np.floating) or pixels.dtype == _BFLOAT16


def _is_black_and_white(pixels, where) -> bool:
    """Whether integers are 0 and 1, not 0 to 255; nothing but 0 may be either."""
    if pixels.dtype == np.bool_:
        return True
    if not np.issubdtype(pixels.dtype, np.integer):
        raise DataError(
            f"{where} has type {pixels.dtype}; expected uint8 in 0..255 or floating point in [0, 1]"
        )
    low, high = 0, 0
    for _, rows in _chunks(pixels):
        low, high = min(low, int(rows.min())), max(high, int(rows.max()))
        if pixels.dtype == np.uint8 and high > 1:  # mostly the first chunk says it
            return False
    if low < 0 or high > 255:
        raise DataError(
            f"{where} holds pixels from {low} to {high}; expected 0 to 255: scale them to that"
        )
    return high == 1


def _check_floats(pixels, where) -> None:
    low, high = np.inf, -np.inf
    for first, rows in _chunks(pixels):
        lowest, highest = float(rows.min()), float(rows.max())
        if not (np.isfinite(lowest) and np.isfinite(highest)):
            _refuse_not_finite(rows, where, first)
        low, high = min(low, lowest), max(high, highest)
    if not pixels.size or (low >= -_ROUNDING and high <= 1.0 + _ROUNDING):
        return
    remedy = _REMEDIES[0] if low >= 0.0 else _REMEDIES[1]
    raise DataError(_range_sentence(where, f"{low:g}", f"{high:g}", remedy))


def _range_sentence(where, low, high, remedy):
    """Of strings, or of one for tensors of strings."""
    parts = (
        f"{where} holds floating-point pixels from ",
        low,
        " to ",
        high,
        "; expected [0, 1] (or uint8 in 0..255): ",
        remedy,
    )
    return tf.strings.join(parts) if tf.is_tensor(low) else "".join(parts)


def _refuse_not_finite(rows, where, first_image: int) -> None:
    finite = np.isfinite(rows.astype(np.float64).reshape(len(rows), -1)).all(axis=1)
    first = first_image + int(np.argmin(finite))
    raise DataError(f"{where} has NaN or infinite pixels, first in image {first}; mend it")


def _chunks(images) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first, rows) of moderate size; nothing of an empty array."""
    images = np.atleast_1d(images)
    if not images.size:
        return
    step = max(1, _CHUNK_BYTES * len(images) // images.nbytes)
    for first in range(0, len(images), step):
        yield first, np.asarray(images[first : first + step])
