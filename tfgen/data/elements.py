"""What data sets yield, by name: as this library makes them, as Keras does, and as TFDS does."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfgen.errors import DataError

POSITIONS = ("images", "labels")  # what the entries of a tuple are


class Batch(dict):
    """Arrays by name. Asking for one that is not there says what there is."""

    def __missing__(self, name):
        raise DataError(
            f"the data set has no {name!r}, only {', '.join(map(repr, self))}; expected batches of "
            f"{{'images': ..., 'labels': ...}}, of (images, labels) or of images alone"
        )


def by_name(element: Any) -> Batch:
    """One element of a data set as arrays by name.

    Args:
        element: images; a tuple (images,) or (images, labels); or a dict, also as the first entry
            of a tuple. Names may be in the singular, as those of TFDS are. A third entry must be
            None: Keras puts the weights of examples there.

    Returns:
        `{"images": ..., "labels": ...}`, as far as they are there, and whatever else has a name.

    Raises:
        DataError: the tuple holds something else.
    """
    parts = tuple(element) if isinstance(element, tuple | list) else (element,)
    if not 1 <= len(parts) <= 3:
        raise DataError(f"a batch is a tuple of {len(parts)}; expected images or (images, labels)")
    if len(parts) == 3 and parts[2] is not None:
        raise DataError(
            "the batches carry weights of examples, which no loss here takes; expected (images, "
            "labels): leave the weights out, and repeat what should count more"
        )
    named = Batch()
    for name, part in zip(POSITIONS, parts):
        if isinstance(part, Mapping):
            named.update({_plural(key, part): value for key, value in part.items()})
        elif part is not None:
            named[name] = part
    return named


def images_of(element: Any):
    """The images of one element of a data set, however it holds them; see `by_name`."""
    return element if _is_array(element) else by_name(element)["images"]


def first_images(x: Any, num_batches: int, strategy: tf.distribute.Strategy) -> tf.Tensor:
    """The first images of what `fit` was given.

    Args:
        x: a dict of arrays by name, or an iterable of batches.
        num_batches: integer, how many batches; of arrays 64 images count as one.
        strategy: the `tf.distribute.Strategy` of the model, whose replicas may share a batch.

    Returns:
        `[N, H, W, C]` float32.
    """
    if isinstance(x, dict):
        return tf.cast(x["images"][: 64 * num_batches], tf.float32)
    found = []
    for batch in itertools.islice(x, num_batches):
        found += strategy.experimental_local_results(images_of(batch))
    return tf.cast(tf.concat(found, axis=0), tf.float32)


def _is_array(element) -> bool:
    return tf.is_tensor(element) or isinstance(element, np.ndarray)


def _plural(key, part: Mapping):
    """ "image" and "label" of TFDS as they are called here."""
    plural = f"{key}s"
    return plural if plural in POSITIONS and plural not in part else key
