"""int8 without training: LiteRT takes the ranges of activations from images."""

import os

import keras
import numpy as np

from tfgen.errors import UserError
from tfgen.ops.checks import one_of, whole_number
from tfgen.search.hant.int8.inputs import checked_images, checked_model, representative
from tfgen.search.hant.int8.model import Int8Model
from tfgen.search.latency import artefacts

METHODS = ("post_training",)


def quantize(
    model: keras.Model,
    images: np.ndarray,
    *,
    method: str = "post_training",
    path: str | os.PathLike | None = None,
    num_images: int = 256,
    deployed_batch_size: int = 1,
    integer_ends: bool = False,
    seed: int = 0,
) -> Int8Model:
    """Turns a trained network into int8 without training it.

    Weights get a scale for every channel, activations one for every tensor, by the smallest and
    the largest number that each takes on some of the images. What LiteRT has no integer operator
    for stays in float32, see `Int8Model.float_operators`.

    Args:
        model: functional `keras.Model` of one input and one output.
        images: array `[N, H, W, C]`, as the network takes them and like those it will see.
        method: string, "post_training". Defaults to `"post_training"`.
        path: path of the `.tflite` file to write; None writes none.
        num_images: integer, images drawn from which ranges are taken. Defaults to `256`.
        deployed_batch_size: integer, images in a batch of the file. Defaults to `1`.
        integer_ends: whether images and outputs are int8 as well, instead of float32. Defaults to
            `False`.
        seed: integer that draws the images. Defaults to `0`.

    Returns:
        The `Int8Model`.

    Raises:
        ConfigError: the network is not functional or has weights that are not finite, or an option
            is out of range.
        DataError: images are missing, of another shape, not finite or all alike.
        UserError: LiteRT cannot hold the network.
        OSError: the file cannot be written.
    """
    one_of("method", method, METHODS)
    whole_number("num_images", num_images, 1)
    whole_number("deployed_batch_size", deployed_batch_size, 1)
    flat = checked_model(model)
    images = checked_images(flat, images)
    chosen = representative(images, num_images, seed)
    found = Int8Model(
        converted(flat, chosen, deployed_batch_size, integer_ends, seed),
        method,
        f"{len(chosen)} of {len(images)} images, seed {seed}",
    )
    if path is not None:
        found.save(path)
    return found


def converted(model, images, batch_size, integer_ends, seed) -> bytes:
    """A network in int8, with ranges of images; without images by what it says of itself.

    Args:
        model: the `keras.Model`.
        images: array `[N, H, W, C]`, or None.
        batch_size: integer, images in a batch.
        integer_ends: whether images and outputs are int8.
        seed: integer that draws what fills the last batch.

    Raises:
        UserError: LiteRT cannot hold the network.
    """

    def batches():
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            rng = np.random.default_rng([seed, start])
            more = images[rng.integers(0, len(images), batch_size - len(batch))]
            yield [np.concatenate([batch, more])]

    try:
        with artefacts.one_sentence(model.name):
            return artefacts.litert_content(
                model,
                batch_size,
                "int8",
                calibration=None if images is None else batches,
                integer_ends=integer_ends,
            )
    except artefacts.BlockError as error:
        raise UserError(f"LiteRT cannot hold the network in int8: {error}") from error
