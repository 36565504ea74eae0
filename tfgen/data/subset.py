"""A part of a data set that stands for the whole, and the words that say which part it is."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfgen.data.elements import images_of


class Part(NamedTuple):
    """Images, an array or batches of them, and which they are of how many; None for all."""

    images: Any
    extent: str | None


def shuffled_rows(length: int, seed: int) -> np.ndarray:
    """0 to `length` in random order, of which the first N are the subset of N."""
    # RandomState is frozen: a subset keeps its members with every version of NumPy.
    return np.random.RandomState(seed % 2**32).permutation(length)


def described(num_examples: int, whole: str, seed: int) -> str:
    """The words for a random subset: "a random 1,000 of 10,000 test images (seed 0)"."""
    return f"a random {num_examples:,} of {whole} (seed {seed})"


def part_of(images: Any, num_images: int | None, seed: int = 0) -> Part:
    """At most so many images of an array or a data set, in its order.

    Files are often sorted, by class or by difficulty, so that the first N would not stand for the
    rest: the part is drawn at random. A data set is read once more for that, to count. Of a stream
    that is not known to end, such as a generator, the first are taken.

    Args:
        images: `[N, H, W, C]`, or an iterable of what `tfgen.data.elements.images_of` takes.
        num_images: integer, how many; None for all.
        seed: integer, seed of the choice. Defaults to `0`.

    Returns:
        An array for an array, batches for anything else.
    """
    if num_images is None:
        return Part(images, None)
    if isinstance(images, np.ndarray) or tf.is_tensor(images):
        total = len(images)
    elif _ends(images):
        total = sum(len(images_of(element)) for element in images)
    else:
        return Part(_first(images, num_images), f"the first {num_images:,} of a stream")
    if num_images >= total:
        return Part(images, None)
    chosen = np.zeros(total, bool)
    chosen[shuffled_rows(total, seed)[:num_images]] = True
    extent = described(num_images, f"{total:,} images", seed)
    if isinstance(images, np.ndarray) or tf.is_tensor(images):
        return Part(np.asarray(images)[chosen], extent)
    return Part(_chosen(images, chosen), extent)


def _ends(images: Iterable) -> bool:
    """Whether a data set can be read twice, and is known to end."""
    if isinstance(images, tf.data.Dataset):
        return int(images.cardinality()) >= 0
    return hasattr(images, "__len__")


def _first(images, num_images: int) -> Iterator[np.ndarray]:
    left = num_images
    for element in images:
        batch = np.asarray(images_of(element))[:left]
        left -= len(batch)
        yield batch
        if not left:
            return


def _chosen(images, chosen) -> Iterator[np.ndarray]:
    done = 0
    for element in images:
        batch = np.asarray(images_of(element))
        rows = chosen[done : done + len(batch)]
        done += len(batch)
        if rows.any():
            yield batch[rows]
