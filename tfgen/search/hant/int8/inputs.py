"""Networks and images that are to be quantised, looked at before anything is done with them."""

import keras
import numpy as np

from tfgen.errors import ConfigError, DataError
from tfgen.search.hant import graph


def checked_model(model: keras.Model) -> keras.Model:
    """A network that can be taken apart, without nested models.

    Args:
        model: a functional `keras.Model`.

    Raises:
        ConfigError: it is not functional, has several inputs or outputs, or a weight that is not
            finite.
    """
    flat = graph.flat(model)
    if len(flat.inputs) != 1 or len(flat.outputs) != 1:
        raise ConfigError(
            f"the network {model.name!r} has {len(flat.inputs)} inputs and {len(flat.outputs)} "
            "outputs; expected one of each"
        )
    for variable in flat.variables:
        value = np.asarray(variable)
        if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
            raise ConfigError(
                f"the weights {variable.path!r} of the network {model.name!r} hold NaN or "
                "infinity; expected finite numbers: train it again, or load earlier weights"
            )
    return flat


def checked_images(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Images as a network takes them, float32.

    Args:
        model: a `keras.Model` of one input.
        images: array `[N, H, W, C]`.

    Raises:
        DataError: there are none, their shape is another, or a pixel is not finite.
    """
    images, wanted = np.asarray(images), tuple(model.inputs[0].shape[1:])
    shape = images.shape[1:]
    fits = len(shape) == len(wanted) and all(w in (None, s) for s, w in zip(shape, wanted))
    if images.dtype.kind not in "fiu" or not fits:
        raise DataError(
            f"the images have the shape {images.shape} and the type {images.dtype}; the network "
            f"{model.name!r} expects numbers of the shape {('N', *wanted)}".replace("'N'", "N")
        )
    if not len(images):
        raise DataError("there are no images; expected at least one")
    images = images.astype(np.float32)
    if not np.isfinite(images).all():
        raise DataError("images hold NaN or infinity; expected finite numbers")
    return images


def representative(images: np.ndarray, num_images: int, seed: int) -> np.ndarray:
    """Images drawn without replacement, by which the ranges of activations are taken.

    Args:
        images: array `[N, H, W, C]`.
        num_images: integer, how many at most.
        seed: integer that draws them.

    Raises:
        DataError: all their pixels are the same number, which says nothing about ranges.
    """
    rng = np.random.default_rng(seed)
    chosen = images[np.sort(rng.permutation(len(images))[:num_images])]
    if chosen.min() == chosen.max():
        raise DataError(
            f"all pixels of the images are {chosen.flat[0]:g}; expected images like those that "
            "the network will see"
        )
    return chosen
