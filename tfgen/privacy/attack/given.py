"""What an attacker was given, checked against the network it is said to come from."""

import operator
from collections.abc import Sequence

import tensorflow as tf

from tfgen.errors import UserError
from tfgen.privacy.network.shared import SharedNetwork


def checked_gradients(gradients: Sequence[tf.Tensor], network: SharedNetwork) -> list[tf.Tensor]:
    """The gradients as tensors of the network's type.

    Raises:
        UserError: their number, shapes or values do not fit the model.
    """
    variables = network.variables
    if len(gradients) != len(variables):
        raise UserError(
            f"{len(gradients)} gradients came for {len(variables)} trainable variables; give "
            "one for each, in the order of model.trainable_variables"
        )
    checked = []
    for gradient, variable in zip(gradients, variables):
        if gradient is None:
            raise UserError(
                f"the gradient of {variable.path} is None; give zeros for a variable that the "
                "loss does not reach"
            )
        gradient = tf.cast(tf.convert_to_tensor(gradient), network.dtype)
        if tuple(gradient.shape) != tuple(variable.shape):
            raise UserError(
                f"the gradient of {variable.path} has shape {tuple(gradient.shape)}; expected "
                f"{tuple(variable.shape)}"
            )
        if not bool(tf.reduce_all(tf.math.is_finite(gradient))):
            raise UserError(
                f"the gradient of {variable.path} holds NaN or infinity; there is nothing to "
                "match: share a finite one"
            )
        checked.append(gradient)
    return checked


def checked_masks(masks: Sequence[tf.Tensor] | None, network: SharedNetwork) -> list[tf.Tensor]:
    """Masks as tensors of the network's type; empty where there are none.

    Raises:
        UserError: not one of the right shape for each gradient.
    """
    masks = [] if masks is None else [tf.cast(m, network.dtype) for m in masks]
    if masks and [m.shape for m in masks] != [v.shape for v in network.variables]:
        raise UserError(
            "the masks do not have the shapes of the gradients; give one for each trainable "
            "variable, in the order of model.trainable_variables"
        )
    return masks


def whole(batch_size: int | None) -> int | None:
    """The batch size, where there is one.

    Raises:
        UserError: no whole number, or none above 0.
    """
    try:
        size = None if batch_size is None else operator.index(batch_size)
    except TypeError:
        size = 0
    if size is not None and size < 1:
        raise UserError(f"batch_size is {batch_size!r}; expected a whole number from 1 on")
    return size
