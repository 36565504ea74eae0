"""Transformations by name, as configurations say them, and those that users add."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from tfgen.errors import ConfigError
from tfgen.ood.transformations.appearance import Blur, ColorJitter, Cutout, Noise, Sharpen
from tfgen.ood.transformations.base import Transformation
from tfgen.ood.transformations.geometric import Flip, Permutation, Rotation, Translation
from tfgen.ops.checks import one_of, whole_number

TRANSFORMATIONS: dict[str, Callable[..., Transformation]] = {
    "rotation": Rotation,
    "translation": Translation,
    "blur": Blur,
    "sharpen": Sharpen,
    "color_jitter": ColorJitter,
    "noise": Noise,
    "cutout": Cutout,
    "perm": Permutation,
    "flip": Flip,
}


@keras.saving.register_keras_serializable(package="tfgen")
class FunctionTransformation(Transformation):
    """A function of one's own as a transformation.

    Args:
        function: function `(images, level)` of float32 `[B, H, W, C]` in [0, 1] and an integer
            that gives images of the same shape. To be saved it has to be known to Keras, by
            `keras.saving.register_keras_serializable`, or by its name here, see `register`.
        num_levels: integer K, at least 2.
        identity_first: whether level 0 leaves images as they are. Defaults to `False`.
        name: string, the name of the task.

    Raises:
        ConfigError: fewer than two levels, or no function.
    """

    def __init__(
        self,
        function: Callable,
        num_levels: int,
        identity_first: bool = False,
        name: str = "function",
        **kwargs,
    ):
        if isinstance(function, Mapping):
            function = keras.saving.deserialize_keras_object(function)
        if not callable(function):
            raise ConfigError(f"{name} is {function!r}; expected a function of images and a level")
        whole_number("num_levels", num_levels, 2)
        self._function = function
        self.identity_first = bool(identity_first)
        options = dict(num_levels=num_levels, identity_first=identity_first)
        super().__init__(range(num_levels), options, name, **kwargs)

    def level(self, images, index, seed=None):
        if self.identity_first and not index:
            return images
        found = self._function(images, index)
        if not images.shape.is_compatible_with(found.shape):
            raise ConfigError(
                f"{self.name} made images of shape {tuple(found.shape)} from "
                f"{tuple(images.shape)}; expected the same shape"
            )
        return found

    def get_config(self):
        function = keras.saving.serialize_keras_object(self._function)
        return {**super().get_config(), "function": function}


def register(name: str, function: Callable, num_levels: int, identity_first: bool = False) -> None:
    """Adds a transformation that configurations and `MultiTaskOOD` then know by its name.

    A model that was saved with it asks for the name: register it before loading.

    Args:
        name: string, a name that no transformation has yet.
        function: function `(images, level)`, see `FunctionTransformation`.
        num_levels: integer K, at least 2.
        identity_first: whether level 0 leaves images as they are. Defaults to `False`.

    Raises:
        ConfigError: the name is taken, or the function is none.
    """
    known = TRANSFORMATIONS.get(name)
    if known is not None and getattr(known, "args", ())[:1] != (function,):
        raise ConfigError(f"there is a transformation {name!r} already; choose another name")
    make = functools.partial(FunctionTransformation, function, num_levels, identity_first)
    make(name=name)
    TRANSFORMATIONS[name] = make


def build(spec: Any) -> Transformation:
    """The `Transformation` that is meant.

    Args:
        spec: a `Transformation`, which is taken as it is; its name, a string; a dict of its `name`
            and options; or a layer as Keras serialises it.

    Raises:
        ConfigError: there is no such transformation, or its options are none of its own.
    """
    if isinstance(spec, Transformation):
        return spec
    if isinstance(spec, Mapping) and "class_name" in spec:
        return keras.saving.deserialize_keras_object(dict(spec))
    options = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
    name = one_of("transformation", options.pop("name", None), TRANSFORMATIONS)
    try:
        return TRANSFORMATIONS[name](name=name, **options)
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"transformation {name!r} cannot be made: {error}") from error


def build_all(specs: Sequence[Any], image_shape: Sequence[int]) -> list[Transformation]:
    """Transformations with names of their own.

    Args:
        specs: sequence of what `build` takes.
        image_shape: sequence `(H, W, C)`, of the images that are to be transformed.

    Returns:
        A list of `Transformation`.

    Raises:
        ConfigError: one cannot be made, has a name twice, or does not fit the images.
    """
    if isinstance(specs, str | Mapping | Transformation):
        specs = [specs]
    found = [build(spec) for spec in specs]
    names = [each.name for each in found]
    for each in found:
        if names.count(each.name) > 1:
            raise ConfigError(
                f"two transformations are called {each.name!r}; give one of them another name"
            )
        each.check(image_shape)
    return found


def spec_of(transformation: Transformation) -> Any:
    """What `build` makes such a transformation of, a dict of plain values.

    Args:
        transformation: the `Transformation`.
    """
    name = transformation.name
    known = TRANSFORMATIONS.get(name)
    if isinstance(known, functools.partial) and isinstance(transformation, FunctionTransformation):
        return {"name": name}
    if known is type(transformation):
        return {"name": name, **transformation._options}
    return keras.saving.serialize_keras_object(transformation)
