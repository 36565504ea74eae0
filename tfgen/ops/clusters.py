"""Pointwise parts that XLA compiles within a plain graph, so that they go over memory once.

On CPUs convolutions are faster outside XLA and chains of pointwise ops inside it. Accelerators
compile whole steps instead, and exported graphs must do without.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator

import tensorflow as tf

_SMALLEST = 2**14  # elements: below, compiling costs more than it ever saves
_portable = contextvars.ContextVar("portable", default=False)


@functools.cache
def on_cpu() -> bool:
    """Whether no accelerator is visible, so that CPU forms of ops and gradients pay."""
    return not (tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"))


def pays(x: tf.Tensor) -> bool:
    """Whether a cluster is worth its compilation for `x`, and allowed in the present graph."""
    size = x.shape.num_elements()
    return on_cpu() and not is_portable() and (size is None or size >= _SMALLEST)


@contextlib.contextmanager
def portable() -> Iterator[None]:
    """Graphs traced within hold no clusters: converters know none."""
    token = _portable.set(True)
    try:
        yield
    finally:
        _portable.reset(token)


def is_portable() -> bool:
    """Whether the present graph is traced for other runtimes too."""
    return _portable.get()


@functools.cache
def cluster(function: Callable, *key) -> Callable:
    """`function` of tensors as a cluster; the same one for the same function and key.

    Args:
        function: function of tensors to compile.
        *key: hashable values that tell its inputs apart, such as names of shape and dtype. One
            program for each keeps TensorFlow from counting them as retracings.
    """
    del key
    return tf.function(function, jit_compile=True, autograph=False)
