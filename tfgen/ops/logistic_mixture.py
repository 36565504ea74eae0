"""The discretised mixture of logistics over the channels of a pixel (NVAE, appendix A; PixelCNN++).

A head emits, for every pixel and each of M components, a mixture logit and for every channel c a
mean, a log-scale and coefficients that shift the mean by the channels before it:

    m_0 = mu_0      m_1 = mu_1 + k_0 x_0      m_2 = mu_2 + k_1 x_0 + k_2 x_1      (k = tanh(raw))

A value x = 2 k / (2^b - 1) - 1 on the grid gets the logistic mass of its bin [x - h, x + h] with
the half width h = 1 / (2^b - 1); the lowest and highest bin reach to infinity. With
a = (x + h - m) / s and b = (x - h - m) / s that mass is written

    log P = log(1 - e^(b - a)) - softplus(-a) - softplus(b)

which is exact in both tails and needs no threshold: every term is accurate in float32, and an open
edge is a = +inf or b = -inf. `edge="nvae2020"` computes what the authors' program does instead: it
takes 8-bit level 254 for the top edge too (so its 256 masses sum to more than one) and replaces
masses below 1e-5 by density times bin width. Use it to compare with their numbers, not to report.

Layout of the last axis, M entries each: logits, then per channel [means, log-scales, coefficients],
with the C (C - 1) / 2 coefficient slots dealt evenly to the channels in the order (1|0), (2|0),
(2|1), (3|0), ...: for RGB that is the layout of the authors' checkpoints (10 M numbers), and a
single channel has none (3 M numbers).
"""

import math
from typing import NamedTuple

import tensorflow as tf

MIN_LOG_SCALE = -7.0
EDGES = ("exact", "nvae2020")
# Stands for an infinite bin edge; finite, so that its products with zero gradients stay zero.
_FAR = 1e34
_TINY = 1e-37
# Uniform noise stays this far from 0 and 1, as in the authors' sampler.
_UNIFORM_MARGIN = 1e-5


class Components(NamedTuple):
    """A head's output, split; every tensor is `[..., H, W, M]`."""

    logits: tf.Tensor
    means: list[tf.Tensor]  # one per channel
    log_scales: list[tf.Tensor]  # one per channel, clamped below at -7
    coefficients: list[tf.Tensor]  # tanh applied, in the order (1|0), (2|0), (2|1), ...


def num_slots(num_channels: int) -> int:
    """Numbers per component and pixel: 10 for RGB, 3 for one channel."""
    return 1 + 2 * num_channels + num_channels * (num_channels - 1) // 2


def split(params: tf.Tensor, num_channels: int) -> Components:
    """Takes a head `[..., H, W, M * num_slots(num_channels)]` apart."""
    # One split, whose gradient is one concatenation; slices would each be padded back.
    logits, *slots = tf.split(params, num_slots(num_channels), axis=-1)
    num_coefficients = num_channels * (num_channels - 1) // 2
    means, log_scales, coefficients = [], [], []
    for channel in range(num_channels):
        means.append(slots.pop(0))
        log_scales.append(tf.maximum(slots.pop(0), MIN_LOG_SCALE))
        dealt = (channel + 1) * num_coefficients // num_channels
        while len(coefficients) < dealt:
            coefficients.append(tf.math.tanh(slots.pop(0)))
    return Components(logits, means, log_scales, coefficients)


def conditional_mean(
    means: list[tf.Tensor], coefficients: list[tf.Tensor], previous: list[tf.Tensor]
) -> tf.Tensor:
    """Mean of the next channel given the values in [-1, 1] of those before it."""
    channel = len(previous)
    first = channel * (channel - 1) // 2
    mean = means[channel]
    for coefficient, value in zip(coefficients[first : first + channel], previous, strict=True):
        mean = mean + coefficient * value
    return mean


def log_prob(
    params: tf.Tensor, images: tf.Tensor, num_bits: int = 8, edge: str = "exact"
) -> tf.Tensor:
    """Log-probability of every pixel in nats, `[..., H, W]`.

    Args:
        params: `[..., H, W, M * num_slots(C)]` float32 or float64.
        images: `[..., H, W, C]` in [0, 1], on the grid of `num_bits`.
        num_bits: integer, bits per channel.
        edge: `"exact"` (sums to one) or `"nvae2020"` (as the authors' program).
    """
    channels = tf.split(2.0 * images - 1.0, images.shape[-1], axis=-1)
    logits, means, log_scales, coefficients = split(params, len(channels))
    log_bin = {"exact": _exact_log_bin, "nvae2020": _nvae2020_log_bin}[edge]
    joint = logits
    for c, x in enumerate(channels):
        mean = conditional_mean(means, coefficients, channels[:c])
        joint = joint + log_bin(x, mean, log_scales[c], num_bits)
    return tf.reduce_logsumexp(joint, axis=-1) - tf.reduce_logsumexp(logits, axis=-1)


