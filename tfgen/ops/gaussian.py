"""Normal densities with NVAE's soft clamps, and their divergence (NVAE, section 3.2).

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

from tfgen.ops.pointwise import formula

CLAMP_BOUND = 5.0
SCALE_FLOOR = 0.01
_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


def soft_clamp(a: tf.Tensor, bound: float = CLAMP_BOUND) -> tf.Tensor:
    """Squeezes `a` into (-bound, bound), close to the identity around zero."""
    return bound * tf.math.tanh(a * (1.0 / bound))


def scale_from_clamped(log_scale: tf.Tensor) -> tf.Tensor:
    """Standard deviation from a log-scale that is clamped already."""
    return tf.math.exp(log_scale) + SCALE_FLOOR


def scale_from_raw(log_scale_raw: tf.Tensor) -> tf.Tensor:
    """Standard deviation from a raw log-scale: between 0.01674 and 148.42."""
    return scale_from_clamped(soft_clamp(log_scale_raw))


def log_prob(x: tf.Tensor, mean: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Log-density of N(mean, scale^2) at `x`, elementwise, in nats."""
    standardized = (x - mean) / scale
    return -0.5 * tf.math.square(standardized) - tf.math.log(scale) - _HALF_LOG_TWO_PI


def normal_kl(
    mean_q: tf.Tensor, scale_q: tf.Tensor, mean_p: tf.Tensor, scale_p: tf.Tensor
) -> tf.Tensor:
    """KL(N(mean_q, scale_q^2) || N(mean_p, scale_p^2)), elementwise, in nats; scales positive."""
    return formula(_normal_kl, mean_q, scale_q, mean_p, scale_p)


def residual_normal_kl(
    mean_q: tf.Tensor,
    log_scale_q: tf.Tensor,
    mean_p: tf.Tensor,
    log_scale_p: tf.Tensor,
    delta_loc: tf.Tensor,
    delta_log_scale: tf.Tensor,
) -> tf.Tensor:
    """KL of a posterior given by its offsets from the prior, elementwise, in nats (equation 2).

    Takes the clamped means and log-scales of both sides and the raw offsets between them. The
    differences are formed from the offsets and not by subtracting nearly equal numbers, so that
    groups which carry little information keep the digits of their KL and of its gradient, and zero
    offsets give exactly zero.
    """
    both = mean_q, log_scale_q, mean_p, log_scale_p
    return formula(_residual_normal_kl, *both, delta_loc, delta_log_scale)


def _normal_kl(mean_q, scale_q, mean_p, scale_p):
    standardized = (mean_q - mean_p) / scale_p
    ratio = scale_q / scale_p
    return 0.5 * (tf.math.square(standardized) + (ratio - 1.0) * (ratio + 1.0)) - tf.math.log(ratio)


def _residual_normal_kl(mean_q, log_scale_q, mean_p, log_scale_p, delta_loc, delta_log_scale):
    exp_p = tf.math.exp(log_scale_p)
    scale_p = exp_p + SCALE_FLOOR
    # With d = scale_q / scale_p - 1: the floor drops out of the difference of the scales.
    log_scale_difference = _clamp_difference(log_scale_q, log_scale_p, delta_log_scale)
    d = exp_p * tf.math.expm1(log_scale_difference) / scale_p
    standardized = _clamp_difference(mean_q, mean_p, delta_loc) / scale_p
    # 1/2 [standardized^2 + (1 + d)^2 - 1] - log(1 + d)
    return 0.5 * (tf.math.square(standardized) + tf.math.square(d)) + (d - tf.math.log1p(d))


def _clamp_difference(clamped_q: tf.Tensor, clamped_p: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
    """soft_clamp(a + delta) - soft_clamp(a) from both clamped values, without cancellation.

    The addition theorem: tanh u - tanh v = tanh(u - v) (1 - tanh u tanh v).
    """
    product = clamped_q * clamped_p * (1.0 / CLAMP_BOUND**2)
    return soft_clamp(delta) * (1.0 - product)
