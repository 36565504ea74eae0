"""What a weight in the training loss does to the validation loss one step later.

A step of size xi on L = L_0 + sum_n lambda_n L_n leads to theta' = theta - xi grad L(theta), and

    dF(theta')/dlambda_n = -xi <grad L_n(theta), grad F(theta')>,

exactly, as L is linear in the weights: a task gains weight where its gradient points where that of
the validation loss F does. No second derivatives are needed.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf


class Hypergradient(NamedTuple):
    """Of one step.

    Attributes:
        gradient: `[N]`, the derivative of the validation loss behind the step by every weight.
        validation_loss: scalar tensor F(theta').
    """

    gradient: tf.Tensor
    validation_loss: tf.Tensor


def hypergradient(
    losses: Callable[[], tuple],
    validation_loss: Callable[[], tf.Tensor],
    variables: Sequence[keras.Variable],
    weights: tf.Tensor,
    step_size,
) -> Hypergradient:
    """The derivative of a validation loss by the weights of tasks; no variable is changed.

    Args:
        losses: function that gives L_0, a scalar, and a sequence of the scalars L_n, computed with
            `variables`.
        validation_loss: function that gives F, a scalar, computed with `variables`.
        variables: sequence of the `keras.Variable`s theta.
        weights: `[N]`, lambda.
        step_size: scalar xi.
    """
    with keras.StatelessScope(), tf.GradientTape(persistent=True) as tape:
        base, tasks = losses()
        tasks = list(tasks)
    plain = [variable.value for variable in variables]
    of_base = _gradients(tape, base, plain)
    of_tasks = [_gradients(tape, task, plain) for task in tasks]
    del tape
    weights = tf.unstack(weights)
    moved = []
    for k, value in enumerate(plain):
        step = of_base[k]
        for weight, gradients in zip(weights, of_tasks):
            step += weight * gradients[k]
        moved.append(tf.convert_to_tensor(value) - tf.cast(step_size, step.dtype) * step)
    with tf.GradientTape() as tape:
        tape.watch(moved)
        with keras.StatelessScope(state_mapping=list(zip(variables, moved))):
            behind = validation_loss()
    of_validation = _gradients(tape, behind, moved)
    products = [
        tf.add_n([tf.reduce_sum(a * b) for a, b in zip(gradients, of_validation)])
        for gradients in of_tasks
    ]
    products = tf.stack(products)
    return Hypergradient(-tf.cast(step_size, products.dtype) * products, behind)


def _gradients(tape, loss, sources):
    return tape.gradient(loss, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
