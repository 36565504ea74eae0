"""Layers that compute in float32 what int8 will: rounded to 256 numbers, with gradients.

Rounding has the gradient of the identity within its range and none beyond. LiteRT computes what
these layers do, since its converter reads the ranges off the very same operations.
"""

import keras
import tensorflow as tf

from tfgen.ops.checks import in_range, one_of, whole_number

RANGES = ("moving_average", "learnt", "frozen")
_SMALLEST = 1e-3  # width of a range; that of a tensor of zeros
# An int8 bias has 32 bits, in steps of the kernel's times the input's: a kernel of zeros whose step
# is too small would have none.
_KERNEL_FLOOR, _BIAS_FLOOR, _CHANNEL_FLOOR = 1e-6, 1.2e-4, 1e-4


@keras.saving.register_keras_serializable(package="tfgen")
class FakeQuantize(keras.layers.Layer):
    """Rounds tensors to the 256 numbers that int8 has between two limits.

    Args:
        num_tensors: integer, tensors that share the limits, as those that are concatenated must.
            Defaults to `1`.
        ranges: string: "moving_average" of the batches' smallest and largest numbers in training;
            "learnt" by gradients; or "frozen" as they are. Defaults to `"moving_average"`.
        momentum: float, what of an average stays every step. Defaults to `0.99`.
        limits: pair of floats that never change; None takes them from what is seen.

    Call arguments:
        x: tensor of any shape.
        slot: integer, which of the tensors it is; None looks at no limits but uses them, as for an
            average of numbers within. Defaults to `0`.

    Attributes:
        observing: whether `x` passes unchanged and the limits become those of this batch, as while
            ranges are taken. `False` at first.

    Raises:
        ConfigError: an option is out of range.
    """

    def __init__(
        self, num_tensors=1, ranges="moving_average", momentum=0.99, limits=None, **kwargs
    ):
        super().__init__(**kwargs)
        self.num_tensors = whole_number("num_tensors", num_tensors, 1)
        self.ranges = one_of("ranges", ranges, RANGES)
        in_range("momentum", momentum, 0.0, most=1.0)
        self.momentum, self.limits = momentum, None if limits is None else tuple(limits)
        self.observing = False

    def build(self, input_shape=None):
        del input_shape
        if self.limits is None:
            shape, trainable = (self.num_tensors,), self.ranges == "learnt"
            self.minimum = self.add_weight(
                name="minimum", shape=shape, initializer="zeros", trainable=trainable
            )
            self.maximum = self.add_weight(
                name="maximum", shape=shape, initializer="zeros", trainable=trainable
            )
        self.built = True

    def call(self, x, slot=0, training=False):
        if self.limits is not None:
            return x if self.observing else _rounded(x, *self.limits)
        averaging = training and self.ranges == "moving_average"
        if slot is not None and (self.observing or averaging):
            self._observe(x, slot)
        if self.observing:
            return x
        # Zero is among the numbers: padding needs it.
        low = tf.minimum(tf.reduce_min(self.minimum), 0.0)
        high = tf.maximum(tf.reduce_max(self.maximum), low + _SMALLEST)
        return _rounded(x, low, tf.maximum(high, 0.0))

    def _observe(self, x, slot):
        x, share = tf.stop_gradient(x), 1.0 if self.observing else 1.0 - self.momentum
        here = share * tf.one_hot(slot, self.num_tensors)
        for limit, seen in ((self.minimum, tf.reduce_min(x)), (self.maximum, tf.reduce_max(x))):
            old = tf.convert_to_tensor(limit)
            limit.assign(old + here * (seen - old))

    def compute_output_spec(self, x, *_, **__):
        return keras.KerasTensor(x.shape, x.dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "num_tensors": self.num_tensors,
            "ranges": self.ranges,
            "momentum": self.momentum,
            "limits": self.limits,
        }


def _rounded(x, low, high):
    return tf.quantization.fake_quant_with_min_max_vars(x, low, high)


def rounded_kernel(kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """A kernel of -127 to 127 steps, of a size of its own for every channel.

    Args:
        kernel: tensor `[..., channels]`.
        bias: tensor `[channels]`.
    """
    kernel, bias = tf.convert_to_tensor(kernel), tf.convert_to_tensor(bias)
    size = tf.reduce_max(tf.abs(kernel), tuple(range(len(kernel.shape) - 1)))
    least = tf.maximum(_CHANNEL_FLOOR * tf.reduce_max(size), _BIAS_FLOOR * tf.abs(bias))
    # A little more, or the largest weight of all would count as beyond and never be trained.
    size = tf.stop_gradient(1.00001 * tf.maximum(tf.maximum(size, least), _KERNEL_FLOOR))
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(
        kernel, -size, size, narrow_range=True
    )


@keras.saving.register_keras_serializable(package="tfgen")
class QuantizedConv2D(keras.layers.Conv2D):
    """A convolution with a rounded kernel; it needs a bias and channels last.

    Args:
        *args: tuple, those of `keras.layers.Conv2D`.
        **kwargs: keyword arguments of that layer.
    """

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, rounded_kernel(kernel, self.bias))


@keras.saving.register_keras_serializable(package="tfgen")
class QuantizedDepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """A depthwise convolution with a rounded kernel; it needs a bias and channels last.

    Args:
        *args: tuple, those of `keras.layers.DepthwiseConv2D`.
        **kwargs: keyword arguments of that layer.
    """

    def call(self, inputs):
        kernel = tf.convert_to_tensor(self.kernel)
        height, width, channels, multiplier = kernel.shape
        rounded = rounded_kernel(
            tf.reshape(kernel, (height, width, channels * multiplier)), self.bias
        )
        y = keras.ops.depthwise_conv(
            inputs,
            tf.reshape(rounded, kernel.shape),
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )
        return self.activation(y + self.bias)


@keras.saving.register_keras_serializable(package="tfgen")
class QuantizedDense(keras.layers.Dense):
    """A dense layer with a rounded kernel; it needs a bias and vectors as inputs.

    It is a convolution of one pixel: LiteRT's converter knows a step for every channel of those
    only.

    Args:
        *args: tuple, those of `keras.layers.Dense`.
        **kwargs: keyword arguments of that layer.
    """

    def call(self, inputs, training=None):
        del training
        inputs_size, channels = self.kernel.shape
        kernel = tf.reshape(tf.convert_to_tensor(self.kernel), (1, 1, inputs_size, channels))
        pixels = tf.reshape(inputs, (-1, 1, 1, inputs_size))
        y = tf.nn.conv2d(pixels, rounded_kernel(kernel, self.bias), 1, "VALID") + self.bias
        return tf.reshape(self.activation(y), (-1, channels))
