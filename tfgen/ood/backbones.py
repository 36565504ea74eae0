"""Networks from images to features: small ones by name, and any Keras model.

Batch norm has momentum 0.9 and epsilon 1e-5 here, PyTorch's. With Keras's own 0.99 and 1e-3 the
averages of a short training lag behind its weights: a network that was right about all training
images in training mode was right about a fifth of them in inference.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from tfgen.errors import ConfigError
from tfgen.layers import convolutional
from tfgen.ops import random_streams
from tfgen.ops.checks import one_of, whole_number

layers = keras.layers
_KERAS_MOMENTUM = 0.99  # from here on averages lag


class _Parts:
    """Convolutions and batch norms with names and seeds of their own."""

    def __init__(self, seed: int, dtype=None):
        self._seed, self._dtype = seed, dtype

    def conv(self, x, name: str, filters: int, size: int, strides: int = 1):
        word = random_streams.hashed("backbone", name, self._seed) % 2**31
        return convolutional.Conv2D(
            filters,
            size,
            strides,
            "same",
            use_bias=False,
            kernel_initializer=keras.initializers.HeNormal(word),
            dtype=self._dtype,
            name=f"{name}_conv",
        )(x)

    def norm(self, x, name: str):
        options = dict(momentum=0.9, epsilon=1e-5, dtype=self._dtype, name=f"{name}_norm")
        return convolutional.BatchNormalization(**options)(x)

    def relu(self, x, name: str):
        return layers.ReLU(dtype=self._dtype, name=f"{name}_relu")(x)

    def unit(self, x, name: str, filters: int, size: int, strides: int = 1):
        """Convolution, batch norm and ReLU."""
        return self.relu(self.norm(self.conv(x, name, filters, size, strides), name), name)

    def basic_block(self, x, name: str, filters: int, strides: int):
        """Two convolutions of 3 x 3 and a shortcut, of 1 x 1 where the shape changes."""
        shortcut = x
        if strides > 1 or x.shape[-1] != filters:
            if (
                strides > 1
            ):  # oneDNN's kernel gradients of 1 x 1 with a stride are not to be trusted
                options = dict(dtype=self._dtype, name=f"{name}_every_second")
                shortcut = layers.MaxPooling2D(1, strides, **options)(shortcut)
            shortcut = self.conv(shortcut, f"{name}_shortcut", filters, 1)
            shortcut = self.norm(shortcut, f"{name}_shortcut")
        x = self.unit(x, f"{name}_1", filters, 3, strides)
        x = self.norm(self.conv(x, f"{name}_2", filters, 3), f"{name}_2")
        x = layers.Add(dtype=self._dtype, name=f"{name}_add")([shortcut, x])
        return self.relu(x, name)

    def pool(self, x):
        return layers.GlobalAveragePooling2D(dtype=self._dtype, name="pool")(x)


def resnet18(image_shape: Sequence[int], seed: int = 0, dtype=None, width: int = 64) -> keras.Model:
    """ResNet-18 for small images: a stem of 3 x 3 without pooling (He et al., 2016, section 4.2).

    Args:
        image_shape: sequence `(H, W, C)`.
        seed: integer, seed of the weights. Defaults to `0`.
        dtype: string or `keras.DTypePolicy`, that of the layers; None is Keras's own.
        width: integer, channels of the first of the four stages. Defaults to `64`.
    """
    parts, images = _Parts(seed, dtype), keras.Input(tuple(image_shape), name="images")
    return _stages(parts, images, parts.unit(images, "stem", width, 3), width, "resnet18")


def resnet18_imagenet(
    image_shape: Sequence[int], seed: int = 0, dtype=None, width: int = 64
) -> keras.Model:
    """ResNet-18 for large images: a stem of 7 x 7 and stride 2, and max pooling.

    Args:
        image_shape: sequence `(H, W, C)`.
        seed: integer, seed of the weights. Defaults to `0`.
        dtype: string or `keras.DTypePolicy`, that of the layers; None is Keras's own.
        width: integer, channels of the first of the four stages. Defaults to `64`.
    """
    parts, images = _Parts(seed, dtype), keras.Input(tuple(image_shape), name="images")
    x = parts.unit(images, "stem", width, 7, 2)
    x = layers.MaxPooling2D(3, 2, "same", dtype=dtype, name="stem_pool")(x)
    return _stages(parts, images, x, width, "resnet18_imagenet")


def _stages(parts, images, x, width, name):
    for stage in range(4):
        for block in range(2):
            strides = 2 if stage and not block else 1
            x = parts.basic_block(x, f"stage{stage}_block{block}", width * 2**stage, strides)
    return keras.Model(images, parts.pool(x), name=name)


def small_cnn(
    image_shape: Sequence[int],
    seed: int = 0,
    dtype=None,
    widths: Sequence[int] = (32, 64, 64, 128),
    strides: Sequence[int] = (1, 2, 1, 2),
) -> keras.Model:
    """Convolutions of 3 x 3 with batch norm and ReLU, and the mean over the image.

    Args:
        image_shape: sequence `(H, W, C)`.
        seed: integer, seed of the weights. Defaults to `0`.
        dtype: string or `keras.DTypePolicy`, that of the layers; None is Keras's own.
        widths: sequence of integers, channels. Defaults to `(32, 64, 64, 128)`.
        strides: sequence of integers, one for each. Defaults to `(1, 2, 1, 2)`.

    Raises:
        ConfigError: not one stride for each width.
    """
    if len(widths) != len(strides) or not len(widths):
        raise ConfigError(
            f"small_cnn has widths {list(widths)} and strides {list(strides)}; expected as many of "
            "one as of the other"
        )
    parts, x = _Parts(seed, dtype), keras.Input(tuple(image_shape), name="images")
    images = x
    for number, (width, stride) in enumerate(zip(widths, strides)):
        x = parts.unit(x, f"layer{number}", whole_number("widths", width, 1), 3, stride)
    return keras.Model(images, parts.pool(x), name="small_cnn")


BACKBONES: dict[str, Callable[..., keras.Model]] = {
    "resnet18": resnet18,
    "resnet18_imagenet": resnet18_imagenet,
    "small_cnn": small_cnn,
}


def build_backbone(spec: Any, image_shape: Sequence[int], seed: int = 0, dtype=None) -> keras.Model:
    """The backbone that is meant.

    Args:
        spec: a `keras.Model`, taken as it is; a name of `BACKBONES`, a string; a dict of its `name`
            and options; or a model as Keras serialises it.
        image_shape: sequence `(H, W, C)`.
        seed: integer, seed of the weights of one that is named. Defaults to `0`.
        dtype: string or `keras.DTypePolicy`, that of the layers of one that is named.

    Returns:
        The model, from images to `[B, features]` or `[B, h, w, features]`.

    Raises:
        ConfigError: there is none of this name, or it takes other images.
    """
    if isinstance(spec, Mapping) and "class_name" in spec:
        spec = keras.saving.deserialize_keras_object(dict(spec))
    if isinstance(spec, keras.Model | keras.layers.Layer):
        warn_of_lagging_averages(spec)
        return spec
    options = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
    name = one_of("backbone", options.pop("name", None), BACKBONES)
    try:
        return BACKBONES[name](image_shape, seed, dtype, **options)
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"backbone {name!r} cannot be made: {error}") from error


def warn_of_lagging_averages(model: keras.layers.Layer) -> None:
    """Warns of batch norms whose averages a short training leaves behind."""
    found = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, layers.BatchNormalization) and layer.momentum >= _KERAS_MOMENTUM
    ]
    if found:
        warnings.warn(
            f"{len(found)} batch norms of {model.name!r} have momentum {found[0].momentum:g}, "
            f"Keras's default (the first is {found[0].name!r}): in short trainings their averages "
            "lag behind the weights, and inference fails where training does not; give them "
            "momentum=0.9 and epsilon=1e-5, unless training takes many thousand steps",
            stacklevel=3,
        )
