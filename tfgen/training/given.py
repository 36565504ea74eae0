"""What `fit` and its like are given: in any form that Keras takes, its images checked."""

import math
import types
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfgen.data.doors import TakesImages
from tfgen.data.elements import by_name
from tfgen.data.pipeline import Pipeline
from tfgen.errors import ConfigError, DataError

NO_BATCH = "the data set has no batch; expected at least one: see what its filters leave"
_EMPTY = "{} is empty; expected at least one"


def checked(x, taker: TakesImages):
    """What was given, with images and labels that are checked where they are read: arrays now, all
    others batch by batch on the host.

    Args:
        x: arrays, a `tf.data.Dataset`, a `keras.utils.PyDataset` or a generator; anything else is
            handed on as it is.
        taker: a `TakesImages`, which they are for and which says what they may be.

    Raises:
        DataError: arrays that are no images, or no labels of them; types that are none.
    """
    if isinstance(x, tf.data.Dataset):
        return _checked_dataset(x, taker)
    if isinstance(x, keras.utils.PyDataset):
        return _CheckedPyDataset(x, taker)
    if isinstance(x, types.GeneratorType):
        return _checked_generator(x, taker)
    return _checked_arrays(x, taker) if is_array(x) else x


def is_array(x) -> bool:
    """Whether Keras takes `x` as arrays, and not as what yields batches."""
    return tf.is_tensor(x) or isinstance(x, np.ndarray | dict | list | tuple)


def opened(x, steps: int | None, start_step: int = 0) -> tuple[Any, int | None]:
    """A `Pipeline` as its batches and their number; anything else as it is.

    Raises:
        ConfigError: there is no end to it, and no number of steps.
        DataError: there is nothing in it.
    """
    if isinstance(x, Pipeline):
        steps = steps or (x.steps_per_epoch if x.training else None)
        x = x.dataset(start_step if x.training else 0)
    cardinality = _cardinality(x)
    if cardinality == 0:
        raise DataError(NO_BATCH)
    endless = cardinality == tf.data.INFINITE_CARDINALITY
    if steps is None and endless and not keras.config.max_steps_per_epoch():
        raise ConfigError(
            "the data set has no end; give the number of steps, such as "
            "steps_per_epoch=pipeline.steps_per_epoch in fit, or steps= in evaluate and predict"
        )
    return x, steps


def check_steps(steps: int | None, steps_per_execution: int) -> None:
    """Raises a ConfigError where Keras would run more steps than it is asked for."""
    if steps is not None and steps % steps_per_execution:
        fewer = math.gcd(steps, steps_per_execution)
        raise ConfigError(
            f"{steps} steps are not a multiple of steps_per_execution={steps_per_execution}: Keras "
            f"would run more; compile with steps_per_execution={fewer}"
        )


def _cardinality(x) -> int | None:
    """Batches of a data set; None where it does not say, negative where it does not know."""
    cardinality = getattr(x, "cardinality", None)
    count = cardinality() if callable(cardinality) else cardinality
    return None if count is None else int(count)


def _checked_arrays(x, taker):
    arrays = by_name(x)
    for images, labels, where in _images_in(arrays):
        with tf.device("CPU:0"):  # where Keras takes its batches from
            arrays[images] = taker.as_images(arrays[images], f"the array of {where}")
            if not len(arrays[images]):
                raise DataError(_EMPTY.format(f"the array of {where}"))
            if labels in arrays:
                arrays[labels] = taker.as_labels(arrays[labels], len(arrays[images]))
    return dict(arrays)


def _images_in(batch) -> Iterator[tuple[str, str, str]]:
    """Names of images in a batch, of the labels that belong to them, and what to call the images:
    those that are trained on, and what stands beside them, as of validation."""
    for name in list(batch):
        if name == "images" or name.endswith("_images"):
            yield name, name.removesuffix("images") + "labels", name.replace("_", " ")


def _checked_dataset(dataset, taker):
    @tf.autograph.experimental.do_not_convert
    def one(*element):
        batch = dict(by_name(element if len(element) > 1 else element[0]))
        for images, labels, where in _images_in(batch):
            batch[images] = taker.as_images_in_dataset(batch[images], f"a batch of {where}")
            batch[images] = _not_empty(batch[images], f"a batch of {where}")
            if labels in batch:
                batch[labels] = taker.as_labels_in_dataset(batch[labels])
        return batch

    return dataset.map(one, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _not_empty(images, where):
    message = f"{DataError.__name__}: {_EMPTY.format(where)}"
    with tf.control_dependencies([tf.debugging.Assert(tf.size(images) > 0, [message])]):
        return tf.identity(images)


def _checked_generator(batches, taker) -> Iterator[tuple]:
    for element in batches:
        yield (_checked_arrays(element, taker),)


class _CheckedPyDataset(keras.utils.PyDataset):
    """A `PyDataset` seen through the check."""

    def __init__(self, inner, taker):
        super().__init__(inner.workers, inner.use_multiprocessing, inner.max_queue_size)
        self._inner, self._taker = inner, taker

    def __getitem__(self, index):
        return (_checked_arrays(self._inner[index], self._taker),)

    @property
    def num_batches(self):
        return self._inner.num_batches

    def on_epoch_begin(self):
        self._inner.on_epoch_begin()

    def on_epoch_end(self):
        self._inner.on_epoch_end()
