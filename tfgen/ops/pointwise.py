"""Activations, affine maps, gated sums and formulas: the parts of networks that only move memory.

On CPUs each is a cluster with a gradient of its own (`tfgen.ops.clusters`), so that it reads and
writes every value once each way.
"""

import functools
from collections.abc import Callable

import tensorflow as tf

from tfgen.ops.clusters import cluster, pays


def swish(x: tf.Tensor, gain: float = 1.0) -> tf.Tensor:
    """`gain x sigmoid(x)`, of which the backward pass keeps `x` alone."""
    if not pays(x):
        return tf.nn.silu(x) if gain == 1.0 else tf.nn.silu(x) * tf.constant(gain, x.dtype)

    factor = tf.constant(gain, tf.float64)

    @tf.custom_gradient
    def run(x):
        def gradient(dy):
            return cluster(_swish_gradient, x.shape, x.dtype)(x, dy, factor)

        if gain == 1.0:  # one pass in the library as well
            return tf.nn.silu(x), gradient
        return cluster(_swish, x.shape, x.dtype)(x, factor), gradient

    return run(x)


def activate(x: tf.Tensor, activation: str | None) -> tf.Tensor:
    """Applies "swish", "elu" or nothing."""
    if activation is None:
        return x
    return {"swish": swish, "elu": tf.nn.elu}[activation](x)


def affine(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, activation: str | None = None):
    """`activation(x * scale + offset)` with `scale` and `offset` `[C]`."""
    if not pays(x) or activation != "swish":
        return activate(x * scale + offset, activation)

    @tf.custom_gradient
    def run(x, scale, offset):
        def gradient(dy):
            return cluster(_affine_gradient, x.shape, x.dtype)(x, scale, offset, dy)

        return cluster(_affine, x.shape, x.dtype)(x, scale, offset), gradient

    return run(x, scale, offset)


def gated_sum(skip: tf.Tensor, branch: tf.Tensor, gate: tf.Tensor) -> tf.Tensor:
    """`skip + branch * gate`, with `gate` a number or `[B, 1, 1, C]`."""
    if not pays(branch) or not isinstance(gate, tf.Tensor):
        return skip + branch * gate

    @tf.custom_gradient
    def run(skip, branch, gate):
        def gradient(dy):
            dbranch, dgate = cluster(_gate_gradient, branch.shape, branch.dtype)(branch, gate, dy)
            return dy, dbranch, dgate

        return cluster(_gated_sum, branch.shape, branch.dtype)(skip, branch, gate), gradient

    return run(skip, branch, gate)


def formula(function: Callable, *tensors: tf.Tensor) -> tf.Tensor:
    """`function(*tensors)`, elementwise arithmetic, of which the backward pass keeps the tensors
    alone and computes the rest again.

    Args:
        function: function of a module (programs are kept by it) of tensors to one tensor.
        *tensors: floating; shapes that broadcast.
    """
    if not any(map(pays, tensors)):
        return function(*tensors)
    key = [(x.shape, x.dtype) for x in tensors]

    @tf.custom_gradient
    def run(*tensors):
        def gradient(dy):
            return cluster(_gradient_of(function), *key)(dy, *tensors)

        return cluster(function, *key)(*tensors), gradient

    return run(*tensors)


@functools.cache
def _gradient_of(function):
    def gradient(dy, *tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            y = function(*tensors)
        return tape.gradient(y, tensors, dy)

    return gradient


def _wide(x):
    return tf.cast(x, tf.float32) if x.dtype.size < 4 else x


def _swish(x, gain):
    wide = _wide(x)
    return tf.cast(tf.cast(gain, wide.dtype) * wide * tf.sigmoid(wide), x.dtype)


def _swish_gradient(x, dy, gain):
    wide = _wide(x)
    gate = tf.sigmoid(wide)
    slope = tf.cast(gain, wide.dtype) * gate * (1.0 + wide * (1.0 - gate))
    return tf.cast(_wide(dy) * slope, x.dtype)


def _affine(x, scale, offset):
    return tf.nn.silu(x * scale + offset)


def _affine_gradient(x, scale, offset, dy):
    inner = _swish_gradient(x * scale + offset, dy, 1.0)
    axes = list(range(x.shape.rank - 1))
    return inner * scale, tf.reduce_sum(inner * x, axes), tf.reduce_sum(inner, axes)


def _gated_sum(skip, branch, gate):
    return skip + branch * gate


def _gate_gradient(branch, gate, dy):
    return dy * gate, tf.reduce_sum(dy * branch, [1, 2], keepdims=True)
