"""What a user's functions give samplers, looked at before the first step.

Tensors whose shapes are not known yet, within a graph, are taken as they are.
"""

import tensorflow as tf

from tfgen.errors import UserError


def one_per_chain(name: str, value: tf.Tensor, num_chains) -> tf.Tensor:
    """A tensor that has to be `[B]`, or why it is none.

    Args:
        name: string, what it is, for the message.
        value: of the user's function.
        num_chains: B, a number where it is known.

    Returns:
        The tensor.

    Raises:
        UserError: another shape. A sum or mean over chains would mix them up, or divide their
            gradients.
    """
    count = num_chains if isinstance(num_chains, int) else None
    if not value.shape.is_compatible_with([count]):
        raise UserError(
            f"{name} has shape {tuple(value.shape)}; expected ({'B' if count is None else count},),"
            " one number of each chain: reduce over all axes but the first"
        )
    return value


def scalar_or_per_chain(name: str, value: tf.Tensor, num_chains) -> None:
    """Raises a UserError unless a tensor is a scalar or `[B]`."""
    if value.shape.rank != 0:
        one_per_chain(name, value, num_chains)
