"""Rectifiers whose kinks an attack does not see.

The gradient of a network with ReLUs is piecewise constant in what the kinks decide: its derivative
by the pixels says nothing about which units would switch on or off a little further on, and in a
deep network with batch norm nearly all of the change is of that kind. Here values and gradients of
the network stay exactly what they are; only the derivative of them, by which candidates move,
takes every step for a sigmoid and its jump for that sigmoid's slope.
"""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

# A logistic function with this slope is nearest to the normal distribution function.
_STEEPNESS = 1.702


@contextlib.contextmanager
def relaxed_relu(width: float) -> Iterator[contextlib.AbstractContextManager]:
    """Within, `tf.nn.relu`, which all rectifiers of Keras call, has a second, smooth derivative.

    It is replaced while a pass is traced, for the whole process: do not trace in two threads.

    Args:
        width: float, of the sigmoid that stands for the step, in standard deviations of what enters
            the rectifier; 0 changes nothing.

    Yields:
        A context for the outer derivative. Derivatives taken outside of it are exact.
    """
    if not width:
        yield contextlib.nullcontext()
        return
    original, outside = tf.nn.relu, []

    @contextlib.contextmanager
    def smooth():
        outside.append(True)
        try:
            yield
        finally:
            outside.pop()

    def replacement(features, name=None):
        del name
        return relu(tf.convert_to_tensor(features))

    @tf.custom_gradient
    def relu(x):
        def gradient(upstream):
            if outside:
                return upstream * _slope(x, width)[0]
            return masked(upstream, x)

        return original(x), gradient

    @tf.custom_gradient
    def masked(upstream, x):
        """The gradient of a rectifier, and how it changes with what entered it."""
        mask = tf.cast(x > 0, x.dtype)

        def gradient(change):
            step, jump = _slope(x, width)
            return change * step, change * upstream * jump

        return upstream * mask, gradient

    tf.nn.relu = replacement
    try:
        yield smooth()
    finally:
        tf.nn.relu = original


def _slope(x, width):
    """A step from 0 to 1 as a sigmoid, and its slope."""
    scale = _STEEPNESS / (width * tf.maximum(tf.math.reduce_std(x), 1e-12))
    step = tf.sigmoid(scale * x)
    return step, scale * step * (1.0 - step)
