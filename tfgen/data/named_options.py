"""What configurations say in words about images, as transforms: `num_bits`, `binarize`, `flip`,
`crop_padding`, `resized_crop`, `colour_jitter`."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfgen.data.augmentation import ColourJitter, ResizedCrop
from tfgen.data.random_tables import bernoulli, stream_key
from tfgen.data.source import Source
from tfgen.data.transforms import Binarize, Crop, Flip, Quantize, Transform
from tfgen.errors import ConfigError


def named_transforms(
    num_bits: int = 8,
    binarize: str | None = None,
    flip: bool = False,
    training: bool = True,
    crop_padding: int | None = None,
    resized_crop: float | None = None,
    colour_jitter: Sequence[float] | None = None,
) -> list[Transform]:
    """The transforms that the named options ask for.

    Binarisation, for data that are Bernoulli intensities:

    - "dynamic": training draws anew at every access (the papers' protocol); evaluation draws once;
    - "fixed": training too sees one draw of every image, the one evaluation would see: it wants
      the source that `drawn_once` gives;
    - "threshold": 1 above half intensity.

    Args:
        num_bits: integer, bit depth that 8-bit images are reduced to; binarised ones have one
            anyway, and 8 changes nothing. Defaults to `8`.
        binarize: None, the default, "dynamic", "fixed" or "threshold".
        flip: whether to mirror each image with probability one half. Defaults to `False`.
        training: whether the transforms are for training. Defaults to `True`.
        crop_padding: integer, pixels by which training moves each image at most; None moves none.
        resized_crop: float, in training the least share of an image's area that `ResizedCrop`
            takes; None crops nothing.
        colour_jitter: sequence of four floats, in training the strengths of `ColourJitter`; None
            leaves colours.

    Raises:
        ConfigError: an argument is out of range.
    """
    quantize = Quantize(num_bits)
    transforms = [Crop(crop_padding)] if crop_padding is not None and training else []
    transforms += [ResizedCrop(resized_crop)] if resized_crop is not None and training else []
    transforms += [Flip()] if flip else []
    transforms += [ColourJitter(colour_jitter)] if colour_jitter is not None and training else []
    if binarize is None:
        return transforms if quantize.num_bits == 8 else [*transforms, quantize]
    binary = Binarize(binarize)
    if binarize == "fixed" and training:
        binary = Binarize("threshold")
    elif binarize == "dynamic" and not training:
        binary = Binarize("fixed")
    return [*transforms, binary]


def drawn_once(source: Source, seed: int = 0) -> Source:
    """The source with every image drawn once, 0 or 255 by the probability of its intensities.

    Args:
        source: the `Source` to draw from.
        seed: integer, seed of the draws.

    Returns:
        A `Source` of uint8 images, in memory.

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
