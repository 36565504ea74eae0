"""int8 without training: LiteRT takes the ranges of activations from images."""

import contextlib
import os

import keras
import numpy as np

from tfgen.errors import ConfigError, UserError
from tfgen.ops.checks import one_of, whole_number
from tfgen.search.hant import cuts, graph
from tfgen.search.hant.chain import at_rest
from tfgen.search.hant.int8.inputs import checked_images, checked_model, representative
from tfgen.search.hant.int8.joining import joined
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
    float_stem: bool = False,
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
        float_stem: whether the first convolution, with its batch norm and activation, stays in
            float32: integer kernels of some processors take as long for one channel or three as
            for eight or sixteen. Defaults to `False`.
        seed: integer that draws the images. Defaults to `0`.

    Returns:
        The `Int8Model`.

    Raises:
        ConfigError: the network is not functional or has weights that are not finite, an option
            is out of range, or there is no stem that could stay in float32.
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
    if not float_stem:
        content = converted(flat, chosen, deployed_batch_size, integer_ends, seed)
    elif integer_ends:
        raise ConfigError(
            "integer_ends and float_stem are both wanted; a first convolution in float32 takes "
            "images in float32: leave one of them out"
        )
    else:
        content = _behind_float(flat, chosen, deployed_batch_size, seed)
    found = Int8Model(
        content,
        method,
        f"{len(chosen)} of {len(images)} images, seed {seed}",
    )
    if path is not None:
        found.save(path)
    return found


def _behind_float(model, images, batch_size, seed) -> bytes:
    """A network whose first convolution stays in float32."""
    stem, rest = stem_and_rest(model)
    run = at_rest(stem)
    features = np.concatenate([np.asarray(run(image[None])) for image in images])
    with _one_sentence(model):
        first = artefacts.litert_content(stem, batch_size, "float32")
    return joined(first, converted(rest, features, batch_size, False, seed))


def stem_and_rest(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """A network up to the activation of its first convolution, and what is behind.

    Args:
        model: functional `keras.Model` without nested ones, of one input and one output.

    Raises:
        ConfigError: it has no convolution through which everything passes, or only one.
    """
    found = cuts.pieces(model)
    convolves = [p.convolves and isinstance(p.operation, keras.layers.Conv2D) for p in found]
    number = convolves.index(True) if any(convolves) else len(found)
    if number + 1 >= len(found):
        raise ConfigError(
            f"the network {model.name!r} has no convolution through which all of it passes, and "
            "something behind; leave float_stem out"
        )
    while number + 2 < len(found) and _belongs(found[number + 1]):
        number += 1
    middle = found[number].output
    x, parts = keras.Input(middle.shape[1:], name="features"), [[], []]
    for place, piece in enumerate(found):
        parts[place > number] += piece.nodes
    tensors = {id(middle): x}
    graph.replay(parts[1], tensors)
    rest = keras.Model(x, tensors[id(model.outputs[0])], name=model.name)
    return keras.Model(model.inputs[0], middle, name="stem"), rest


def _belongs(piece) -> bool:
    """Whether it goes into the convolution before it."""
    return piece.activates or isinstance(piece.operation, keras.layers.BatchNormalization)


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

    with _one_sentence(model):
        return artefacts.litert_content(
            model,
            batch_size,
            "int8",
            calibration=None if images is None else batches,
            integer_ends=integer_ends,
        )


@contextlib.contextmanager
def _one_sentence(model):
    try:
        with artefacts.one_sentence(model.name):
            yield
    except artefacts.BlockError as error:
        raise UserError(f"LiteRT cannot hold the network in int8: {error}") from error
