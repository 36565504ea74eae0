"""Diffusions with linear drift, in closed form (Song et al., 2021, arXiv:2011.13456).

    dz = f(t) z dt + g(t) dw,    0 <= t <= 1,
    z_t = m_t z_0 + sigma_t eps,    eps ~ N(0, I)

The geometric one is that of LSGM (Vahdat, Kreis & Kautz, 2021, arXiv:2106.05931, appendix B). With
B(t) = int_0^t beta, s0^2 the `initial_variance` and R = largest / smallest variance:

    VP         f = -beta/2   g^2 = beta                    sigma^2 = 1 - (1 - s0^2) exp(-B)
    sub-VP     f = -beta/2   g^2 = beta (1 - exp(-2 B))    sigma^2 = (1 - exp(-B))^2 + s0^2 exp(-B)
    VE         f = 0         g^2 = smallest ln(R) R^t      sigma^2 = smallest R^t
    geometric  f = -beta/2   g^2 = beta                    sigma^2 = smallest (R^t - 1) + s0^2

Everything is a function of t, elementwise and in the dtype of t. Differences of nearly equal
numbers are avoided (expm1, log1p), so float64 is exact to rounding at both ends. Training draws t
in float64 and rounds the coefficients, not the times.
"""

import dataclasses
import math

import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.ops.kinds import config_of, kind_from_config
from tfgen.ops.near_zero import expm1, log1p, softplus


@dataclasses.dataclass(frozen=True)
class SDE:
    """What all diffusions share; a subclass provides the six functions that raise here.

    A Normal z_0 of variance 1 - `initial_variance` is the case in which everything is known: it
    stays Normal, with variance `normal_variance(t)`.
    """

    initial_variance = 0.0  # sigma_0^2

    def log_mean(self, t) -> tf.Tensor:
        """log m_t."""
        raise NotImplementedError

    def variance(self, t) -> tf.Tensor:
        """sigma_t^2."""
        raise NotImplementedError

    def drift(self, t) -> tf.Tensor:
        """f(t), by which z is multiplied."""
        raise NotImplementedError

    def squared_diffusion(self, t) -> tf.Tensor:
        """g^2(t)."""
        raise NotImplementedError

    def time_of_variance(self, variance) -> tf.Tensor:
        """The t at which sigma_t^2 is `variance`."""
        raise NotImplementedError

    def time_of_log_snr(self, log_snr) -> tf.Tensor:
        """The t at which `log_snr(t)` is `log_snr`."""
        raise NotImplementedError

    @property
    def final_variance(self) -> float:
        """Variance of the Normal from which sampling starts."""
        return 1.0

    def mean(self, t) -> tf.Tensor:
        """m_t, the factor on z_0."""
        return tf.exp(self.log_mean(t))

    def std(self, t) -> tf.Tensor:
        """sigma_t."""
        return tf.sqrt(self.variance(t))

    def log_snr(self, t) -> tf.Tensor:
        """log(m_t^2 / sigma_t^2): falls with t."""
        return 2.0 * self.log_mean(t) - tf.math.log(self.variance(t))

    def normal_variance(self, t) -> tf.Tensor:
        """Variance at t of a coordinate whose z_0 is N(0, 1 - s0^2): 1 for the VP kinds."""
        signal = (1.0 - self.initial_variance) * tf.exp(2.0 * self.log_mean(t))
        return signal + self.variance(t)

    def log_noise_share(self, t) -> tf.Tensor:
        """log of the part of `normal_variance` that is noise, between -inf and 0.

        It depends on the log-SNR alone, which leaves it all its digits near t = 1.
        """
        return -softplus(self.log_snr(t) + math.log1p(-self.initial_variance))

    def normal_coefficient(self, t) -> tf.Tensor:
        """c / z_t of the exact noise prediction c = E[eps | z_t] for such coordinates."""
        return self.std(t) / self.normal_variance(t)

    def variance_rate(self, t) -> tf.Tensor:
        """d sigma^2 / dt = 2 f sigma^2 + g^2."""
        return 2.0 * self.drift(t) * self.variance(t) + self.squared_diffusion(t)

    def diffuse(self, z, eps, t):
        """z_t = m_t z + sigma_t eps of `[B, ...]` at `t` `[B]`, computed in the dtype of `z`."""
        return _column(self.mean(t), z) * z + _column(self.std(t), z) * eps

    def get_config(self) -> dict:
        """The kind and its numbers, for `sde_from_config`."""
        return config_of(_KINDS, self)


