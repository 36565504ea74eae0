"""What configurations say in words, as a pipeline: `num_bits`, `binarize` and `flip`."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfgen.data.pipeline import Pipeline
from tfgen.data.random_tables import bernoulli, stream_key
from tfgen.data.source import Source
from tfgen.data.transforms import Binarize, Flip, Quantize
from tfgen.errors import ConfigError


def image_pipeline(
    source: Source,
    batch_size: int,
    *,
    num_bits: int = 8,
    binarize: str | None = None,
    flip: bool = False,
    seed: int = 0,
    training: bool = True,
    shard_index: int = 0,
    num_shards: int = 1,
) -> Pipeline:
    """The pipeline that the named options of a configuration ask for.

    Binarisation, for data that are Bernoulli intensities:

    - "dynamic": training draws anew at every access (the papers' protocol); evaluation draws once;
    - "fixed": training too sees one draw of every image, the one evaluation would see;
    - "threshold": 1 above half intensity.

    Args:
        source: from `load`, with images.
        batch_size: images of one batch of this worker.
        num_bits: bit depth that 8-bit images are reduced to; binarised ones have one anyway.
            Default 8.
        binarize: None, "dynamic", "fixed" or "threshold". Default None.
        flip: whether training mirrors each image with probability one half. Default False.
        seed: as for `Pipeline`; so are the others.
        training: whether batches are shuffled, and flipped and drawn anew. Default True.
        shard_index: number of this worker. Default 0.
        num_shards: number of workers. Default 1.

    Raises:
        ConfigError: an argument is out of range.
    """
    transforms = [Flip()] if flip and training else []
    if binarize is None:
        transforms.append(Quantize(num_bits))
    elif training and binarize == "fixed":
        source = drawn_once(source, seed)
        transforms.append(Binarize("threshold"))
    else:
        drawn = binarize == "dynamic" and not training
        transforms.append(Binarize("fixed" if drawn else binarize))
    return Pipeline(
        source,
        batch_size,
        transforms=transforms,
        seed=seed,
        training=training,
        shard_index=shard_index,
        num_shards=num_shards,
    )


def drawn_once(source: Source, seed: int = 0) -> Source:
    """The source with every image drawn once, 0 or 255 by the probability of its intensities.

    Raises:
        ConfigError: it is too large to keep a copy in memory.
    """
    images = source.images
    if not source.in_memory:
        raise ConfigError(
            f"binarize is 'fixed', but {source.name!r} is too large to keep a binary copy in "
            "memory; use 'dynamic'"
        )
    key = stream_key(seed, *Binarize("fixed").stream(source.split))
    drawn = np.empty(images.shape, np.uint8)
    with tf.device("CPU:0"):
        for start in range(0, len(images), 1024):
            part = tf.constant(images[start : start + 1024])
            drawn[start : start + 1024] = bernoulli(key, start, part)
    return dataclasses.replace(source, arrays={**source.arrays, "images": drawn * np.uint8(255)})
