"""Batches as a pure function of seed and step, so that a resumed run sees what it would have."""

import operator

import numpy as np
import tensorflow as tf

from tfgen.data.source import Source, is_in_memory
from tfgen.data.transforms import bernoulli, quantize, random_flip, shuffled, stream_key
from tfgen.errors import ConfigError, DataError

BINARIZATIONS = (None, "dynamic", "fixed", "threshold")


class Pipeline:
    """Turns a `Source` into batches `{"images": float32 [B, H, W, C] in [0, 1], "labels": [B]}`.

    In training, the images are shuffled anew every epoch and an incomplete last batch is left out.
    Batch k depends on `seed` and k alone, so `dataset(start_step=k)` continues bit for bit what
    `dataset()` would have yielded. In evaluation, there is one pass in order; the last batch may be
    smaller, and what is random depends on `seed` and the image's index alone, so that no result
    depends on the batch size.

    Binarisation, for data that are Bernoulli intensities:

    - "dynamic": training draws anew at every access (the papers' protocol); evaluation draws once;
    - "fixed": training too sees one draw of every image, the one evaluation would see;
    - "threshold": 1 above half intensity.

    Sharding: worker i of n yields its part of a common batch of `n * batch_size` images. The
    common batches are those of one worker with that batch size, random draws included.

    Args:
        source: from `load`.
        batch_size: images of one batch of this worker.
        seed: of order, flips and draws.
        training: see above.
        num_bits: bit depth that 8-bit images are reduced to; binarised ones have one anyway.
        binarize: None, "dynamic", "fixed" or "threshold".
        flip: mirror each training image with probability one half.
        padding: zeros added on every side, in pixels.
        shard_index: number of this worker.
        num_shards: number of workers.

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
        seed: int = 0,
        training: bool = True,
        num_bits: int = 8,
        binarize: str | None = None,
        flip: bool = False,
        padding: int = 0,
        shard_index: int = 0,
        num_shards: int = 1,
    ):
        self.source = source
        self.batch_size = _at_least("batch_size", batch_size, 1)
        self.seed = operator.index(seed)
        self.training = training
        self.num_bits = _at_least("num_bits", num_bits, 1)
        self.binarize = binarize
        self.flip = flip and training
        self.padding = _at_least("padding", padding, 0)
        self.num_shards = _at_least("num_shards", num_shards, 1)
        self.shard_index = _at_least("shard_index", shard_index, 0)
        if self.num_bits > 8:
            raise ConfigError(f"num_bits is {num_bits}; expected 1 to 8")
        if self.shard_index >= self.num_shards:
            raise ConfigError(f"shard_index is {shard_index}; expected less than {num_shards}")
        if binarize not in BINARIZATIONS:
            expected = ", ".join(map(repr, BINARIZATIONS))
            raise ConfigError(f"binarize is {binarize!r}; expected one of {expected}")
        self._keys = {
            purpose: stream_key(self.seed, purpose) for purpose in ("order", "flip", "dynamic")
        }
        self._keys["fixed"] = stream_key(self.seed, "fixed", source.split)
        self._draw_key = self._keys["dynamic" if training else "fixed"]
        self._gather = _gatherer(self._stored_images())
        self._labels = None if source.labels is None else _on_host(source.labels.astype(np.int32))

    @property
    def steps_per_epoch(self) -> int:
        """Batches that one pass over the data gives this worker; 0 when the data are too few."""
        common = self.batch_size * self.num_shards
        if self.training:
            return len(self.source) // common
        return max(0, -(-(len(self.source) - self.shard_index * self.batch_size) // common))

    def batch(self, step) -> dict[str, tf.Tensor]:
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
        images = self._gather(indices)
        if self.flip:
            images = random_flip(self._keys["flip"], first, images)
        result = {"images": self._to_float(images, first)}
        if self._labels is not None:
            result["labels"] = tf.gather(self._labels, indices)
        return result

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
        return shuffled(self._keys["order"], step // steps, positions, len(self.source))

    def _to_float(self, images, first):
        if self.binarize is None:
            images = quantize(images, self.num_bits)
        elif self.binarize == "threshold" or (self.binarize == "fixed" and self.training):
            images = tf.cast(images > 127, tf.float32)
        else:
            images = tf.cast(bernoulli(self._draw_key, first, images), tf.float32)
        if self.padding:
            side = [self.padding, self.padding]
            images = tf.pad(images, [[0, 0], side, side, [0, 0]])
        return images

    def _stored_images(self):
        """The source's images, or for "fixed" training the one draw of each of them."""
        images = self.source.images
        if not (self.training and self.binarize == "fixed"):
            return images
        if not self.source.in_memory:
            raise ConfigError(
                f"binarize is 'fixed', but {self.source.name!r} is too large to keep a binary copy "
                "in memory; use 'dynamic'"
            )
        drawn = np.empty(images.shape, np.uint8)
        for start in range(0, len(images), 1024):
            part = _on_host(images[start : start + 1024])
            drawn[start : start + 1024] = bernoulli(self._keys["fixed"], start, part)
        return drawn * np.uint8(255)

    def _check_one_batch(self):
        if self.steps_per_epoch == 0:
            raise DataError(
                f"{self.source.name!r} has {len(self.source)} images in its {self.source.split!r} "
                f"split, fewer than one batch of {self.batch_size * self.num_shards}; "
                "choose a smaller batch_size"
            )


def _gatherer(images):
    """From int64 `[B]` indices to uint8 `[B, H, W, C]`, by the cheapest way the images allow."""
    if is_in_memory(images):
        table = _on_host(images)
        return lambda indices: tf.gather(table, indices)

    def read(indices):
        return np.ascontiguousarray(images[indices])

    def gather(indices):
        batch = tf.numpy_function(read, [indices], tf.uint8, stateful=False)
        return tf.ensure_shape(batch, [*indices.shape, *images.shape[1:]])

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
