"""Keras's convolutions and batch norm as CPUs train them faster: same weights, names and values.

Keras computes batch norm in training as a chain of pointwise ops and sums, where TensorFlow has one
op for each direction, and takes gradients of convolutions that `tfgen.ops.convolution` has better
ones for. Everything else, inference and what is traced for other runtimes included, is Keras's own.
"""

import contextlib
import contextvars
import sys
from collections.abc import Iterator
from types import ModuleType

import keras
import tensorflow as tf

from tfgen.ops import convolution
from tfgen.ops.clusters import is_portable, on_cpu

_kinds = contextvars.ContextVar("kinds", default=keras.layers)


def kinds() -> ModuleType:
    """The module whose `Conv2D`, `DepthwiseConv2D` and `BatchNormalization` a network is made of:
    Keras's, or within `trained_faster` this one."""
    return _kinds.get()


@contextlib.contextmanager
def trained_faster() -> Iterator[None]:
    """Networks that are made within have the layers of this module."""
    token = _kinds.set(sys.modules[__name__])
    try:
        yield
    finally:
        _kinds.reset(token)


@keras.saving.register_keras_serializable(package="tfgen")
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch norm whose statistics, normalisation and gradient are one op each, where they can be.

    The arguments are those of `keras.layers.BatchNormalization`.
    """

    def call(self, inputs, training=None, mask=None):
        if not (training and self.trainable and mask is None and self._has_an_op(inputs)):
            return super().call(inputs, training=training, mask=mask)
        channels = inputs.shape[-1]
        y, mean, unbiased, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(self.gamma) if self.scale else tf.ones([channels]),
            offset=tf.convert_to_tensor(self.beta) if self.center else tf.zeros([channels]),
            mean=tf.zeros([0]),
            variance=tf.zeros([0]),
            epsilon=self.epsilon,
        )
        count = tf.cast(tf.size(inputs) // channels, tf.float32)
        variance = unbiased * ((count - 1.0) / count)
        for average, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            now = tf.convert_to_tensor(average)
            average.assign(now * self.momentum + tf.stop_gradient(value) * (1.0 - self.momentum))
        return y

    def _has_an_op(self, inputs):
        return (
            inputs.shape.rank == 4
            and self.axis in (-1, 3)
            and inputs.dtype == self.variable_dtype == self.compute_dtype == "float32"
            and not (self.synchronized or self.renorm)
        )


@keras.saving.register_keras_serializable(package="tfgen")
class Conv2D(keras.layers.Conv2D):
    """A convolution, whose gradients at stride 1 are faster on CPUs.

    The arguments are those of `keras.layers.Conv2D`.
    """

    def convolution_op(self, inputs, kernel):
        if self.groups > 1 or not _applies(self, inputs):
            return super().convolution_op(inputs, kernel)
        return convolution.conv2d(inputs, tf.convert_to_tensor(kernel))


@keras.saving.register_keras_serializable(package="tfgen")
class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """A depthwise convolution, whose gradients at stride 1 are faster on CPUs.

    The arguments are those of `keras.layers.DepthwiseConv2D`.
    """

    def call(self, inputs):
        plain = not self.use_bias and self.activation in (None, keras.activations.linear)
        if not plain or self.depth_multiplier > 1 or not _applies(self, inputs):
            return super().call(inputs)
        return convolution.depthwise_conv2d(inputs, tf.convert_to_tensor(self.kernel))


def _applies(layer, inputs):
    """Whether a layer is what `tfgen.ops.convolution` computes, here and now."""
    size, same = layer.kernel_size, layer.padding == "same"
    return (
        on_cpu()
        and not is_portable()
        and layer.strides == (1, 1)
        and layer.dilation_rate == (1, 1)
        and layer.data_format == "channels_last"
        and size[0] == size[1]
        and size[0] % 2 == 1
        and (same or size == (1, 1))
        and None not in inputs.shape[1:]
    )
