"""What goes into a classifier: images of which shape and range."""

import keras
import numpy as np

from tfgen.data import doors
from tfgen.errors import UserError


def shapes_of(model: keras.Model) -> tuple[tuple[int, ...], int]:
    """Shape of one image, and how many numbers the model returns for it.

    Raises:
        UserError: a model that is not built, takes no images of a fixed size, or returns anything
            but one vector an image.
    """
    # Functional models know their input; subclassed ones what they were built with.
    shape = getattr(model, "input_shape", None) if model.built else None
    if model.built and shape is None:
        shape = (model.get_build_config() or {}).get("input_shape")
    if shape is None:
        raise UserError("the model is not built; call it on a batch of images, or build(), first")
    if isinstance(shape, list | dict) or len(shape) != 4:
        raise UserError(
            f"the model takes inputs of shape {shape}; expected one batch of images "
            "[None, height, width, channels]"
        )
    if None in shape[1:]:
        raise UserError(f"the model takes images of any size ({shape}); build it with a fixed one")
    outputs = model.compute_output_spec(keras.KerasTensor((1, *shape[1:])))
    many = keras.tree.flatten(outputs)
    if keras.tree.is_nested(outputs) or len(many[0].shape) != 2:
        shapes = " and ".join(str(x.shape) for x in many)
        raise UserError(
            f"the model returns {len(many)} output{'s' * (len(many) > 1)} of shape {shapes}; "
            "expected one vector of classes an image: give a model of that output alone"
        )
    return tuple(shape[1:]), int(many[0].shape[-1])


def as_images(images: np.ndarray, image_shape: tuple[int, ...]) -> np.ndarray:
    """What `tfgen.data.doors.as_images` lets in, in the precision it came in if that is float64.

    Args:
        images: `[K, H, W, C]`, in any form that `tfgen.data.ranges` takes.
        image_shape: `(H, W, C)`.

    Raises:
        UserError: another shape or range.
    """
    intensities = doors.as_images(images, tuple(image_shape), "the batch of images").numpy()
    return images if getattr(images, "dtype", None) == np.float64 else intensities
