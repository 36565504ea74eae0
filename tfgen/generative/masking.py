"""Images of which a part is seen: what fills them in takes them through here."""

import numpy as np
import tensorflow as tf

from tfgen.errors import DataError


def seen_images(model, images, mask, seeds) -> tuple[tf.Tensor, tf.Tensor]:
    """Images as a generator takes them, hidden pixels zero, and the mask shaped like them.

    Args:
        model: a `Generator`.
        images: `[B, H, W, C]` in [0, 1]; hidden pixels may hold anything.
        mask: `[B, H, W, C]` or what broadcasts to it; 1 where a pixel is seen, 0 where not, or
            between.
        seeds: `[B]` int32, of what is drawn for each image.

    Returns:
        Images and mask, float32 `[B, H, W, C]`.

    Raises:
        DataError: the shapes do not fit, or seen pixels or the mask are out of range.
    """
    images = tf.convert_to_tensor(images)
    mask = _broadcast(mask, images)
    _check(mask, tf.convert_to_tensor(seeds), images.shape[0])
    return model.as_images(tf.where(mask != 0.0, images, tf.zeros_like(images))), mask


def filled_in(images, mask, found) -> tf.Tensor:
    """Seen pixels of `images`, and those that were found for the rest."""
    return mask * images + (1.0 - mask) * found


def _check(mask, seeds, count):
    if not seeds.shape.is_compatible_with([count]):
        raise DataError(
            f"seeds have shape {tuple(seeds.shape)}; expected ({count},), one for each image"
        )
    known = tf.get_static_value(mask)
    if known is not None and not np.all((known >= 0.0) & (known <= 1.0)):
        raise DataError(
            f"the mask holds {known.min():g} to {known.max():g}; expected 1 where a pixel is seen "
            "and 0 where not"
        )


def _broadcast(mask, images) -> tf.Tensor:
    """The mask as float32, shaped like the images."""
    try:
        return tf.broadcast_to(tf.cast(mask, tf.float32), tf.shape(images))
    except (tf.errors.InvalidArgumentError, ValueError) as error:
        raise DataError(
            f"the mask has shape {tuple(np.shape(mask))}; expected what broadcasts to the images' "
            f"{tuple(images.shape)}"
        ) from error
