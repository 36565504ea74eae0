"""Networks to be made faster: small ones of one's own, and those that others trained.

All take images in [0, 1]; what else a network wants of pixels is done by its first layer.
"""

import os
from collections.abc import Sequence

import keras
from keras import layers

from tfgen.errors import ConfigError, UserError, reason_of
from tfgen.files.regular import regular_file
from tfgen.ops.checks import one_of, whole_number
from tfgen.search.hant.families import conv_norm, depthwise_norm, squeeze_excite

# Scale and offset of pixels in [0, 1], by the beginning of the name in keras.applications; those of
# other families have the networks of their own preprocessing, which a file can hold.
_PIXELS = {
    "EfficientNet": (255.0, 0.0),
    "ConvNeXt": (255.0, 0.0),
    "MobileNetV3": (255.0, 0.0),
    "MobileNet": (2.0, -1.0),
    "InceptionV3": (2.0, -1.0),
    "Xception": (2.0, -1.0),
    "ResNet50V2": (2.0, -1.0),
    "ResNet101V2": (2.0, -1.0),
    "ResNet152V2": (2.0, -1.0),
}

STAGES = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5))


def mobile_network(
    image_shape: Sequence = (32, 32, 3),
    num_classes: int = 10,
    stages: Sequence = STAGES,
    stem: int = 16,
    stem_stride: int = 1,
    head: int = 128,
    activation: str = "relu6",
    squeeze: float | None = None,
    width: float = 1.0,
) -> keras.Model:
    """A network of inverted bottlenecks, as EfficientNet is, of any size.

    Args:
        image_shape: sequence `(H, W, C)`. Defaults to `(32, 32, 3)`.
        num_classes: integer, classes. Defaults to `10`.
        stages: sequence of `(expansion, channels, blocks, stride, kernel)`, the stride that of a
            stage's first block. Defaults to
            `((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5))`.
        stem: integer, channels of the first convolution. Defaults to `16`.
        stem_stride: integer, its stride. Defaults to `1`.
        head: integer, channels of the last convolution. Defaults to `128`.
        activation: string, name of the activation; "relu6" and "relu" keep int8 fast. Defaults to
            `"relu6"`.
        squeeze: float, width of squeeze-and-excitation in multiples of a block's input; None has
            none.
        width: float, all channels in multiples of those above. Defaults to `1.0`.

    Returns:
        A functional model of images in [0, 1] to logits.

    Raises:
        ConfigError: a stage is none.
    """
    whole_number("num_classes", num_classes, 2)

    def scaled(channels):
        return max(1, round(channels * width))

    x = images = keras.Input(tuple(image_shape), name="images")
    x = layers.Rescaling(2.0, -1.0, name="pixels")(x)
    x = conv_norm(x, scaled(stem), 3, stem_stride, activation, name="stem")
    number = 0
    for stage in stages:
        if len(stage) != 5:
            raise ConfigError(
                f"a stage is {stage!r}; expected its expansion, channels, blocks, stride and kernel"
            )
        expansion, channels, blocks, stride, kernel = stage
        for place in range(blocks):
            x = _block(
                x,
                scaled(channels),
                expansion,
                kernel,
                1 if place else stride,
                activation,
                squeeze,
                f"block{number}",
            )
            number += 1
    x = conv_norm(x, scaled(head), 1, 1, activation, name="head")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, layers.Dense(num_classes, name="logits")(x), name="mobile")


def _block(x, channels, expansion, kernel, stride, activation, squeeze, name):
    y, inner = x, round(x.shape[-1] * expansion)
    if expansion != 1:
        y = conv_norm(y, inner, 1, 1, activation, name=f"{name}_expand")
    y = depthwise_norm(y, kernel, stride, activation, name=f"{name}_depthwise")
    if squeeze:
        reduced = max(1, round(x.shape[-1] * squeeze))
        y = squeeze_excite(y, reduced, name=f"{name}_squeeze")
    y = conv_norm(y, channels, name=f"{name}_project")
    return layers.Add(name=f"{name}_add")([x, y]) if y.shape == x.shape else y


def application(
    name: str,
    weights: str | None = "imagenet",
    image_size: int | None = None,
    num_classes: int = 1000,
) -> keras.Model:
    """A network of `keras.applications` that takes images in [0, 1].

    Args:
        name: string, its name there, such as `EfficientNetB0`.
        weights: string, "imagenet", which Keras downloads, or the path of a file of weights; None
            has random ones. Defaults to `"imagenet"`.
        image_size: integer, height and width of images; None is its own.
        num_classes: integer, classes. Defaults to `1000`.

    Raises:
        ConfigError: there is no such network, or none whose pixels are known.
        UserError: the weights cannot be had, or do not fit.
    """
    known = [
        key
        for key in dir(keras.applications)
        if key[:1].isupper() and any(key.startswith(start) for start in _PIXELS)
    ]
    one_of("the name of a network of keras.applications", name, known)
    options = dict(weights=None, classes=num_classes)
    if image_size is not None:
        options["input_shape"] = (image_size, image_size, 3)
    if name.startswith("MobileNetV3"):
        options["include_preprocessing"] = True
    if weights is not None and weights != "imagenet":
        regular_file(weights, UserError)
    try:
        made = getattr(keras.applications, name)(**{**options, "weights": weights})
    except Exception as error:  # of a network, of h5py, of shapes
        raise UserError(
            f"the weights {weights!r} of {name} cannot be had ({reason_of(error)}); give a file of "
            f"them, or have it trained: config.model.weights=None"
        ) from error
    start = max((start for start in _PIXELS if name.startswith(start)), key=len)
    return with_pixels(made, *_PIXELS[start])


def with_pixels(network: keras.Model, scale: float, offset: float) -> keras.Model:
    """A network of images in [0, 1] around one that takes other pixels.

    Args:
        network: functional `keras.Model`.
        scale: float, by which pixels in [0, 1] are multiplied.
        offset: float, what is then added.
    """
    if (scale, offset) == (1.0, 0.0):
        return network
    images = keras.Input(network.inputs[0].shape[1:], name="images")
    pixels = layers.Rescaling(scale, offset, name="pixels_in_0_1")(images)
    return keras.Model(images, network(pixels), name=network.name)


def read_network(path: str | os.PathLike) -> keras.Model:
    """A functional network in a `.keras` file.

    Args:
        path: path of the file.

    Raises:
        UserError: it is missing, damaged, or holds something else.
    """
    regular_file(path, UserError)
    try:
        network = keras.saving.load_model(path, compile=False)
    except Exception as error:  # whatever zip files, JSON and layers raise
        raise UserError(f"{path} holds no Keras model: {reason_of(error)}") from error
    if not getattr(network, "inputs", None):
        raise UserError(f"{path} holds a {type(network).__name__}; expected a functional model")
    return network
