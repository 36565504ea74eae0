"""A Normal for every sub-pixel: the decoder of the energy-based follow-ups (NVAE, VAEBM)."""

import math

import tensorflow as tf
from tensorflow_probability.python.distributions import distribution
from tensorflow_probability.python.internal import (
    parameter_properties,
    reparameterization,
    samplers,
)
from tensorflow_probability.python.internal import prefer_static as ps

from tfgen.distributions.residual_normal import ClampedNormal
from tfgen.errors import ConfigError
from tfgen.ops.precision import at_least_float32


class PixelNormal(distribution.AutoCompositeTensorDistribution):
    """Independent clamped Normals on images mapped to [-1, 1].

    Events are images `[H, W, C]` in [0, 1], and `log_prob` is their density. The papers report that
    of `2x - 1`, which is smaller by log 2 for every sub-pixel: `signed_log_prob`. Being a density
    it cannot be compared with the bits per dimension of a discrete decoder. `sample` draws from the
    unbounded law; the image that is shown, `sample_from_noise`, is clipped to [0, 1], and so is the
    mean.

    Args:
        params: tensor `[..., H, W, 2 C]`: raw means, then raw log-scales, clamped as in
            `ClampedNormal`.
        temperature: float or scalar tensor that multiplies the standard deviation. Defaults to
            `1.0`.
        validate_args: boolean, as in `tfd.Distribution`. Defaults to `False`.
        allow_nan_stats: boolean, as in `tfd.Distribution`. Defaults to `True`.
        name: string, prefix of the operations.

    Raises:
        ConfigError: if the last axis does not hold a mean and a log-scale for every channel.
    """

    def __init__(
        self,
        params,
        temperature=1.0,
        validate_args=False,
        allow_nan_stats=True,
        name="PixelNormal",
    ):
        parameters = dict(locals())
        with tf.name_scope(name) as name:
            self._params = at_least_float32(params)
            self._temperature = temperature
            width = self._params.shape[-1]
            if width is None or width < 2 or width % 2:
                raise ConfigError(
                    f"params has {width} numbers per pixel; expected a mean and a log-scale for "
                    "every channel."
                )
            loc_raw, log_scale_raw = tf.split(self._params, 2, axis=-1)
            self._normal = ClampedNormal(loc_raw, log_scale_raw, temperature)
            super().__init__(
                dtype=self._params.dtype,
                reparameterization_type=reparameterization.FULLY_REPARAMETERIZED,
                validate_args=validate_args,
                allow_nan_stats=allow_nan_stats,
                parameters=parameters,
                name=name,
            )

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        del dtype, num_classes
        return dict(
            params=parameter_properties.ParameterProperties(event_ndims=3),
            temperature=parameter_properties.ParameterProperties(),
        )

    @property
    def params(self) -> tf.Tensor:
        """The head's output, as given."""
        return self._params

    @property
    def temperature(self):
        """Factor on the standard deviation."""
        return self._temperature

    @property
    def loc(self) -> tf.Tensor:
        """Means on [-1, 1], `[..., H, W, C]`, soft-clamped but not clipped."""
        return self._normal.loc

    @property
    def scale(self) -> tf.Tensor:
        """Standard deviations on [-1, 1], `[..., H, W, C]`."""
        return self._normal.scale

    def _event_shape(self):
        return self.loc.shape[-3:]

    def _event_shape_tensor(self):
        return tf.shape(self.loc)[-3:]

    def signed_log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """The density of `2x - 1` at images `x` in [0, 1], `[...]` nats, as the papers count."""
        terms = self._normal.log_prob(2.0 * tf.cast(x, self.dtype) - 1.0)
        return tf.reduce_sum(terms, axis=[-3, -2, -1])

    def _log_prob(self, x):
        return self.signed_log_prob(x) + self._log_volume()

    def _log_volume(self):
        """Of the interval [-1, 1] over that of [0, 1], for all sub-pixels."""
        return tf.constant(math.log(2.0) * self.loc.shape[-3:].num_elements(), self.dtype)

    def _mean(self):
        return tf.clip_by_value(0.5 * self.loc + 0.5, 0.0, 1.0)

    _mode = _mean

    def _stddev(self):
        return 0.5 * self.scale

    def _entropy(self):
        terms = tf.math.log(self.scale) + 0.5 * math.log(2.0 * math.pi * math.e)
        return tf.reduce_sum(terms, axis=[-3, -2, -1]) - self._log_volume()

    def _sample_n(self, n, seed=None):
        shape = ps.concat([[n], ps.shape(self.loc)], axis=0)
        noise = samplers.normal(shape, dtype=self.dtype, seed=seed)
        return 0.5 * self._normal.sample_from_noise(noise) + 0.5

    def _quantile(self, p):
        # Of every sub-pixel by itself, of the clipped image.
        return self.sample_from_noise(tf.math.ndtri(tf.cast(p, self.dtype)))

    def sample_from_noise(self, noise: tf.Tensor) -> tf.Tensor:
        """Images from standard normal noise `[..., H, W, C]`, clipped to [0, 1]."""
        return tf.clip_by_value(0.5 * self._normal.sample_from_noise(noise) + 0.5, 0.0, 1.0)

    def _default_event_space_bijector(self):
        return None
