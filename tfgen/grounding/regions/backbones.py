"""What makes a feature map of images: any Keras model, or a few convolutions of ours."""

import math
from collections.abc import Mapping
from typing import Any

import keras

from tfgen.errors import ConfigError, reason_of
from tfgen.grounding.regions.roi_align import feature_map
from tfgen.ops.checks import whole_number
from tfgen.ops.random_streams import hashed


def backbone_of(
    given: Any, image_shape: tuple[int, int, int], seed: int = 0
) -> tuple[keras.Model | None, float]:
    """A model of images to a feature map, and what images in [0, 1] are multiplied by for it.

    Args:
        given: see `RegionFeatures`.
        image_shape: tuple `(H, W, C)`.
        seed: integer, seed of the weights of `convolutions`. Defaults to `0`.

    Returns:
        The model, or None for the pixels themselves, and a float.

    Raises:
        ConfigError: there is no such backbone.
    """
    if given is None:
        return None, 1.0
    if isinstance(given, keras.Model):
        return given, 1.0
    if not isinstance(given, Mapping):
        raise ConfigError(f"backbone is {given!r}; expected a Keras model, a dict of one, or None")
    if "class_name" in given:
        return keras.saving.deserialize_keras_object(dict(given)), 1.0
    if "filters" in given:
        return convolutions(image_shape, given["filters"], given.get("strides"), seed), 1.0
    options = {"weights": None, "layer": None, "scale": 255.0, **given}
    kind = getattr(keras.applications, str(options.get("name")), None)
    if not callable(kind):
        raise ConfigError(
            f"there is no backbone {options.get('name')!r}; expected a class of "
            "keras.applications, such as 'MobileNetV2', or filters= of convolutions"
        )
    model = kind(include_top=False, weights=options["weights"], input_shape=image_shape)
    scale = float(options["scale"])
    if not math.isfinite(scale):
        raise ConfigError(f"backbone.scale is {scale}; expected a finite number")
    return feature_map(model, options["layer"]), scale


def map_shape(backbone: keras.Model, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """What a backbone makes of images, `(height, width, channels)` of its feature map.

    Args:
        backbone: `keras.Model` of such images.
        image_shape: tuple `(H, W, C)` of the images.

    Raises:
        ConfigError: it takes no such images, or returns anything else than one map.
    """
    taken = [tuple(x.shape[1:]) for x in getattr(backbone, "inputs", None) or ()]
    if taken and (len(taken) > 1 or taken[0][-1] not in (None, image_shape[-1])):
        raise ConfigError(
            f"the backbone {backbone.name!r} takes {', '.join(map(str, taken))}; expected images "
            f"of shape {tuple(image_shape)}"
        )
    try:
        found = backbone.compute_output_spec(keras.KerasTensor((None, *image_shape), "float32"))
    except Exception as error:  # whatever a model of anyone's raises
        raise ConfigError(
            f"the backbone {backbone.name!r} takes no images of shape {tuple(image_shape)}: "
            f"{reason_of(error)}"
        ) from error
    shapes = [tuple(y.shape[1:]) for y in keras.tree.flatten(found)]
    if keras.tree.is_nested(found) or len(shapes[0]) != 3 or None in shapes[0]:
        raise ConfigError(
            f"the backbone {backbone.name!r} makes {', '.join(map(str, shapes))} of an image; "
            "expected one feature map (height, width, channels): give keras.Model(model.inputs, "
            "model.get_layer(NAME).output) of a layer that has one"
        )
    return shapes[0]


def convolutions(image_shape, filters, strides=None, seed: int = 0) -> keras.Model:
    """Convolutions of 3 by 3 with ReLU, small enough to learn along.

    They see little beyond a point of their map, so that what they say of a window is of what is in
    it. Nothing is normalised: a batch of images shares no statistics.

    Args:
        image_shape: tuple `(H, W, C)`.
        filters: sequence of integers, channels of each.
        strides: sequence of integers, one each; None: 2, 2, and 1 for all others.
        seed: integer, seed of the initial weights. Defaults to `0`.

    Raises:
        ConfigError: a number is out of range, or the sequences have different lengths.
    """
    filters = [whole_number("backbone.filters", each, 1) for each in filters]
    strides = [2, 2, *[1] * len(filters)][: len(filters)] if strides is None else list(strides)
    if not filters or len(filters) != len(strides):
        raise ConfigError(
            f"backbone.filters has {len(filters)} numbers and backbone.strides {len(strides)}; "
            "expected as many, and at least one"
        )
    x = images = keras.Input(image_shape, name="images")
    for index, (channels, stride) in enumerate(zip(filters, strides)):
        x = keras.layers.Conv2D(
            channels,
            3,
            whole_number("backbone.strides", stride, 1),
            padding="same",
            activation="relu",
            kernel_initializer=keras.initializers.HeNormal(hashed(seed, "conv", index) % 2**31),
            name=f"conv_{index}",
        )(x)
    return keras.Model(images, x, name="convolutions")
