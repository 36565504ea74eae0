"""Blocks of networks that see a diffusion's time: those of NCSN++ (Song et al., 2021).

arXiv:2011.13456, as LSGM (arXiv:2106.05931) uses them. Sums are divided by sqrt(2), so that depth
changes no variance; what ends a branch starts near zero.
"""

import math

import numpy as np
import tensorflow as tf

from tfgen.layers.bank import ParameterBank
from tfgen.layers.declarations import Conv, Dense, GroupNorm
from tfgen.layers.recompute import recomputed
from tfgen.ops.resampling import downsample, upsample

NEAR_ZERO = 1e-10  # variance scale of what ends a branch
_ATTENTION = 0.1  # of queries, keys and values
_HALF = math.sqrt(0.5)
_FOURIER_SCALE = 16.0  # standard deviation of random frequencies
_SMALLEST_TIME = 1e-6  # whose logarithm is taken


def scaled_conv(
    bank: ParameterBank, channels: int, filters: int, kernel_size: int = 3, scale: float = 1.0
) -> Conv:
    """Declares a convolution that starts as variance scaling says: fan average, uniform.

    Args:
        bank: the `ParameterBank` to declare in.
        channels: integer, channels of the input.
        filters: integer, channels of the output.
        kernel_size: odd integer, height and width of the kernel. Defaults to `3`.
        scale: float, the variance times the average of fan_in and fan_out. Defaults to `1.0`.
    """
    bound = _bound(kernel_size**2 * channels, kernel_size**2 * filters, scale)
    return bank.conv(channels, filters, kernel_size, weight_norm=False, bound=bound)


def scaled_dense(bank: ParameterBank, inputs: int, units: int, scale: float = 1.0) -> Dense:
    """Declares a dense layer that starts likewise.

    Args:
        bank: the `ParameterBank` to declare in.
        inputs: integer, numbers that go in.
        units: integer, numbers put out.
        scale: float, the variance times the average of `inputs` and `units`. Defaults to `1.0`.
    """
    return bank.dense(inputs, units, bound=_bound(inputs, units, scale))


