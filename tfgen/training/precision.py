"""The precision of training by name, and whether half of it pays on this processor."""

import time

import keras
import tensorflow as tf

from tfgen.errors import ConfigError

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")

# Measured: with products 4.3 times as fast (AMX), steps of NVAE, LSGM and phrase grounding take
# 0.83, 0.76 and 0.53 of their time in float32, that of a small detector 1.15. On processors with
# 16-bit dot products but no matrix units NVAE's took 1.5 to 2 times theirs.
_WORTHWHILE = 3.0


def set_precision(name: str) -> None:
    """Makes `name` the precision of layers created from now on.

    Args:
        name: `"float32"`, `"mixed_bfloat16"` or `"mixed_float16"` (half-precision arithmetic with
            float32 weights; `tfgen.training.Model` scales the loss for the latter).

    Raises:
        ConfigError: the name is none of these.
    """
    if name not in PRECISIONS:
        raise ConfigError(f"The precision must be one of {', '.join(PRECISIONS)}; got {name!r}.")
    keras.config.set_dtype_policy(name)


def product_speedup(dtype: str, size: int = 512, num_repeats: int = 5) -> float:
    """How many times as fast matrix products are in a type of 16 bits as in float32, measured here.

    Args:
        dtype: string, "bfloat16" or "float16".
        size: integer, of square matrices. Defaults to `512`.
        num_repeats: integer, products of which the fastest counts. Defaults to `5`.
    """
    seconds = []
    for each in ("float32", dtype):
        x = tf.cast(tf.random.stateless_uniform([size, size], (0, 0)), each)
        tf.matmul(x, x)  # what is prepared once
        seconds.append(min(_seconds(x) for _ in range(num_repeats)))
    return seconds[0] / seconds[1]


def _seconds(x):
    start = time.perf_counter()
    tf.matmul(x, x).numpy()
    return time.perf_counter() - start


def half_precision_note() -> str | None:
    """What to know before training in half precision on a processor; None if there is no need."""
    dtype = keras.config.dtype_policy().compute_dtype
    if dtype == "float32" or tf.config.list_logical_devices("GPU") or _has_tpu():
        return None
    speedup = product_speedup(dtype)
    found = f"matrix products take {1.0 / speedup:.2f} of their time in float32 on this processor"
    if speedup < _WORTHWHILE:
        return f"{dtype}: {found}, so that training will be slower than with --precision=float32"
    return (
        f"{dtype}: {found}, and other operations no less: large networks gain, small convolutions "
        "may lose"
    )


def _has_tpu():
    return bool(tf.config.list_logical_devices("TPU"))