@dataclasses.dataclass(frozen=True)
class _LinearBeta(SDE):
    """Shared by the kinds whose beta rises linearly.

    Args:
        beta_min: float, beta at t = 0.
        beta_max: float, beta at t = 1.
        initial_variance: float s0^2.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    initial_variance: float = 0.0

    def __post_init__(self):
        _need(
            0.0 < self.beta_min <= self.beta_max,
            f"beta_min={self.beta_min}, beta_max={self.beta_max}",
            "0 < beta_min <= beta_max",
        )
        _need_share(self.initial_variance)

    def beta(self, t) -> tf.Tensor:
        return self.beta_min + (self.beta_max - self.beta_min) * t

    def integrated_beta(self, t) -> tf.Tensor:
        """B(t)."""
        return self.beta_min * t + (0.5 * (self.beta_max - self.beta_min)) * t * t

    def time_of_integrated_beta(self, b) -> tf.Tensor:
        """The t at which B(t) is `b`."""
        root = tf.sqrt(self.beta_min**2 + (2.0 * (self.beta_max - self.beta_min)) * b)
        return 2.0 * b / (self.beta_min + root)

    def log_mean(self, t):
        return -0.5 * self.integrated_beta(t)

    def drift(self, t):
        return -0.5 * self.beta(t)


@dataclasses.dataclass(frozen=True)
class VPSDE(_LinearBeta):
    """Variance preserving: the continuous limit of DDPM.

    Args:
        beta_min: float, rate of the noise at t = 0. Defaults to `0.1`.
        beta_max: float, rate of the noise at t = 1. Defaults to `20.0`.
        initial_variance: float, variance of the noise at t = 0. Defaults to `0.0`.
    """

    def variance(self, t):
        b = self.integrated_beta(t)
        return -expm1(-b) + self.initial_variance * tf.exp(-b)

    def squared_diffusion(self, t):
        return self.beta(t)

    def time_of_variance(self, variance):
        b = math.log1p(-self.initial_variance) - log1p(-variance)
        return self.time_of_integrated_beta(b)

    def time_of_log_snr(self, log_snr):
        return self.time_of_integrated_beta(log1p(tf.exp(-log_snr) - self.initial_variance))


@dataclasses.dataclass(frozen=True)
class SubVPSDE(_LinearBeta):
    """Below the variance preserving one: less noise at the same mean.

    Args:
        beta_min: float, rate of the noise at t = 0. Defaults to `0.1`.
        beta_max: float, rate of the noise at t = 1. Defaults to `20.0`.
        initial_variance: float, variance of the noise at t = 0. Defaults to `0.0`.
    """

    def variance(self, t):
        b = self.integrated_beta(t)
        return expm1(-b) ** 2 + self.initial_variance * tf.exp(-b)

    def squared_diffusion(self, t):
        return self.beta(t) * -expm1(-2.0 * self.integrated_beta(t))

    def time_of_variance(self, variance):
        # With u = 1 - exp(-B): sigma^2 = u^2 + s0^2 (1 - u).
        s = self.initial_variance
        u = 0.5 * (s + tf.sqrt(s * s + 4.0 * (variance - s)))
        return self.time_of_integrated_beta(-log1p(-u))

    def time_of_log_snr(self, log_snr):
        # sigma^2 / m^2 = 4 sinh^2(B / 2) + s0^2
        square = tf.exp(-log_snr) - self.initial_variance
        return self.time_of_integrated_beta(2.0 * tf.asinh(0.5 * tf.sqrt(square)))


@dataclasses.dataclass(frozen=True)
class _GeometricVariance(SDE):
    """Shared by the kinds whose variance rises as a geometric progression.

    Args:
        min_variance: float, variance where it starts.
        max_variance: float, variance where it ends.
    """

    min_variance: float = 3e-5
    max_variance: float = 0.999

    def __post_init__(self):
        _need(
            0.0 < self.min_variance < self.max_variance,
            f"min_variance={self.min_variance}, max_variance={self.max_variance}",
            "0 < min_variance < max_variance",
        )

    @property
    def log_ratio(self) -> float:
        """ln R."""
        return math.log(self.max_variance / self.min_variance)

    def _rise(self, t):
        """min_variance (R^t - 1)."""
        return self.min_variance * expm1(self.log_ratio * t)

    def _time_of_rise(self, rise):
        return log1p(rise / self.min_variance) / self.log_ratio


@dataclasses.dataclass(frozen=True)
class VESDE(_GeometricVariance):
    """Variance exploding. For latents, the published code takes `max_variance` to be the largest
    squared distance between two encodings.

    Args:
        min_variance: float, variance of the noise at t = 0, in squared units of z. Defaults to
            `1e-4`.
        max_variance: float, variance of the noise at t = 1, likewise. Defaults to `2500.0`.
    """

    min_variance: float = 1e-4
    max_variance: float = 2500.0

    def __post_init__(self):
        super().__post_init__()
        _need_share(self.min_variance)

    @property
    def initial_variance(self):
        return self.min_variance

    @property
    def final_variance(self):
        return self.max_variance

    def log_mean(self, t):
        return tf.zeros_like(t)

    def variance(self, t):
        return self.min_variance * tf.exp(self.log_ratio * t)

    def drift(self, t):
        return tf.zeros_like(t)

    def squared_diffusion(self, t):
        return self.log_ratio * self.variance(t)

    def time_of_variance(self, variance):
        return (tf.math.log(variance) - math.log(self.min_variance)) / self.log_ratio

    def time_of_log_snr(self, log_snr):
        return (-log_snr - math.log(self.min_variance)) / self.log_ratio


@dataclasses.dataclass(frozen=True)
class GeometricVPSDE(_GeometricVariance):
    """Variance preserving with a geometric variance: the likelihood's integrand is constant for
    Normal latents, so that uniform times are the best ones and no cut-off is needed.

    Args:
        min_variance: float, smallest variance of the geometric path, between 0 and 1. Defaults to
            `3e-5`.
        max_variance: float, variance at t = 1, below 1. Defaults to `0.999`.
        initial_variance: float, variance of the noise at t = 0. Defaults to `3e-5`.
    """

    initial_variance: float = 3e-5

    def __post_init__(self):
        super().__post_init__()
        _need_share(self.initial_variance)
        end = self.max_variance - self.min_variance + self.initial_variance
        _need(end < 1.0, f"max_variance={self.max_variance}", "a variance below 1 at t = 1")

    def _signal(self, t):
        """1 - sigma_t^2 = (1 - s0^2) m_t^2."""
        return 1.0 - self.initial_variance - self._rise(t)

    def log_mean(self, t):
        return 0.5 * log1p(-self._rise(t) / (1.0 - self.initial_variance))

    def variance(self, t):
        return self._rise(t) + self.initial_variance

    def drift(self, t):
        return -0.5 * self.squared_diffusion(t)

    def squared_diffusion(self, t):
        rate = self.min_variance * self.log_ratio * tf.exp(self.log_ratio * t)
        return rate / self._signal(t)

    def time_of_variance(self, variance):
        return self._time_of_rise(variance - self.initial_variance)

    def time_of_log_snr(self, log_snr):
        noise = tf.exp(-log_snr) / (1.0 - self.initial_variance)
        return self.time_of_variance(noise / (1.0 + noise))


_KINDS = {
    "vpsde": VPSDE,
    "sub_vpsde": SubVPSDE,
    "vesde": VESDE,
    "geometric_sde": GeometricVPSDE,
}


def sde_from_config(config: "SDE | str | dict") -> SDE:
    """A diffusion from its name ("vpsde", "sub_vpsde", "vesde", "geometric_sde"), or a dict of the
    name and numbers, as `get_config` gives it.

    Args:
        config: string, dict or `SDE`, as above.

    Raises:
        ConfigError: there is no such kind, or it has no such number.
    """
    return kind_from_config("sde", _KINDS, config)


def _column(coefficient, like):
    shape = [-1] + [1] * (like.shape.rank - 1)
    return tf.cast(tf.reshape(coefficient, shape), like.dtype)


def _need(holds: bool, found: str, expected: str):
    if not holds:
        raise ConfigError(f"{found}; expected {expected}")


def _need_share(variance: float):
    _need(0.0 <= variance < 1.0, f"the initial variance is {variance}", "0 <= variance < 1")