def group_norm_of(bank: ParameterBank, channels: int) -> GroupNorm:
    """Declares the group norm of so many channels: four to a group, 32 groups at most.

    Where that does not divide the channels, the largest number of groups below that does.
    """
    groups = max(1, min(channels // 4, 32))
    return bank.group_norm(channels, next(g for g in range(groups, 0, -1) if channels % g == 0))


class TimeEmbedding:
    """Features of the time t in [0, 1], always computed in float32.

    Args:
        bank: the `ParameterBank` to declare in.
        dims: even integer, how many sines and cosines.
        units: integer, numbers put out.
        kind: "sinusoidal", geometric frequencies of 1000 t; "fourier", random frequencies of log t.
    """

    def __init__(self, bank: ParameterBank, dims: int, units: int, kind: str):
        self.half, self.kind = dims // 2, kind
        self.frequencies = np.random.default_rng(bank.seed).standard_normal(self.half)
        self.first = scaled_dense(bank, dims, units)
        self.second = scaled_dense(bank, units, units)

    def __call__(self, w, t) -> tf.Tensor:
        """`[B, units]` float32 of times `[B]`."""
        if self.kind == "fourier":
            rates = tf.constant(2.0 * math.pi * _FOURIER_SCALE * self.frequencies, tf.float32)
            angles = tf.expand_dims(tf.math.log(tf.maximum(t, _SMALLEST_TIME)), 1) * rates
        else:
            last = max(self.half - 1, 1)
            rates = tf.exp(-math.log(1e4) / last * tf.range(self.half, dtype=tf.float32))
            angles = tf.expand_dims(1000.0 * t, 1) * rates
        features = tf.concat([tf.sin(angles), tf.cos(angles)], axis=1)
        return w.dense(self.second, w.dense(self.first, features, tf.nn.silu))


class DiffusionBlock:
    """Residual block of BigGAN's kind, told the time, which may change the size of the grid.

    Args:
        bank: the `ParameterBank` to declare in.
        channels: integer, channels of the input.
        filters: integer, channels of the output.
        time_units: integer, numbers of the time's embedding.
        resample: "down", "up" or None.
        filtered: whether it resamples by the FIR filter.
        dropout: float, share of numbers dropped in training.
    """

    def __init__(self, bank, channels, filters, time_units, resample, filtered, dropout):
        self.resample, self.filtered, self.dropout = resample, filtered, dropout
        self.norms = [group_norm_of(bank, channels), None]
        self.first = scaled_conv(bank, channels, filters)
        self.time = scaled_dense(bank, time_units, filters)
        self.norms[1] = group_norm_of(bank, filters)
        self.second = scaled_conv(bank, filters, filters, scale=NEAR_ZERO)
        self.skip = None
        if channels != filters or resample:
            self.skip = scaled_conv(bank, channels, filters, 1)

    def __call__(self, w, x, embedding, seed=None) -> tf.Tensor:
        """`[B, H', W', filters]`.

        Args:
            w: a view of the weights, `LiveWeights` or `FoldedWeights`.
            x: `[B, H, W, channels]`.
            embedding: `[B, time_units]` float32, the activated embedding of the time.
            seed: int32 `[2]` of the dropout; None drops nothing.
        """

        def compute(w, inputs):
            return self._compute(w, *inputs, seed)

        if w.training and w.recompute:
            return recomputed(compute, w, [x, embedding], self)
        return compute(w, [x, embedding])

    def _compute(self, w, x, embedding, seed):
        h = self._resized(w.group_norm(self.norms[0], x, "swish"))
        h = w.group_norm(
            self.norms[1], w.conv(self.first, h), "swish", w.dense(self.time, embedding)
        )
        h = dropped(h, self.dropout, seed)
        x = self._resized(x)
        skip = x if self.skip is None else w.conv(self.skip, x)
        return (skip + w.conv(self.second, h)) * _HALF

    def _resized(self, x):
        if self.resample is None:
            return x
        return (downsample if self.resample == "down" else upsample)(x, self.filtered)


class SelfAttention:
    """One head over all pixels of a grid; the softmax is float32.

    Args:
        bank: the `ParameterBank` to declare in.
        channels: integer, channels of the grid.
    """

    def __init__(self, bank: ParameterBank, channels: int):
        self.norm = group_norm_of(bank, channels)
        self.inputs = [scaled_conv(bank, channels, channels, 1, _ATTENTION) for _ in range(3)]
        self.output = scaled_conv(bank, channels, channels, 1, NEAR_ZERO)

    def __call__(self, w, x, embedding=None, seed=None) -> tf.Tensor:
        """Tensor like `x` `[B, H, W, C]`; the time's embedding and the dropout do not matter."""
        del embedding, seed
        if w.training and w.recompute:
            return recomputed(self._compute, w, x, self)
        return self._compute(w, x)

    def _compute(self, w, x):
        height, width, channels = x.shape[1:]
        h = w.group_norm(self.norm, x)
        q, k, v = (
            tf.reshape(w.conv(conv, h), [-1, height * width, channels]) for conv in self.inputs
        )
        scores = tf.matmul(tf.cast(q, tf.float32), tf.cast(k, tf.float32), transpose_b=True)
        weights = tf.nn.softmax(scores * channels**-0.5)
        h = tf.reshape(tf.matmul(tf.cast(weights, v.dtype), v), [-1, height, width, channels])
        return (x + w.conv(self.output, h)) * _HALF


def dropped(x, rate: float, seed) -> tf.Tensor:
    """`x` with a share of its numbers set to zero and the others scaled up.

    Args:
        x: tensor of any shape.
        rate: float, the share.
        seed: int32 `[2]`; None drops nothing.
    """
    if seed is None or not rate:
        return x
    kept = tf.random.stateless_uniform(tf.shape(x), seed) >= rate
    return tf.where(kept, x * tf.constant(1.0 / (1.0 - rate), x.dtype), tf.zeros_like(x))


def _bound(fan_in, fan_out, scale):
    return math.sqrt(3.0 * scale / (0.5 * (fan_in + fan_out)))
