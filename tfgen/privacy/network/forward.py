"""Forward passes that look inside a Keras model and leave nothing behind.

While a pass is traced, `call` of some layers is replaced on the instances. Keras has no hook there,
and a rewired copy (`clone_model`) exists of functional models alone; this reaches every kind of
model, nested and subclassed ones too.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import tensorflow as tf

from tfgen.ops.precision import at_least_float32

# Mean and biased variance of the input of one batch-norm layer, `[C]` each.
Statistics = tuple[tf.Tensor, tf.Tensor]


def layers_of(model: keras.Model) -> list[keras.Layer]:
    """All layers inside a model, nested ones included."""
    return list(model._flatten_layers(include_self=False))


@contextlib.contextmanager
def replaced_calls(calls: Mapping[keras.Layer, Callable]) -> Iterator[None]:
    """Lets layers compute something else inside the block; afterwards they are as before."""
    try:
        for layer, call in calls.items():
            layer.call = call
        yield
    finally:
        for layer in calls:
            del layer.call  # on the instance; its class has one as before


def pure_batch_norms(
    layers: Sequence[keras.Layer],
    training: bool,
    statistics: list[Statistics],
    met: list | None = None,
) -> contextlib.AbstractContextManager:
    """Lets batch-norm layers note the statistics of their input, and write nothing.

    Keras' own call updates moving averages and keeps the batch statistics to itself.

    Args:
        layers: the batch-norm layers of a model.
        training: whether layers that are not frozen normalise with the statistics of the batch.
        statistics: takes mean and biased variance of each layer's input, as they are met.
        met: takes the layers themselves.
    """

    def replacement(layer):
        def call(inputs, training=None, mask=None):
            del training, mask
            x = at_least_float32(inputs)
            axis = layer.axis % x.shape.rank
            others = [i for i in range(x.shape.rank) if i != axis]
            mean, variance = moments(x, others)
            statistics.append((mean, variance))
            if met is not None:
                met.append(layer)
            if not (batch_mode and layer.trainable):
                mean, variance = (
                    tf.cast(v, x.dtype) for v in (layer.moving_mean, layer.moving_variance)
                )
            scale, offset = _affine(layer, mean, variance)
            shape = [-1 if i == axis else 1 for i in range(x.shape.rank)]
            y = x * tf.reshape(scale, shape) + tf.reshape(offset, shape)
            return tf.cast(y, layer.compute_dtype)

        return call

    batch_mode = training
    return replaced_calls({layer: replacement(layer) for layer in layers})


def moments(x: tf.Tensor, axes: Sequence[int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and biased variance over some axes, differentiable any number of times.

    `tf.nn.moments` stops the gradient at the mean inside its variance. The first derivative does
    not notice; the second, which matching gradients needs, is wrong.
    """
    mean = tf.reduce_mean(x, axes, keepdims=True)
    variance = tf.reduce_mean(tf.square(x - mean), axes)
    return tf.squeeze(mean, axes), variance


def _affine(layer, mean, variance):
    """Batch norm as one multiplication and one addition."""
    scale = tf.math.rsqrt(variance + layer.epsilon)
    if layer.scale:
        scale *= tf.cast(layer.gamma, scale.dtype)
    offset = -mean * scale
    if layer.center:
        offset += tf.cast(layer.beta, scale.dtype)
    return scale, offset
