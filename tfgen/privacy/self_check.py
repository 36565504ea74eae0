"""Whether this machine's TensorFlow differentiates a network as it should.

With oneDNN on processors without AVX-512, TensorFlow 2.21 was seen to compute wrong kernel
gradients of 1x1 convolutions that skip pixels, wherever the input channels are no multiple of 8. A
finding that rests on such a gradient is none, so networks with such layers are tried first.
"""

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.privacy.forward import layers_of

_VECTOR = 8  # channels that oneDNN takes at once
_TOLERANCE = 1e-3


def check_kernel_gradients(model: keras.Model) -> None:
    """Tries the kernel gradient of every convolution of the suspicious kind.

    Raises:
        UserError: one is wrong.
    """
    shapes = {}
    for layer in layers_of(model):
        if isinstance(layer, keras.layers.Conv2D) and _is_suspicious(layer):
            channels, filters = layer.kernel.shape[2:]
            shapes.setdefault((int(channels), int(filters), tuple(layer.strides)), layer.name)
    for (channels, filters, strides), name in shapes.items():
        if _error(channels, filters, strides) > _TOLERANCE:
            raise UserError(
                f"TensorFlow's kernel gradient of layer {name!r} (1x1 convolution of {channels} "
                f"channels with strides {strides}) is wrong on this processor; set the environment "
                "variable TF_ENABLE_ONEDNN_OPTS=0 and start again"
            )


def _is_suspicious(layer) -> bool:
    plain = tuple(layer.kernel_size) == (1, 1) and max(layer.strides) > 1
    return plain and layer.kernel.shape[2] % _VECTOR != 0


def _error(channels, filters, strides, size=8) -> float:
    """Of the gradient of one convolution on random numbers, relative to the largest entry."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, size, size, channels)).astype(np.float32)
    seen = x[:, :: strides[0], :: strides[1]]
    dy = rng.standard_normal((*seen.shape[:3], filters)).astype(np.float32)
    kernel = tf.zeros((1, 1, channels, filters))
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        y = tf.nn.conv2d(x, kernel, strides, "VALID")
    gradient = tape.gradient(y, kernel, output_gradients=tf.constant(dy))[0, 0]
    expected = np.einsum("bhwc,bhwf->cf", seen.astype(np.float64), dy)
    return float(np.abs(gradient - expected).max() / np.abs(expected).max())
