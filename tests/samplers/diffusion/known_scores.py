"""Latents whose noise predictions are known exactly."""

import functools

import numpy as np
import tensorflow as tf
from scipy.stats import norm

from tfgen import samplers
from tfgen.ops.diffusion import VPSDE

VP = VPSDE()


class Mixture:
    """0.3 N(-1.5, 0.3^2) + 0.7 N(1, 0.5^2) in every coordinate."""

    WEIGHTS, MEANS, STDS = np.array([0.3, 0.7]), np.array([-1.5, 1.0]), np.array([0.3, 0.5])
    MEAN, VARIANCE, BELOW = 0.25, 1.5145, 0.30082  # P(z < -0.5)

    def __init__(self, sde=VP):
        self.sde = sde

    def __call__(self, z, t):
        column = lambda x: tf.reshape(x, [-1] + [1] * z.shape.rank)  # noqa: E731
        mean, variance = column(self.sde.mean(t)), column(self.sde.variance(t))
        away = tf.expand_dims(z, -1) - mean * self.MEANS
        spread = (mean * self.STDS) ** 2 + variance
        share = tf.nn.softmax(np.log(self.WEIGHTS) - 0.5 * (away**2 / spread + tf.math.log(spread)))
        return tf.sqrt(variance)[..., 0] * tf.reduce_sum(share * away / spread, axis=-1)

    def density(self, z, t):
        """Of every coordinate of `z`, as an array."""
        t = tf.constant(t, tf.float64)
        mean, variance = self.sde.mean(t).numpy(), self.sde.variance(t).numpy()
        parts = norm(mean * self.MEANS, np.sqrt((mean * self.STDS) ** 2 + variance))
        return parts.pdf(np.asarray(z)[..., None]) @ self.WEIGHTS

    @classmethod
    def check_moments(cls, z, tolerances):
        found = np.mean(z), np.var(z), np.mean(np.less(z, -0.5))
        for value, expected, tolerance in zip(
            found, (cls.MEAN, cls.VARIANCE, cls.BELOW), tolerances, strict=True
        ):
            assert abs(value - expected) < tolerance, (value, expected)


class Normal:
    """N(mu, s^2) in every coordinate."""

    def __init__(self, mu=0.0, s=1.0, sde=VP):
        self.mu, self.s, self.sde = mu, s, sde

    def __call__(self, z, t):
        column = lambda x: tf.reshape(x, [-1] + [1] * (z.shape.rank - 1))  # noqa: E731
        away = z - column(self.sde.mean(t)) * self.mu
        return column(self.sde.std(t) / self.variance(t)) * away

    def variance(self, t):
        return (self.sde.mean(t) * self.s) ** 2 + self.sde.variance(t)


def quantiles(count, dtype=np.float64):
    """States `[count, 1]` spread as a standard Normal is."""
    return tf.constant(norm.ppf((np.arange(count) + 0.5) / count)[:, None], dtype)


def compiled(solver, predict, sde=VP, way="solve"):
    """The solver as one program."""
    return samplers.compiled(functools.partial(getattr(solver, way), sde), predict)
