"""Binary images whose padded border is nobody's business (NVAE on MNIST and OMNIGLOT)."""

import tensorflow as tf
from tensorflow_probability.python.distributions import distribution
from tensorflow_probability.python.internal import (
    parameter_properties,
    reparameterization,
    samplers,
)
from tensorflow_probability.python.internal import prefer_static as ps

from tfgen.errors import ConfigError
from tfgen.ops.precision import at_least_float32


class CroppedBernoulli(
    distribution.DiscreteDistributionMixin, distribution.AutoCompositeTensorDistribution
):
    """Independent Bernoulli pixels in the centre of a padded grid of logits.

    A network that halves its input five times wants 32x32 pixels, MNIST has 28x28: the images are
    padded with zeros on the way in, and the border of the output is dropped here, so that it is
    neither scored nor sampled. Event shape `[H, W, C]`, batch shape that of the leading axes.
    `log_prob` also takes grey values in [0, 1] and is then the cross-entropy.

    Args:
        logits: tensor `[..., H + 2 padding, W + 2 padding, C]`, log-odds of a one.
        padding: integer, pixels to drop on each side, or a pair `(height, width)`. Defaults to `0`.
        validate_args: whether to check that images lie in [0, 1]. Defaults to `False`.
        allow_nan_stats: boolean, as in `tfd.Distribution`. Defaults to `True`.
        name: string, prefix of the operations.

    Raises:
        ConfigError: if nothing is left within the padding.
    """

    def __init__(
        self,
        logits,
        padding=0,
        validate_args=False,
        allow_nan_stats=True,
        name="CroppedBernoulli",
    ):
        parameters = dict(locals())
        with tf.name_scope(name) as name:
            self._padding = padding
            self._logits = at_least_float32(logits)
            self._check_padding()
            self._cropped = self._crop(self._logits)
            super().__init__(
                dtype=self._logits.dtype,
                reparameterization_type=reparameterization.NOT_REPARAMETERIZED,
                validate_args=validate_args,
                allow_nan_stats=allow_nan_stats,
                parameters=parameters,
                name=name,
            )

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        del dtype, num_classes
        return dict(logits=parameter_properties.ParameterProperties(event_ndims=3))

    @property
    def logits(self) -> tf.Tensor:
        """Log-odds on the padded grid, as given."""
        return self._logits

    @property
    def padding(self) -> int | tuple[int, int]:
        """Pixels dropped on each side."""
        return self._padding

    def _check_padding(self) -> None:
        if self._logits.shape.rank is not None and self._logits.shape.rank < 3:
            raise ConfigError(
                f"CroppedBernoulli got logits of shape {self._logits.shape}; expected "
                "[..., height, width, channels]."
            )
        for size, pad in zip(self._logits.shape[-3:-1], self._pads(), strict=True):
            if pad < 0 or (size is not None and size <= 2 * pad):
                raise ConfigError(
                    f"CroppedBernoulli got logits of shape {self._logits.shape} with padding "
                    f"{self._padding}: no pixel is left; use a smaller padding."
                )

    def _pads(self) -> tuple[int, int]:
        if isinstance(self._padding, int):
            return self._padding, self._padding
        return tuple(self._padding)

    def _crop(self, grid: tf.Tensor) -> tf.Tensor:
        rows, columns = self._pads()
        if not rows and not columns:
            return grid
        return grid[..., rows : -rows or None, columns : -columns or None, :]

    def _event_shape(self):
        return self._cropped.shape[-3:]

    def _event_shape_tensor(self):
        return tf.shape(self._cropped)[-3:]

    def _log_prob(self, x):
        # log p = x l - log(1 + e^l): two fused kernels forward, and two backward.
        logits = self._cropped
        return tf.reduce_sum(
            tf.cast(x, logits.dtype) * logits - tf.math.softplus(logits), axis=[-3, -2, -1]
        )

    def _mean(self):
        return tf.math.sigmoid(self._cropped)

    def _mode(self):
        return tf.cast(self._cropped > 0.0, self.dtype)

    def _variance(self):
        return tf.math.sigmoid(self._cropped) * tf.math.sigmoid(-self._cropped)

    def _entropy(self):
        # H = log(1 + e^l) - l sigmoid(l)
        logits = self._cropped
        terms = tf.math.softplus(logits) - logits * tf.math.sigmoid(logits)
        return tf.reduce_sum(terms, axis=[-3, -2, -1])

    def _sample_n(self, n, seed=None):
        shape = ps.concat([[n], ps.shape(self._cropped)], axis=0)
        return self.sample_from_noise(samplers.uniform(shape, dtype=self.dtype, seed=seed))

    def sample_from_noise(self, uniform: tf.Tensor) -> tf.Tensor:
        """Binary images from uniform noise `[..., H, W, C]`: one where `uniform < probability`."""
        uniform = tf.cast(uniform, self.dtype)
        return tf.cast(uniform < tf.math.sigmoid(self._cropped), self.dtype)

    def _default_event_space_bijector(self):
        return None

    def _sample_control_dependencies(self, x):
        if not self.validate_args:
            return []
        message = "Binary images must lie in [0, 1]."
        return [
            tf.debugging.assert_greater_equal(x, tf.cast(0, x.dtype), message=message),
            tf.debugging.assert_less_equal(x, tf.cast(1, x.dtype), message=message),
        ]
