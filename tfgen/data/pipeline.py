"""Batches as a pure function of seed and step, so that a resumed run sees what it would have."""

import operator
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfgen.data.mapped import is_in_memory
from tfgen.data.named_options import drawn_once, named_transforms
from tfgen.data.random_tables import shuffled, stream_key
from tfgen.data.source import Source
from tfgen.data.transforms import Batch, Transform, quantize
from tfgen.errors import ConfigError, DataError


class Pipeline:
    """Turns a `Source` into batches: a dict of tensors `[B, ...]`, named as the source's arrays.

    Images become float32 `[B, H, W, C]` in [0, 1] and labels int32 `[B]`; other arrays keep their
    types.

    In training, the examples are shuffled anew every epoch and an incomplete last batch is left
    out. Batch k depends on `seed` and k alone, so `dataset(start_step=k)` continues bit for bit
    what `dataset()` would have yielded. In evaluation, there is one pass in order; the last batch
    may be smaller, and what is random depends on `seed` and the example's index alone, so that no
    result depends on the batch size.

    Sharding: worker i of n yields its part of a common batch of `n * batch_size` examples. The
    common batches are those of one worker with that batch size, random draws included.

    Args:
        source: a `Source` of `load`.
        batch_size: integer, examples of one batch of this worker.
        transforms: sequence of functions applied to every batch in this order, before those of the
            options below; see `tfgen.data.transforms`. Images that none of them makes floating
            point keep their 8 bits, scaled to [0, 1]. Defaults to `()`.
        seed: integer, seed of order, flips and draws. Defaults to `0`.
        training: whether batches are shuffled and without end, see above. Defaults to `True`.
        num_bits: integer, bit depth of the images, see `tfgen.data.named_options`. Defaults to `8`.
        binarize: how pixels become 0 and 1, a string, see there; None, the default, leaves them.
        flip: whether training mirrors images, see there. Defaults to `False`.
        crop_padding: integer, pixels by which training moves images, see there; None moves none.
        resized_crop: float, the least share of its area that training takes of an image, see
            there; None crops nothing.
        colour_jitter: sequence of four floats, strengths of random colours in training, see there;
            None leaves colours.
        shard_index: integer, number of this worker. Defaults to `0`.
        num_shards: integer, number of workers. Defaults to `1`.

    Raises:
        ConfigError: an argument is out of range.

    Example:

    >>> pipeline = Pipeline(load("digits"), batch_size=64, binarize="dynamic")
    >>> model.fit(pipeline.dataset(), steps_per_epoch=pipeline.steps_per_epoch)  # doctest: +SKIP
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        *,
        transforms: Sequence[Transform] = (),
        seed: int = 0,
        training: bool = True,
        num_bits: int = 8,
        binarize: str | None = None,
        flip: bool = False,
        crop_padding: int | None = None,
        resized_crop: float | None = None,
        colour_jitter: Sequence[float] | None = None,
        shard_index: int = 0,
        num_shards: int = 1,
    ):
        self.batch_size = _at_least("batch_size", batch_size, 1)
        self.seed = operator.index(seed)
        self.training = training
        named = named_transforms(
            num_bits,
            binarize,
            flip and training,
            training,
            crop_padding,
            resized_crop,
            colour_jitter,
        )
        self.transforms = (*transforms, *named)
        if training and binarize == "fixed":
            source = drawn_once(source, self.seed)
        self.source = source
        self.num_shards = _at_least("num_shards", num_shards, 1)
        self.shard_index = _at_least("shard_index", shard_index, 0)
        if self.shard_index >= self.num_shards:
            raise ConfigError(f"shard_index is {shard_index}; expected less than {num_shards}")
        self._order_key = stream_key(self.seed, "order")
        self._keys = [stream_key(self.seed, *t.stream(source.split)) for t in self.transforms]
        self._gather = {name: _gatherer(name, array) for name, array in source.arrays.items()}

    @property
    def steps_per_epoch(self) -> int:
        """Batches that one pass over the data gives this worker; 0 when the data are too few."""
        common = self.batch_size * self.num_shards
        if self.training:
            return len(self.source) // common
        return max(0, -(-(len(self.source) - self.shard_index * self.batch_size) // common))

    def batch(self, step) -> Batch:
        """Batch number `step`, from 0 on; in training, epochs follow each other without end.

        Args:
            step: integer, or int64 scalar tensor.

        Raises:
            DataError: there is not one full training batch.
        """
        step = tf.convert_to_tensor(step, tf.int64)
        first = (step * self.num_shards + self.shard_index) * self.batch_size
        if self.training:
            self._check_one_batch()
            indices = self._shuffled_indices(step)
        else:
            indices = tf.range(first, tf.minimum(first + self.batch_size, len(self.source)))
        batch = {name: gather(indices) for name, gather in self._gather.items()}
        for transform, key in zip(self.transforms, self._keys):
            batch = transform(batch, key, first)
        if "images" in batch and batch["images"].dtype == tf.uint8:
            batch["images"] = quantize(batch["images"], 8)
        return batch

    def dataset(self, start_step: int = 0) -> tf.data.Dataset:
        """Batches `start_step`, `start_step + 1`, …: endless in training, one pass in evaluation.

        Raises:
            DataError: there is not one full training batch.
            ConfigError: `start_step` is negative.
        """
        start_step = _at_least("start_step", start_step, 0)
        if self.training:
            self._check_one_batch()
            steps = tf.data.Dataset.counter(start_step)
        else:
            steps = tf.data.Dataset.range(start_step, max(start_step, self.steps_per_epoch))
        dataset = steps.map(self.batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        if self.num_shards > 1:
            # This is a shard already; TensorFlow must not shard it again.
            options = tf.data.Options()
            options.experimental_distribute.auto_shard_policy = (
                tf.data.experimental.AutoShardPolicy.OFF
            )
            dataset = dataset.with_options(options)
        return dataset.prefetch(tf.data.AUTOTUNE)

    def _shuffled_indices(self, step):
        steps = self.steps_per_epoch
        first = (step % steps * self.num_shards + self.shard_index) * self.batch_size
        positions = first + tf.range(self.batch_size, dtype=tf.int64)
        return shuffled(self._order_key, step // steps, positions, len(self.source))

    def _check_one_batch(self):
        if self.steps_per_epoch == 0:
            raise DataError(
                f"{self.source.name!r} has {len(self.source)} examples in its "
                f"{self.source.split!r} split, fewer than one batch of "
                f"{self.batch_size * self.num_shards}; choose a smaller batch_size"
            )


def _gatherer(name, array):
    """From int64 `[B]` indices to the rows of an array, by the cheapest way it allows."""
    if is_in_memory(array):
        table = _on_host(array.astype(np.int32) if name == "labels" else array)
        return lambda indices: tf.gather(table, indices)
    dtype = tf.as_dtype(array.dtype)

    def read(indices):
        return np.ascontiguousarray(array[indices])

    def gather(indices):
        batch = tf.numpy_function(read, [indices], dtype, stateful=False)
        return tf.ensure_shape(batch, [*indices.shape, *array.shape[1:]])

    return gather


def _on_host(array: np.ndarray) -> tf.Tensor:
    with tf.device("CPU:0"):
        return tf.constant(array)


def _at_least(name, value, minimum):
    try:
        number = operator.index(value)
    except TypeError:
        raise ConfigError(f"{name} is {value!r}; expected a whole number") from None
    if number < minimum:
        raise ConfigError(f"{name} is {number}; expected at least {minimum}")
    return number
