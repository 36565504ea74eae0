"""Normal densities with NVAE's soft clamps, and their divergence (Vahdat & Kautz, 2020, sec. 3).

A network emits a raw location and a raw log-scale. Both are clamped softly to (-5, 5), and the
scale keeps a floor, so that neither a density nor a KL term can run away:

    clamp(a) = 5 tanh(a / 5)
    loc = clamp(loc_raw)
    scale = exp(clamp(log_scale_raw)) + 0.01

With raw zeros this is N(0, 1.01^2), which is the "standard" prior of the topmost group.
All functions work elementwise and broadcast; nothing here is summed.
"""

import math

import tensorflow as tf

CLAMP_BOUND = 5.0
SCALE_FLOOR = 0.01
_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


def soft_clamp(a: tf.Tensor, bound: float = CLAMP_BOUND) -> tf.Tensor:
    """Squeezes `a` into (-bound, bound), close to the identity around zero."""
    return bound * tf.math.tanh(a * (1.0 / bound))


def scale_from_raw(log_scale_raw: tf.Tensor) -> tf.Tensor:
    """Standard deviation from a raw log-scale: between 0.01674 and 148.42."""
    return tf.math.exp(soft_clamp(log_scale_raw)) + SCALE_FLOOR


def log_prob(x: tf.Tensor, mean: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Log-density of N(mean, scale^2) at `x`, elementwise, in nats."""
    standardized = (x - mean) / scale
    return -0.5 * tf.math.square(standardized) - tf.math.log(scale) - _HALF_LOG_TWO_PI


def normal_kl(
    mean_q: tf.Tensor, scale_q: tf.Tensor, mean_p: tf.Tensor, scale_p: tf.Tensor
) -> tf.Tensor:
    """KL(N(mean_q, scale_q^2) || N(mean_p, scale_p^2)), elementwise, in nats; scales positive."""
    return _kl_from_differences(mean_q - mean_p, scale_q - scale_p, scale_q, scale_p)


def residual_normal_kl(
    loc_raw: tf.Tensor, log_scale_raw: tf.Tensor, delta_loc: tf.Tensor, delta_log_scale: tf.Tensor
) -> tf.Tensor:
    """KL of a posterior given by its offsets from the prior, elementwise, in nats (paper eq. 2).

    The posterior is the clamped Normal with raw parameters `loc_raw + delta_loc` and
    `log_scale_raw + delta_log_scale`; the prior has `loc_raw` and `log_scale_raw`. Both differences
    are formed from the offsets and not by subtracting nearly equal numbers, so that groups which
    carry little information keep the digits of their KL and of its gradient, and zero offsets give
    exactly zero.
    """
    clamped_p = soft_clamp(log_scale_raw)
    clamped_q = soft_clamp(log_scale_raw + delta_log_scale)
    exp_p = tf.math.exp(clamped_p)
    scale_p = exp_p + SCALE_FLOOR
    scale_q = tf.math.exp(clamped_q) + SCALE_FLOOR
    # scale_q - scale_p = exp(clamped_p) expm1(clamped_q - clamped_p): the floor drops out.
    scale_difference = exp_p * tf.math.expm1(
        _clamp_difference(clamped_q, clamped_p, delta_log_scale)
    )
    mean_difference = _clamp_difference(
        soft_clamp(loc_raw + delta_loc), soft_clamp(loc_raw), delta_loc
    )
    return _kl_from_differences(mean_difference, scale_difference, scale_q, scale_p)


def _clamp_difference(clamped_q: tf.Tensor, clamped_p: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
    """soft_clamp(a + delta) - soft_clamp(a) from both clamped values, without cancellation.

    The addition theorem: tanh u - tanh v = tanh(u - v) (1 - tanh u tanh v).
    """
    product = clamped_q * clamped_p * (1.0 / CLAMP_BOUND**2)
    return soft_clamp(delta) * (1.0 - product)


def _kl_from_differences(
    mean_difference: tf.Tensor, scale_difference: tf.Tensor, scale_q: tf.Tensor, scale_p: tf.Tensor
) -> tf.Tensor:
    """1/2 [(dm / scale_p)^2 + r^2] - 1/2 - log r, with r = scale_q / scale_p written as 1 + d."""
    d = scale_difference / scale_p
    # log1p keeps the digits near r = 1, the plain logarithm those of small r. The argument of the
    # branch not taken stays inside its domain, so that its gradient is finite as well.
    log_ratio = tf.where(
        d > -0.5, tf.math.log1p(tf.maximum(d, -0.5)), tf.math.log(scale_q / scale_p)
    )
    standardized = mean_difference / scale_p
    return 0.5 * (tf.math.square(standardized) + tf.math.square(d)) + (d - log_ratio)
