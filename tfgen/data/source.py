"""One split of a data set: named arrays, looked at before anything trusts them."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np

from tfgen.errors import DataError

# Arrays above this size stay where they are (on disk, in files); smaller ones live in memory.
MEMORY_LIMIT_BYTES = 2**30


@runtime_checkable
class Array(Protocol):
    """What a `Source` asks of its arrays: a NumPy array, a memory map, or files read lazily."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __len__(self) -> int: ...

    def __getitem__(self, indices: np.ndarray) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """Examples of one split as named arrays, with what is known about them.

    The names that the library knows: "images" are uint8 `[N, H, W, C]`, "labels" integers `[N]`.
    Others are as a system defines them: a table, bags of words, captions, features of regions.

    Attributes:
        name: as given to `load`.
        split: as given to `load`.
        arrays: name -> `[N, ...]`: a NumPy array, or for large sets something that is indexed like
            one (`Array`); all of one length.
        path: the file or folder they came from, or None when a library made them.

    Raises:
        DataError: there are no arrays, or their lengths differ.
    """

    name: str
    split: str
    arrays: Mapping[str, Array]
    path: str | None = None

    def __post_init__(self):
        lengths = {name: len(array) for name, array in self.arrays.items()}
        if len(set(lengths.values())) != 1:
            found = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise DataError(
                f"{self.name!r} has arrays of lengths {found or 'none'}; expected at least one "
                "array, and one row for each example in all of them"
            )

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    @property
    def images(self) -> Array:
        """uint8 `[N, H, W, C]`.

        Raises:
            DataError: the set has none.
        """
        if "images" not in self.arrays:
            raise DataError(f"{self.name!r} has no images; it has {', '.join(self.arrays)}")
        return self.arrays["images"]

    @property
    def labels(self) -> np.ndarray | None:
        """Integers `[N]`, or None when the set has none."""
        return self.arrays.get("labels")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return tuple(int(size) for size in self.images.shape[1:])

    @property
    def in_memory(self) -> bool:
        """Whether all arrays are plain ones of moderate size."""
        return all(map(is_in_memory, self.arrays.values()))

    def take(self, num_examples: int | None) -> "Source":
        """The first `num_examples` examples, or all of them for None.

        Raises:
            DataError: there are fewer.
        """
        if num_examples is None or num_examples == len(self):
            return self
        if not 0 < num_examples <= len(self):
            raise DataError(
                f"{num_examples} images of {self.name!r} were asked for; "
                f"its {self.split!r} split has {len(self)}"
            )
        return self._part(slice(num_examples))

    def split_off(self, num_examples: int) -> tuple["Source", "Source"]:
        """All but the last `num_examples` examples, and those.

        Raises:
            DataError: nothing would be left on one side.
        """
        if not 0 < num_examples < len(self):
            raise DataError(
                f"{num_examples} of the {len(self)} images of {self.name!r} cannot be set aside; "
                "expected at least 1, and fewer than all"
            )
        return self._part(slice(None, -num_examples)), self._part(slice(-num_examples, None))

    def _part(self, rows) -> "Source":
        arrays = {name: array[rows] for name, array in self.arrays.items()}
        return dataclasses.replace(self, arrays=arrays)


def is_in_memory(images: Array) -> bool:
    """Whether images are a plain array of at most `MEMORY_LIMIT_BYTES`."""
    plain = isinstance(images, np.ndarray) and not isinstance(images, np.memmap)
    return plain and images.nbytes <= MEMORY_LIMIT_BYTES


def check_images(images: np.ndarray, where: str | os.PathLike) -> np.ndarray:
    """Turns an array of images into uint8 `[N, H, W, C]`, or says why it is none.

    Floating-point images are taken as intensities in [0, 1] and rounded to the nearest of the 256
    levels; other integers must lie in 0..255; booleans become 0 and 255.

    Args:
        images: `[N, H, W]` or `[N, H, W, C]`.
        where: the file and array, for the message.

    Raises:
        DataError: wrong shape, type or range; no images; NaN or infinite pixels.
    """
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or 0 in images.shape:
        raise DataError(
            f"{where} has shape {tuple(images.shape)}; expected images [N, height, width] or "
            "[N, height, width, channels], none of them 0"
        )
    if images.dtype == np.uint8:
        return images
    if images.dtype == np.bool_:
        return images.astype(np.uint8) * np.uint8(255)
    if np.issubdtype(images.dtype, np.floating):
        return _from_unit_interval(images, where)
    if np.issubdtype(images.dtype, np.integer):
        low, high = int(images.min()), int(images.max())
        if low < 0 or high > 255:
            raise DataError(f"{where} holds pixels from {low} to {high}; expected 0 to 255")
        return images.astype(np.uint8)
    raise DataError(
        f"{where} has type {images.dtype}; expected uint8 in 0..255 or floating point in [0, 1]"
    )


def check_labels(labels: np.ndarray, num_images: int, where: str | os.PathLike) -> np.ndarray:
    """Integer labels, one for each image.

    Raises:
        DataError: another shape, or not whole numbers.
    """
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]  # keras.datasets gives CIFAR's labels as a column.
    if labels.shape != (num_images,) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{where} has labels of shape {labels.shape} and type {labels.dtype}; "
            f"expected {num_images} integers, one for each image"
        )
    return labels


def _from_unit_interval(images, where):
    # Checked in chunks: a temporary of the size of the whole set might not fit into memory.
    result = np.empty(images.shape, np.uint8)
    chunk = max(1, 2**24 // max(1, int(np.prod(images.shape[1:]))))
    for start in range(0, len(images), chunk):
        part = np.asarray(images[start : start + chunk])
        finite = np.isfinite(part)
        if not finite.all():
            first = start + int(np.argmin(finite.reshape(len(part), -1).all(axis=1)))
            raise DataError(f"{where} has NaN or infinite pixels, first in image {first}; mend it")
        low, high = float(part.min()), float(part.max())
        if low < 0.0 or high > 1.0:
            raise DataError(
                f"{where} holds floating-point pixels from {low:g} to {high:g}; expected [0, 1] "
                "(or uint8 in 0..255)"
            )
        result[start : start + chunk] = np.rint(part * 255.0)
    return result
