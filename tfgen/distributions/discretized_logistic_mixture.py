"""A decoder for images of b bits: mixtures of discretised logistics (NVAE, appendix A)."""

import tensorflow as tf
from tensorflow_probability.python.distributions import distribution
from tensorflow_probability.python.internal import (
    parameter_properties,
    reparameterization,
    samplers,
)
from tensorflow_probability.python.internal import prefer_static as ps

from tfgen.errors import ConfigError
from tfgen.ops import logistic_mixture
from tfgen.ops.precision import at_least_float32


class DiscretizedLogisticMixture(
    distribution.DiscreteDistributionMixin, distribution.AutoCompositeTensorDistribution
):
    """Images on the grid {0, ..., 2^b - 1} / (2^b - 1), every pixel a mixture of logistics.

    The channels of a pixel share the component, and later channels depend on earlier ones through
    the component's mean; pixels are independent given the parameters. Event shape `[H, W, C]`,
    batch shape that of the leading axes of `params`. The layout of the last axis of `params` is
    that of `tfgen.ops.logistic_mixture`; the number of components M follows from it.

    `sample` draws from the discrete law that `log_prob` scores. `sample_from_noise` is the papers'
    image: a function of uniform noise, with a temperature, not rounded to the grid. `mean` is
    their mean image (averaged means and coefficients, clipped in the order of the channels), which
    differs from the expectation where clipping or the coupling matters.

    Args:
        params: tensor `[..., H, W, M (1 + 2 C + C (C - 1) / 2)]`: 10 M numbers for RGB, 3 M for
            grey.
        num_channels: integer C, colours of a pixel. Defaults to `3`.
        num_bits: integer b, bits per channel. Defaults to `8`.
        edge: `"exact"`: the masses sum to one. `"nvae2020"`: as the authors' program, whose top
            edge swallows 8-bit level 254 as well; only for comparing with its numbers. Defaults to
            `"exact"`.
        validate_args: whether to check that images lie on the grid. Defaults to `False`.
        allow_nan_stats: boolean, as in `tfd.Distribution`. Defaults to `True`.
        name: string, prefix of the operations.

    Raises:
        ConfigError: if the last axis does not hold whole components, or `edge` has no meaning.
    """

    def __init__(
        self,
        params,
        num_channels=3,
        num_bits=8,
        edge="exact",
        validate_args=False,
        allow_nan_stats=True,
        name="DiscretizedLogisticMixture",
    ):
        parameters = dict(locals())
        with tf.name_scope(name) as name:
            self._params = at_least_float32(params)
            self._num_channels = num_channels
            self._num_bits = num_bits
            self._edge = edge
            self._check()
            super().__init__(
                dtype=self._params.dtype,
                reparameterization_type=reparameterization.NOT_REPARAMETERIZED,
                validate_args=validate_args,
                allow_nan_stats=allow_nan_stats,
                parameters=parameters,
                name=name,
            )

    def _check(self) -> None:
        if self._edge not in logistic_mixture.EDGES:
            raise ConfigError(
                f"edge={self._edge!r} is unknown; use one of {', '.join(logistic_mixture.EDGES)}."
            )
        if self._num_channels < 1 or not 1 <= self._num_bits <= 16:
            raise ConfigError(
                f"got num_channels={self._num_channels} and num_bits={self._num_bits}; expected at "
                "least one channel and 1 to 16 bits."
            )
        slots = logistic_mixture.num_slots(self._num_channels)
        width = self._params.shape[-1]
        if width is None or width < slots or width % slots:
            raise ConfigError(
                f"params has {width} numbers per pixel; {self._num_channels} channels need a known "
                f"multiple of {slots} (one group for every mixture component)."
            )

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        del dtype, num_classes
        return dict(params=parameter_properties.ParameterProperties(event_ndims=3))

    @property
    def params(self) -> tf.Tensor:
        """The head's output, as given."""
        return self._params

    @property
    def num_channels(self) -> int:
        """Channels of the image."""
        return self._num_channels

    @property
    def num_bits(self) -> int:
        """Bits per channel."""
        return self._num_bits

    @property
    def edge(self) -> str:
        """Rule for the outermost bins."""
        return self._edge

    @property
    def num_components(self) -> int:
        """Components of the mixture."""
        return self._params.shape[-1] // logistic_mixture.num_slots(self._num_channels)

    def _event_shape(self):
        return self._params.shape[-3:-1].concatenate([self._num_channels])

    def _event_shape_tensor(self):
        return tf.concat([tf.shape(self._params)[-3:-1], [self._num_channels]], axis=0)

    def _log_prob(self, x):
        if not x.dtype.is_floating:
            raise ConfigError(f"images are {x.dtype.name}; expected floats in [0, 1].")
        pixels = logistic_mixture.log_prob(
            self._params, tf.cast(x, self.dtype), self._num_bits, self._edge
        )
        return tf.reduce_sum(pixels, axis=[-2, -1])

    def _mean(self):
        return logistic_mixture.mean(self._params, self._num_channels)

    def _sample_n(self, n, seed=None):
        component_seed, logistic_seed = samplers.split_seed(seed)
        pixels = ps.concat([[n], ps.shape(self._params)[:-1]], axis=0)

        def uniform(size, seed):
            return samplers.uniform(
                ps.concat([pixels, [size]], axis=0), dtype=self.dtype, seed=seed
            )

        return logistic_mixture.sample_from_noise(
            self._params,
            component_uniform=uniform(self.num_components, component_seed),
            logistic_uniform=uniform(self._num_channels, logistic_seed),
            num_bits=self._num_bits,
        )

    def sample_from_noise(
        self,
        component_uniform: tf.Tensor,
        logistic_uniform: tf.Tensor,
        temperature: float | tf.Tensor = 1.0,
    ) -> tf.Tensor:
        """Images in [0, 1] from uniform noise `[..., H, W, M]` and `[..., H, W, C]`, unrounded.

        The temperature scales the noise of component and value alike; 0 gives the mean of the
        likeliest component.
        """
        return logistic_mixture.sample_from_noise(
            self._params, component_uniform, logistic_uniform, temperature
        )

    def _default_event_space_bijector(self):
        return None

    def _sample_control_dependencies(self, x):
        if not self.validate_args:
            return []
        levels = tf.cast(x, tf.float64) * (2**self._num_bits - 1)
        message = f"Images must be multiples of 1/{2**self._num_bits - 1} in [0, 1]."
        return [
            tf.debugging.assert_near(
                levels,
                tf.clip_by_value(tf.math.round(levels), 0.0, 2.0**self._num_bits - 1),
                atol=tf.constant(0.01, tf.float64),
                rtol=tf.constant(0.0, tf.float64),
                message=message,
            )
        ]
