"""Small classifiers to audit, by name: what configurations of `tfgen-audit` build."""

from collections.abc import Callable, Sequence

import keras

from tfgen.errors import ConfigError
from tfgen.ops.checks import one_of

layers = keras.layers


def small_cnn(image_shape: Sequence[int], num_classes: int, width: int = 16) -> keras.Model:
    """Two convolutions with ReLU and a dense layer, without batch norm."""
    return keras.Sequential(
        [
            keras.Input(tuple(image_shape)),
            layers.Conv2D(width, 3, padding="same", activation="relu"),
            layers.Conv2D(2 * width, 3, strides=2, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(num_classes),
        ],
        name="small_cnn",
    )


def batch_norm_cnn(image_shape: Sequence[int], num_classes: int, width: int = 32) -> keras.Model:
    """Three convolutions, each with batch norm and ReLU, and a dense layer."""
    inputs = x = keras.Input(tuple(image_shape))
    for filters, strides in ((width, 1), (2 * width, 2), (2 * width, 2)):
        x = _normalized(layers.Conv2D(filters, 3, strides, "same", use_bias=False)(x))
        x = layers.ReLU()(x)
    outputs = layers.Dense(num_classes)(layers.Flatten()(x))
    return keras.Model(inputs, outputs, name="batch_norm_cnn")


def resnet18(image_shape: Sequence[int], num_classes: int, width: int = 64) -> keras.Model:
    """ResNet-18 for small images: a 3x3 stem without pooling (He et al., 2016, section 4.2)."""
    inputs = x = keras.Input(tuple(image_shape))
    x = layers.ReLU()(_normalized(layers.Conv2D(width, 3, padding="same", use_bias=False)(x)))
    for stage in range(4):
        for block in range(2):
            x = _basic_block(x, width * 2**stage, 2 if stage and not block else 1)
    outputs = layers.Dense(num_classes)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, outputs, name="resnet18")


def resnet50(
    image_shape: Sequence[int], num_classes: int, weights: str | None = None
) -> keras.Model:
    """`keras.applications.ResNet50` with random weights, or those of a local file."""
    return keras.applications.ResNet50(
        weights=weights,
        input_shape=tuple(image_shape),
        classes=num_classes,
        classifier_activation=None,
    )


def lenet(image_shape: Sequence[int], num_classes: int) -> keras.Model:
    """The smooth network of DLG: sigmoids, and weights from U(-0.5, 0.5)."""
    uniform = keras.initializers.RandomUniform(-0.5, 0.5)
    options = dict(kernel_initializer=uniform, bias_initializer=uniform)
    inputs = x = keras.Input(tuple(image_shape))
    for strides in (2, 2, 1):
        x = layers.Conv2D(12, 5, strides, "same", activation="sigmoid", **options)(x)
    outputs = layers.Dense(num_classes, **options)(layers.Flatten()(x))
    return keras.Model(inputs, outputs, name="lenet")


def build_classifier(
    name: str, image_shape: Sequence[int], num_classes: int, seed: int = 0, **options
) -> keras.Model:
    """A classifier by name, with weights that depend on `seed` alone.

    Args:
        name: string, one of `CLASSIFIERS`.
        image_shape: tuple `(H, W, C)`.
        num_classes: integer, logits put out.
        seed: integer, seed of the initial weights. Defaults to `0`.

    Raises:
        ConfigError: no such name, or an option it does not have.
    """
    one_of("classifier", name, CLASSIFIERS)
    keras.utils.set_random_seed(seed)
    try:
        return CLASSIFIERS[name](image_shape, num_classes, **options)
    except TypeError as error:
        raise ConfigError(f"classifier {name!r} cannot be built: {error}") from error


def _basic_block(x, filters, strides):
    shortcut = x
    if strides > 1 or x.shape[-1] != filters:
        shortcut = _normalized(layers.Conv2D(filters, 1, strides, use_bias=False)(x))
    x = _normalized(layers.Conv2D(filters, 3, strides, "same", use_bias=False)(x))
    x = layers.ReLU()(x)
    x = _normalized(layers.Conv2D(filters, 3, padding="same", use_bias=False)(x))
    return layers.ReLU()(layers.Add()([shortcut, x]))


def _normalized(x):
    # PyTorch's momentum and epsilon: Keras' own leave short trainings with useless averages.
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)


CLASSIFIERS: dict[str, Callable[..., keras.Model]] = {
    "small_cnn": small_cnn,
    "batch_norm_cnn": batch_norm_cnn,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "lenet": lenet,
}
