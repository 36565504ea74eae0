"""Doing the whole of an update or none of it, under any distribution strategy."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf


def sum_of_squares(gradients: Sequence) -> tf.Tensor:
    """The squared global norm of the gradients; not finite if any element of any is not.

    One pass over the memory serves the finiteness check and the reported norm. A square that
    overflows float32 (elements above 1e19) counts as not finite.

    Args:
        gradients: tensors, `tf.IndexedSlices` or `None`.

    Returns:
        float32 scalar.
    """
    dense = [
        gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
        for gradient in gradients
        if gradient is not None
    ]
    return 2.0 * tf.add_n([tf.cast(tf.nn.l2_loss(gradient), tf.float32) for gradient in dense])


def apply_or_skip(
    accept: tf.Tensor, apply: Callable, skip: Callable[[], None], arguments: Sequence
) -> None:
    """Runs `apply(*arguments)` where `accept` is true and `skip()` where it is not.

    Args:
        accept: boolean scalar, the same on all replicas.
        apply: function called in replica context; changes variables, returns nothing.
        skip: function, likewise.
        arguments: sequence of any nested structures of tensors, those of this replica.
    """
    if tf.__internal__.distribute.strategy_supports_no_merge_call():
        tf.cond(accept, lambda: _run(apply, arguments), lambda: _run(skip, ()))
        return

    # Optimizers merge the replicas' calls, which TensorFlow forbids inside a conditional: so the
    # replicas meet first, the conditional is entered once, and they part again within it.
    def in_cross_replica_context(strategy, accept, *arguments):
        each = strategy.extended.call_for_each_replica
        tf.cond(
            strategy.experimental_local_results(accept)[0],
            lambda: _run(each, (apply, arguments)),
            lambda: _run(each, (skip, ())),
        )

    replica = tf.distribute.get_replica_context()
    replica.merge_call(in_cross_replica_context, args=(accept, *arguments))


def apply_gradients(optimizer: keras.Optimizer, gradients: Sequence, variables: Sequence) -> None:
    """Applies gradients already known to be finite.

    A `LossScaleOptimizer` would check them again, and under a strategy it would look at the first
    replica's only. So its two halves are called by name, here and in `reject_gradients`.
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer._stateful_handle_finite_grads(gradients, variables)
    else:
        optimizer.apply(gradients, variables)


def reject_gradients(optimizer: keras.Optimizer) -> None:
    """Tells the optimizer that its gradients were not finite: a loss scale is halved."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer._stateful_handle_non_finite_grads()


def _run(function: Callable, arguments: Sequence) -> tf.Tensor:
    function(*arguments)
    return tf.constant(0)  # both branches of a conditional must return the same
