"""Random crops of any size and random colours, as networks for ImageNet are trained on.

Both are transforms of a `Pipeline`: what they draw depends on the seed and the example's row alone.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfgen.data.random_tables import random_rows
from tfgen.data.transforms import Batch
from tfgen.errors import ConfigError
from tfgen.ops.checks import in_range

_GREY = (0.299, 0.587, 0.114)  # shares of red, green and blue in what is seen as brightness


class ResizedCrop:
    """A part of each image, of a random size and form, brought back to the image's own size.

    Its area is even between a share and all of the image, the logarithm of its width over its
    height even between those of 3/4 and 4/3; what would reach over an edge ends there.

    Args:
        least: float in (0, 1], the smallest share of the area; 0.08 is usual for ImageNet.
            Defaults to `0.08`.

    Raises:
        ConfigError: the share is out of range.
    """

    def __init__(self, least: float = 0.08):
        in_range("resized_crop", least, 0.0, above=True, most=1.0)
        self.least = float(least)

    def stream(self, split: str) -> tuple[str, ...]:
        return ("resized_crop",)

    def __call__(self, batch: Batch, key: int, first_row) -> Batch:
        images = _floats(batch["images"])
        size = np.array(images.shape[1:3], np.float32)
        drawn = _uniforms(key, first_row, tf.shape(images)[0], 4)
        area = self.least + (1.0 - self.least) * drawn[:, 0]
        stretch = tf.exp((2.0 * drawn[:, 1] - 1.0) * float(np.log(4 / 3)) / 2.0)
        root = tf.sqrt(area * float(size.prod()))
        sides = tf.stack([root / stretch, root * stretch], axis=1)  # height and width
        sides = tf.clip_by_value(tf.round(sides), 1.0, size)
        first = tf.floor(drawn[:, 2:] * (size - sides + 1.0))
        scale = sides / size
        # Pixels' centres on pixels' centres.
        offset = first + 0.5 * scale - 0.5
        zero = tf.zeros_like(area)
        transforms = tf.stack(
            [scale[:, 1], zero, offset[:, 1], zero, scale[:, 0], offset[:, 0], zero, zero], axis=1
        )
        cropped = tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=transforms,
            output_shape=images.shape[1:3],
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="NEAREST",
        )
        return batch | {"images": tf.ensure_shape(cropped, images.shape)}


class ColourJitter:
    """Random brightness, contrast, saturation and hue of each image, in this order.

    The first three are multiplied by a factor that is even in [1 - strength, 1 + strength]; the hue
    moves by up to its strength, in turns of the colour circle, either way.

    Args:
        strengths: sequence of four floats: of brightness, contrast and saturation in [0, 1], of
            hue in [0, 0.5]. Defaults to `(0.4, 0.4, 0.4, 0.2)`, those of ImageNet's recipes.

    Raises:
        ConfigError: a strength is out of range, or there are not four; images have no three
            channels.
    """

    def __init__(self, strengths: Sequence[float] = (0.4, 0.4, 0.4, 0.2)):
        if len(strengths) != 4:
            raise ConfigError(
                f"colour_jitter has {len(strengths)} strengths; expected four: of brightness, "
                "contrast, saturation and hue"
            )
        in_range("colour_jitter", strengths[:3], 0.0, most=1.0)
        in_range("colour_jitter of the hue", strengths[3], 0.0, most=0.5)
        self.strengths = tuple(float(strength) for strength in strengths)

    def stream(self, split: str) -> tuple[str, ...]:
        return ("colour_jitter",)

    def __call__(self, batch: Batch, key: int, first_row) -> Batch:
        images = _floats(batch["images"])
        if images.shape[-1] != 3:
            raise ConfigError(
                f"colour_jitter got images of {images.shape[-1]} channels; expected 3, red, green "
                "and blue"
            )
        drawn = 2.0 * _uniforms(key, first_row, tf.shape(images)[0], 4) - 1.0
        drawn = (drawn * self.strengths)[:, :, None, None, None]
        brightness, contrast, saturation, hue = tf.unstack(drawn, axis=1)
        images = _mixed(images, 0.0, brightness)
        images = _mixed(images, tf.reduce_mean(_grey(images), axis=[1, 2], keepdims=True), contrast)
        images = _mixed(images, _grey(images), saturation)
        if self.strengths[3]:
            colours = tf.image.rgb_to_hsv(images)
            turned = tf.math.floormod(colours[..., :1] + hue, 1.0)
            images = tf.image.hsv_to_rgb(tf.concat([turned, colours[..., 1:]], axis=-1))
        return batch | {"images": images}


def _mixed(images, others, amount):
    """Images further from others, or nearer to them, by a share that is drawn."""
    return tf.clip_by_value(images + amount * (images - others), 0.0, 1.0)


def _grey(images):
    return tf.reduce_sum(images * _GREY, axis=-1, keepdims=True)


def _floats(images):
    if images.dtype == tf.uint8:
        return tf.cast(images, tf.float32) / 255.0
    return images


def _uniforms(key, first_row, count, width) -> tf.Tensor:
    """`[count, width]` in [0, 1)."""
    words = random_rows(key, first_row, count, width)
    return tf.cast(words // np.uint32(256), tf.float32) / float(2**24)