def _exact_log_bin(x, mean, log_scale, num_bits: int) -> tf.Tensor:
    half = 1.0 / (2**num_bits - 1)
    upper = tf.where(x > 1.0 - half, tf.cast(_FAR, x.dtype), x + half)
    lower = tf.where(x < -1.0 + half, tf.cast(-_FAR, x.dtype), x - half)
    inverse_scale = tf.math.exp(-log_scale)
    width = inverse_scale * (upper - lower)
    # The floor only matters for scales beyond e^75, where the bin holds nothing.
    log_width = tf.math.log(tf.maximum(-tf.math.expm1(-width), _TINY))
    above = tf.math.softplus(inverse_scale * (mean - upper))
    below = tf.math.softplus(inverse_scale * (lower - mean))
    return log_width - above - below


def _nvae2020_log_bin(x, mean, log_scale, num_bits: int) -> tf.Tensor:
    half = 1.0 / (2**num_bits - 1)
    inverse_scale = tf.math.exp(-log_scale)
    centered = x - mean
    plus = inverse_scale * (centered + half)
    minus = inverse_scale * (centered - half)
    middle = inverse_scale * centered
    mass = tf.math.sigmoid(plus) - tf.math.sigmoid(minus)
    log_density = middle - log_scale - 2.0 * tf.math.softplus(middle)
    interior = tf.where(
        mass > 1e-5,
        tf.math.log(tf.maximum(mass, 1e-10)),  # clamped: the branch not taken must stay finite
        log_density - math.log((2**num_bits - 1) / 2.0),
    )
    lowest = plus - tf.math.softplus(plus)
    highest = -tf.math.softplus(minus)
    return tf.where(x < -0.999, lowest, tf.where(x > 0.99, highest, interior))


def mean(params: tf.Tensor, num_channels: int) -> tf.Tensor:
    """The mean image of the papers, `[..., H, W, C]` in [0, 1].

    Means and coefficients are averaged under the mixture weights, then the channels are computed in
    order, each clipped to the range of images before the next one depends on it.
    """
    parts = split(params, num_channels)
    weights = tf.nn.softmax(parts.logits, axis=-1)

    def average(component: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(weights * component, axis=-1, keepdims=True)

    means = [average(m) for m in parts.means]
    coefficients = [average(k) for k in parts.coefficients]
    channels: list[tf.Tensor] = []
    for _ in range(num_channels):
        value = conditional_mean(means, coefficients, channels)
        channels.append(tf.clip_by_value(value, -1.0, 1.0))
    return 0.5 * tf.concat(channels, axis=-1) + 0.5


def sample_from_noise(
    params: tf.Tensor,
    component_uniform: tf.Tensor,
    logistic_uniform: tf.Tensor,
    temperature: float | tf.Tensor = 1.0,
    num_bits: int | None = None,
) -> tf.Tensor:
    """Maps uniform noise to an image, `[..., H, W, C]` in [0, 1]; a pure function of its arguments.

    Args:
        params: `[..., H, W, M * num_slots(C)]`.
        component_uniform: `[..., H, W, M]` in [0, 1]; chooses the component (Gumbel-max).
        logistic_uniform: `[..., H, W, C]` in [0, 1]; the logistic by its inverse CDF.
        temperature: float or scalar tensor that scales the Gumbel and the logistic noise alike: at
            0 every pixel is the mean of its likeliest component. (The authors divide the scale by
            it: colder is noisier.)
        num_bits: integer; rounds every channel to the grid before the next depends on it, which
            makes the result an exact draw of the discrete law. `None` leaves it continuous, as in
            the paper.
    """
    num_channels = logistic_uniform.shape[-1]
    parts = split(params, num_channels)
    temperature = tf.cast(temperature, params.dtype)
    gumbel = -tf.math.log(-tf.math.log(_inside(component_uniform, params.dtype)))
    chosen = tf.math.argmax(parts.logits + temperature * gumbel, axis=-1, output_type=tf.int32)
    chosen = tf.one_hot(chosen, params.shape[-1] // num_slots(num_channels), dtype=params.dtype)

    def select(component: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(chosen * component, axis=-1, keepdims=True)

    means = [select(m) for m in parts.means]
    coefficients = [select(k) for k in parts.coefficients]
    uniform = _inside(logistic_uniform, params.dtype)
    standard = tf.split(tf.math.log(uniform) - tf.math.log1p(-uniform), num_channels, axis=-1)
    channels: list[tf.Tensor] = []
    for c in range(num_channels):
        scale = temperature * tf.math.exp(select(parts.log_scales[c]))
        value = conditional_mean(means, coefficients, channels) + scale * standard[c]
        channels.append(_on_grid(tf.clip_by_value(value, -1.0, 1.0), num_bits))
    return 0.5 * tf.concat(channels, axis=-1) + 0.5


def _inside(uniform: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    return tf.clip_by_value(tf.cast(uniform, dtype), _UNIFORM_MARGIN, 1.0 - _UNIFORM_MARGIN)


def _on_grid(x: tf.Tensor, num_bits: int | None) -> tf.Tensor:
    if num_bits is None:
        return x
    half_levels = (2**num_bits - 1) / 2.0
    return tf.math.round((x + 1.0) * half_levels) / half_levels - 1.0
