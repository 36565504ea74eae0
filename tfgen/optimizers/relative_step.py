"""The arithmetic of Fromage (arXiv:2002.03432): from norms to a step, and the step itself."""

from typing import NamedTuple

import tensorflow as tf


class RelativeStep(NamedTuple):
    """One step, `new = keep * (parameter - size * gradient)`.

    Attributes:
        size: scalar or tensor, learning rate times the ratio of norms.
        keep: scalar or tensor, `1 / sqrt(1 + learning_rate**2)`, or less where a bound is met.
        penalty: scalar or tensor, the same as `keep`, as proximal methods say it: `keep = 1 / (1 +
            size * penalty)`.
    """

    size: tf.Tensor
    keep: tf.Tensor
    penalty: tf.Tensor


def relative_step(
    parameter_norm, gradient_norm, learning_rate, floors=(0.0, 0.0), inner_product=None, cap=None
) -> RelativeStep:
    """The step of Algorithm 1; with `cap`, followed by the norm bound of the published program.

    The new norm follows from norms and inner product by the law of cosines, so that bounding it
    takes no pass over the new parameter.

    Args:
        parameter_norm: float64 tensor, norms of tensors or of parts of them, any shape.
        gradient_norm: tensor like `parameter_norm`.
        learning_rate: float64 scalar, eta, the relative size of the step.
        floors: pair of floats, what the two norms count as at least in their ratio. Where either
            still is zero the ratio is 1.
        inner_product: tensor like the norms, of parameter and gradient; needed with `cap`.
        cap: tensor like the norms, the largest norm allowed after the step; None allows any.

    Returns:
        float64, of the shape of the norms.
    """
    one = tf.ones_like(parameter_norm)
    numerator = tf.maximum(parameter_norm, floors[0])
    denominator = tf.maximum(gradient_norm, floors[1])
    both = (numerator > 0.0) & (denominator > 0.0)
    size = learning_rate * tf.where(both, numerator / tf.where(both, denominator, one), one)
    keep = one / tf.sqrt(1.0 + learning_rate**2)
    if cap is not None:
        length = size * gradient_norm
        along = tf.math.divide_no_nan(inner_product, gradient_norm)
        square = parameter_norm**2 - 2.0 * length * along + length**2
        new_norm = keep * tf.sqrt(tf.maximum(square, 0.0))
        over = new_norm > cap
        keep = tf.where(over, keep * cap / tf.where(over, new_norm, one), keep)
    return RelativeStep(size, keep, tf.math.divide_no_nan(1.0 / keep - 1.0, size))


def apply_step(p: tf.Tensor, g: tf.Tensor, step: RelativeStep) -> tf.Tensor:
    """The new value of a tensor.

    Args:
        p: float32 or float64 tensor, the parameter.
        g: tensor like `p`, the gradient.
        step: a `RelativeStep` of scalars, or of tensors of the rank of `p`.
    """
    step = representable(step, p.dtype)
    return step.keep * (p - step.size * g)


def apply_in_place(variable: tf.Variable, gradient: tf.Tensor, step: RelativeStep) -> None:
    """`apply_step` on a variable, in one pass over the memory, on a CPU and under XLA.

    A proximal step divides by `1 + alpha * l2` in the operation in which it descends.
    """
    step = representable(step, variable.dtype)
    tf.raw_ops.ResourceApplyProximalGradientDescent(
        var=variable.handle,
        alpha=step.size,
        l1=tf.constant(0.0, variable.dtype),
        l2=step.penalty,
        delta=gradient,
    )


def representable(step: RelativeStep, dtype) -> RelativeStep:
    """Casts; what is too large for `dtype` becomes its largest number."""
    return RelativeStep(
        *(x if x.dtype == dtype else tf.cast(tf.minimum(x, dtype.max), dtype) for x in step)
    )
