"""Images in the forms that people keep them in, under one name each."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfgen.data import Source
from tfgen.data.elements import by_name
from tfgen.data.labels import as_labels
from tfgen.data.mapped import Array, Mapped
from tfgen.data.ranges import as_intensities, as_levels
from tfgen.data.subset import shuffled_rows
from tfgen.errors import DataError

_RESIZE = "resize or convert them, all sets by the same filter"


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """Images that are scored together.

    Attributes:
        name: string, what they are called.
        images: float32 in [0, 1] or uint8, `[N, H, W, C]`.
        labels: `[N]` int64, or None.
        words: tuple of the word of each label, None where labels were numbers.
    """

    name: str
    images: Array
    labels: np.ndarray | None = None
    words: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, ...]:
        return tuple(int(size) for size in self.images.shape[1:])

    def batches(self, batch_size: int) -> Iterator[np.ndarray]:
        """float32 `[B, H, W, C]` in [0, 1], in order."""
        for start in range(0, len(self), batch_size):
            yield self.rows(np.arange(start, min(start + batch_size, len(self))))

    def rows(self, rows: np.ndarray) -> np.ndarray:
        """float32 `[B, H, W, C]` in [0, 1] of these rows."""
        images = np.asarray(self.images[rows])
        return images if images.dtype == np.float32 else images.astype(np.float32) / 255.0

    def part(self, rows: np.ndarray) -> "ImageSet":
        """The images of these rows."""
        plain = isinstance(self.images, np.ndarray)
        images = self.images[rows] if plain else Mapped(self.images, rows=rows)
        labels = None if self.labels is None else self.labels[rows]
        return ImageSet(self.name, images, labels, self.words)

    def at_most(self, num_images: int | None, seed: int = 0) -> "ImageSet":
        """So many of them, drawn at random; all for None or where there are no more."""
        if num_images is None or num_images >= len(self):
            return self
        return self.part(np.sort(shuffled_rows(len(self), seed)[:num_images]))


def as_image_set(data: Any, name: str, image_shape: tuple[int, ...] | None = None) -> ImageSet:
    """An `ImageSet` of whatever holds images.

    Args:
        data: `[N, H, W, C]` in any form that `tfgen.data.ranges` takes; a pair (images, labels); a
            dict of "images" and "labels"; a `tfgen.data.Source`; a `tf.data.Dataset` of batches of
            any of these; or an `ImageSet`.
        name: string, what they are called in messages and tables.
        image_shape: tuple `(H, W, C)` that they must have; None: any.

    Raises:
        DataError: there are none, or they have another size or range.
    """
    where = f"the set {name!r}"
    found = _found(data, name, where)
    if not len(found):
        raise DataError(f"{where} is empty; give at least one image, or leave the set out")
    if image_shape is not None and found.image_shape != tuple(image_shape):
        single = found.images.shape[:3] == tuple(image_shape) and found.image_shape[-1] == 1
        mend = "a single image needs images[None]" if single else _RESIZE
        raise DataError(
            f"{where} has images of shape {found.image_shape}, and the model takes "
            f"{tuple(image_shape)}; {mend}"
        )
    return found


def _found(data, name, where) -> ImageSet:
    if isinstance(data, ImageSet):
        return dataclasses.replace(data, name=name)
    if isinstance(data, Source):
        return ImageSet(name, data.images, data.labels)
    if isinstance(data, str):
        raise DataError(
            f"{where} is the text {data!r}; give its images: tfgen.data.load({data!r}, 'test')"
        )
    if isinstance(data, tf.data.Dataset):
        data = _gathered(data, where)
    parts = by_name(data) if isinstance(data, tuple | list | Mapping) else by_name((data,))
    images = np.asarray(parts["images"])
    if not images.size:
        raise DataError(f"{where} is empty; give at least one image, or leave the set out")
    if np.issubdtype(images.dtype, np.floating):
        images = as_intensities(images[..., None] if images.ndim == 3 else images, where).numpy()
        if images.ndim != 4:
            raise DataError(f"{where} has shape {images.shape}; expected [N, H, W, C]")
    else:
        images = as_levels(images, where)
    if parts.get("labels") is None:
        return ImageSet(name, images)
    return ImageSet(name, images, *as_labels(np.asarray(parts["labels"]), len(images), where))


def _gathered(dataset, where) -> dict[str, np.ndarray]:
    """All batches of a data set that ends."""
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise DataError(f"{where} never ends; take(N) as many batches as there are to be")
    batches = [by_name(element) for element in dataset]
    if not batches:
        return {"images": np.zeros((0,))}
    names = [name for name in ("images", "labels") if name in batches[0]]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in names}
