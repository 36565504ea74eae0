"""Normals with soft clamps, and posteriors given relative to their prior (NVAE, section 3.2)."""

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.internal import parameter_properties, samplers, tensor_util
from tensorflow_probability.python.internal import prefer_static as ps

from tfgen.ops import gaussian
from tfgen.ops.precision import at_least_float32


class ClampedNormal(tfd.Normal):
    """Elementwise Normal whose raw parameters are clamped softly.

        loc = 5 tanh(loc_raw / 5)
        scale = temperature * (exp(5 tanh(log_scale_raw / 5)) + 0.01)

    The event shape is `[]` and the batch shape the broadcast of the arguments; half-precision
    arguments are lifted to float32. Raw zeros give N(0, 1.01^2), NVAE's "standard" prior.

    Args:
        loc_raw: unconstrained location, tensor or variable.
        log_scale_raw: unconstrained logarithm of the scale, tensor or variable.
        temperature: float that multiplies the scale, its floor included. At 0 every sample is the
            mean (and there is no density). A scalar, or a tensor that broadcasts with the others.
            Defaults to `1.0`.
        validate_args: whether to check that the scale is positive. Defaults to `False`.
        allow_nan_stats: boolean, as in `tfd.Normal`. Defaults to `True`.
        name: string, prefix of the operations.
    """

    def __init__(
        self,
        loc_raw,
        log_scale_raw,
        temperature=1.0,
        validate_args=False,
        allow_nan_stats=True,
        name="ClampedNormal",
    ):
        parameters = dict(locals())
        with tf.name_scope(name) as name:
            self._loc_raw = _parameter(loc_raw)
            self._log_scale_raw = _parameter(log_scale_raw)
            self._is_tempered = not (isinstance(temperature, int | float) and temperature == 1)
            self._temperature = tensor_util.convert_nonref_to_tensor(
                temperature, dtype_hint=tf.float32
            )
            loc = _transformed(self._loc_raw, gaussian.soft_clamp)
            self._log_scale = _transformed(self._log_scale_raw, gaussian.soft_clamp)
            scale = _transformed(self._log_scale, self._tempered_scale, self._temperature)
            super().__init__(
                loc, scale, validate_args=validate_args, allow_nan_stats=allow_nan_stats, name=name
            )
            self._parameters, self._parameters_sanitized = parameters, False

    def _tempered_scale(self, log_scale: tf.Tensor) -> tf.Tensor:
        scale = gaussian.scale_from_clamped(log_scale)
        if not self._is_tempered:
            return scale
        return scale * tf.cast(self._temperature, scale.dtype)

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        del dtype, num_classes
        return dict(
            loc_raw=parameter_properties.ParameterProperties(),
            log_scale_raw=parameter_properties.ParameterProperties(),
            temperature=parameter_properties.ParameterProperties(),
        )

    @property
    def loc_raw(self):
        """Location before the clamp."""
        return self._loc_raw

    @property
    def log_scale_raw(self):
        """Logarithm of the scale before the clamp."""
        return self._log_scale_raw

    @property
    def temperature(self):
        """Factor on the standard deviation."""
        return self._temperature

    def sample_from_noise(self, noise: tf.Tensor) -> tf.Tensor:
        """`loc + scale * noise` for standard normal `noise`; differentiable in everything."""
        loc = tf.convert_to_tensor(self.loc)
        return loc + self.scale * tf.cast(noise, loc.dtype)

    def _sample_n(self, n, seed=None):
        shape = ps.concat([[n], self.batch_shape_tensor()], axis=0)
        return self.sample_from_noise(samplers.normal(shape, dtype=self.dtype, seed=seed))

    def _log_prob(self, x):
        return gaussian.log_prob(x, self.loc, tf.convert_to_tensor(self.scale))

    @classmethod
    def _maximum_likelihood_parameters(cls, value):
        raise NotImplementedError(
            "fit tfd.Normal instead: a clamped location cannot reach any mean"
        )


