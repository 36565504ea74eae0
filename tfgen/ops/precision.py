"""Half precision stops where probabilities begin."""

import tensorflow as tf


def at_least_float32(x) -> tf.Tensor:
    """Casts half-precision (and integer) tensors to float32; float32 and float64 pass unchanged.

    Sums over thousands of pixels or latents lose every useful digit in 16 bits, so likelihoods and
    divergences start from here whatever the network's mixed-precision policy is.
    """
    x = tf.convert_to_tensor(x)
    if x.dtype in (tf.float32, tf.float64):
        return x
    return tf.cast(x, tf.float32)


def at_most_float32(dtype: str) -> str:
    """The name of the dtype to run networks in: float64 becomes float32.

    Fused batch norm knows no float64, and weights are float32 whatever `keras.config.floatx()` is.
    """
    return "float32" if dtype == "float64" else dtype