class ResidualNormal(ClampedNormal):
    """A posterior described by its offsets from a prior (NVAE, equation 2).

    It is the clamped Normal with raw parameters `prior.loc_raw + delta_loc` and
    `prior.log_scale_raw + delta_log_scale`: when the prior moves the posterior moves with it, and
    zero offsets are the prior itself. The prior's temperature does not reach the posterior.
    `tfd.kl_divergence(posterior, posterior.prior)` uses the offsets and so stays accurate, and
    exactly zero at zero offsets, where subtracting parameters would not.

    Args:
        prior: the `ClampedNormal` it is relative to.
        delta_loc: tensor, offset of the raw location.
        delta_log_scale: tensor, offset of the raw log-scale.
        validate_args: whether to check that the scale is positive. Defaults to `False`.
        allow_nan_stats: boolean, as in `tfd.Normal`. Defaults to `True`.
        name: string, prefix of the operations.
    """

    def __init__(
        self,
        prior,
        delta_loc,
        delta_log_scale,
        validate_args=False,
        allow_nan_stats=True,
        name="ResidualNormal",
    ):
        parameters = dict(locals())
        with tf.name_scope(name) as name:
            self._prior = prior
            self._delta_loc = _parameter(delta_loc)
            self._delta_log_scale = _parameter(delta_log_scale)
            super().__init__(
                prior.loc_raw + self._delta_loc,
                prior.log_scale_raw + self._delta_log_scale,
                validate_args=validate_args,
                allow_nan_stats=allow_nan_stats,
                name=name,
            )
            self._parameters, self._parameters_sanitized = parameters, False

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        del dtype, num_classes
        return dict(
            prior=parameter_properties.BatchedComponentProperties(),
            delta_loc=parameter_properties.ParameterProperties(),
            delta_log_scale=parameter_properties.ParameterProperties(),
        )

    @property
    def prior(self) -> ClampedNormal:
        """The distribution the offsets are relative to."""
        return self._prior

    @property
    def delta_loc(self):
        """Offset of the raw location."""
        return self._delta_loc

    @property
    def delta_log_scale(self):
        """Offset of the raw log-scale."""
        return self._delta_log_scale


@tfd.RegisterKL(ClampedNormal, ClampedNormal)
def _kl_clamped_clamped(q: ClampedNormal, p: ClampedNormal, name: str | None = None) -> tf.Tensor:
    with tf.name_scope(name or "kl_clamped_clamped"):
        q_scale, p_scale = tf.convert_to_tensor(q.scale), tf.convert_to_tensor(p.scale)
        return gaussian.normal_kl(
            tf.convert_to_tensor(q.loc), q_scale, tf.convert_to_tensor(p.loc), p_scale
        )


@tfd.RegisterKL(ResidualNormal, ClampedNormal)
def _kl_residual_clamped(q: ResidualNormal, p: ClampedNormal, name: str | None = None) -> tf.Tensor:
    own = q.prior
    same = p is own or (p.loc_raw is own.loc_raw and p.log_scale_raw is own.log_scale_raw)
    if not same or p._is_tempered:
        return _kl_clamped_clamped(q, p, name)
    with tf.name_scope(name or "kl_residual_prior"):
        both = (q.loc, q._log_scale, own.loc, own._log_scale)
        offsets = (q.delta_loc, q.delta_log_scale)
        return gaussian.residual_normal_kl(*map(tf.convert_to_tensor, (*both, *offsets)))


def _parameter(value):
    """Variables stay what they are, so that training can reach them; the rest becomes a tensor."""
    if tensor_util.is_ref(value):
        return value
    return at_least_float32(tf.convert_to_tensor(value, dtype_hint=tf.float32))


def _transformed(raw, function, *others):
    """`function(raw)`, now for tensors and at every use when a variable is involved."""
    if any(tensor_util.is_ref(value) for value in (raw, *others)):
        return tfp.util.DeferredTensor(raw, function)
    return function(raw)
