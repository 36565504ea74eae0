"""At which times a diffusion's loss is looked at (LSGM, section 3.4 and appendix B).

The loss of a noise prediction is an integral over t of a weight times a squared error,

    int_{t_eps}^1 w(t)/2 E |eps - eps_theta(z_t, t)|^2 dt = E_{t ~ r} [w(t) / (2 r(t)) |...|^2]

For latents that are N(0, 1) and their exact prediction, the expected square of a coordinate is
1 - sigma_t^2 / v_t, with v_t = `normal_variance(t)`. Times drawn from r ∝ w(t) (1 - sigma^2 / v)
then leave no variance over t at all. Every such r is the rate of a clock F that runs from F(t_eps)
to F(1), and its draws are t = F^-1 of a uniform number:

    w_ll = g^2 / sigma^2    F = log(sigma^2 / v), for every diffusion
    w_re = g^2              F = sigma^2 for the VP kinds, log v for VE
    w_un = 1 (times 2)      F = erf(...) for VP; for VE, whose g^2 / sigma^2 is constant, as w_ll

(The published code's normaliser of w_un is 0.226 % too large, and its uniform times lack the factor
1 - t_eps. Sub-VP has the clock of w_ll here; for the others the published code's VP times stand in,
which are unbiased like any density.)
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.ops.diffusion.sdes import SDE, VESDE, VPSDE, GeometricVPSDE, SubVPSDE

WEIGHTINGS = ("ll", "un", "re", "rescaled")


class Clock(NamedTuple):
    """A monotone function of t: its value, its derivative, and the t of a value."""

    value: Callable
    rate: Callable
    time: Callable


def loss_weight(sde: SDE, weighting: str, t) -> tf.Tensor:
    """The factor on the squared error at t, before it is divided by the density of t.

    Args:
        sde: an `SDE`, the diffusion.
        weighting: "ll", the likelihood's g^2 / (2 sigma^2); "un", 1 as DDPM has it; "re", g^2 / 2;
            "rescaled", the published code's 1 / (2 (1 - sigma^2)).
        t: tensor of times in (0, 1], any shape.

    Returns:
        Tensor like `t`.

    Raises:
        ConfigError: there is no such weighting.
    """
    if weighting == "ll":
        return 0.5 * sde.squared_diffusion(t) / sde.variance(t)
    if weighting == "un":
        return tf.ones_like(t)
    if weighting == "re":
        return 0.5 * sde.squared_diffusion(t)
    if weighting == "rescaled":
        return 0.5 / (1.0 - sde.variance(t))
    raise ConfigError(f"weighting {weighting!r} is unknown; choose one of {', '.join(WEIGHTINGS)}")


@dataclasses.dataclass(frozen=True)
class TimeSampler:
    """Times between a cut-off and 1, and what a squared error at such a time counts.

    Args:
        sde: an `SDE`, the diffusion.
        weighting: string, one of `WEIGHTINGS`, for which times are drawn. Defaults to `"ll"`.
        cutoff: float t_eps, where the integral starts; 0 needs a diffusion with an initial
            variance. Defaults to `0.01`.
        importance: whether to draw by the density that suits the weighting; otherwise uniformly.
            Defaults to `True`.

    Raises:
        ConfigError: the cut-off is impossible, or the best density has no closed form.
    """

    sde: SDE
    weighting: str = "ll"
    cutoff: float = 0.01
    importance: bool = True

    def __post_init__(self):
        if not 0.0 <= self.cutoff < 1.0:
            raise ConfigError(f"the cut-off of t is {self.cutoff}; expected 0 <= cut-off < 1")
        if self.cutoff == 0.0 and self.sde.initial_variance == 0.0:
            raise ConfigError(
                "without initial variance the noise vanishes at t = 0 and the loss diverges; take "
                "a cut-off above 0, such as 0.01, or give the diffusion an initial_variance"
            )
        self._clock  # noqa: B018 (refuses impossible combinations now)

    def times(self, rho) -> tf.Tensor:
        """t of uniform numbers `rho`, in [cutoff, 1] and in the dtype of `rho`."""
        first, last = self._ends
        inside = self._clock.time(first + rho * (last - first))
        return tf.clip_by_value(inside, tf.cast(self.cutoff, rho.dtype), tf.ones_like(rho))

    def density(self, t) -> tf.Tensor:
        """r(t)."""
        first, last = self._ends
        return self._clock.rate(t) / (last - first)

    def coefficient(self, t, weighting: str | None = None) -> tf.Tensor:
        """What a squared error at a drawn t counts: `loss_weight / density`.

        Args:
            t: tensor of times drawn by `times`.
            weighting: string, that of the loss, where it is another one than that for which times
                are drawn; None where it is not.
        """
        return loss_weight(self.sde, weighting or self.weighting, t) / self.density(t)

    @functools.cached_property
    def _clock(self) -> Clock:
        loss_weight(self.sde, self.weighting, tf.constant(0.5, tf.float64))
        if not self.importance:
            return _IDENTITY
        return _best_clock(self.sde, self.weighting)

    @functools.cached_property
    def _ends(self) -> tuple[float, float]:
        with tf.init_scope():
            ends = tf.constant([self.cutoff, 1.0], tf.float64)
            first, last = self._clock.value(ends).numpy()
        return float(first), float(last)


def uniforms(count, seed, kind: str = "independent") -> tf.Tensor:
    """`[count]` float64 in [0, 1), each uniform.

    Args:
        count: integer or scalar tensor.
        seed: tensor `[2]` int32.
        kind: "independent"; "stratified", one in each of `count` equal parts; "systematic", one
            uniform offset and equal distances (the low-discrepancy times of VDM, Kingma et al.,
            2021); "antithetic", pairs u and 1 - u. Defaults to `"independent"`.

    Raises:
        ConfigError: there is no such kind.
    """

    def draw(size):
        return tf.random.stateless_uniform(size, seed, dtype=tf.float64)

    places = tf.cast(tf.range(count), tf.float64) / tf.cast(count, tf.float64)
    if kind == "independent":
        return draw([count])
    if kind == "stratified":
        return places + draw([count]) / tf.cast(count, tf.float64)
    if kind == "systematic":
        return tf.math.floormod(places + draw([]), 1.0)
    if kind == "antithetic":
        half = draw([(count + 1) // 2])
        return tf.concat([half, 1.0 - half], axis=0)[:count]
    raise ConfigError(
        f"times drawn {kind!r} are unknown; choose independent, stratified, systematic or "
        "antithetic"
    )


_IDENTITY = Clock(lambda t: t, tf.ones_like, lambda value: value)


def _best_clock(sde: SDE, weighting: str) -> Clock:
    is_ve = isinstance(sde, VESDE)
    if weighting == "ll" or (weighting == "un" and is_ve):
        return _noise_share_clock(sde)
    if weighting == "re" and is_ve:
        return _marginal_clock(sde)
    stand_in = sde
    if isinstance(sde, SubVPSDE):
        stand_in = VPSDE(sde.beta_min, sde.beta_max, sde.initial_variance)
    if weighting == "re":
        return Clock(stand_in.variance, stand_in.variance_rate, stand_in.time_of_variance)
    if weighting == "un" and isinstance(stand_in, VPSDE):
        return _erf_clock(stand_in)
    kind = "the geometric diffusion" if isinstance(sde, GeometricVPSDE) else type(sde).__name__
    raise ConfigError(
        f"times for the weighting {weighting!r} of {kind} have no closed form; set "
        "importance=False, which draws them uniformly, or draw for 'll'"
    )


def _noise_share_clock(sde: SDE) -> Clock:
    """F = log(sigma^2 / v)."""
    log_signal = math.log1p(-sde.initial_variance)

    def rate(t):
        return sde.squared_diffusion(t) / sde.variance(t) * -tf.math.expm1(sde.log_noise_share(t))

    def time(value):
        # sigma^2 / v = 1 / (1 + (1 - s0^2) SNR)
        return sde.time_of_log_snr(tf.math.log(tf.math.expm1(-value)) - log_signal)

    return Clock(sde.log_noise_share, rate, time)


def _marginal_clock(sde: VESDE) -> Clock:
    """F = log v of a diffusion that explodes."""
    rest = 1.0 - sde.min_variance
    return Clock(
        lambda t: tf.math.log(sde.normal_variance(t)),
        lambda t: sde.squared_diffusion(t) / sde.normal_variance(t),
        lambda value: sde.time_of_variance(tf.exp(value) - rest),
    )


def _erf_clock(sde: VPSDE) -> Clock:
    """The integral of 1 - sigma^2 = (1 - s0^2) exp(-B): a Gaussian in t."""
    slope = sde.beta_max - sde.beta_min
    if not slope:
        rate = sde.beta_min
        factor = (1.0 - sde.initial_variance) / rate
        return Clock(
            lambda t: -factor * tf.exp(-rate * t),
            lambda t: factor * rate * tf.exp(-rate * t),
            lambda value: -tf.math.log(-value / factor) / rate,
        )
    root, shift = math.sqrt(0.5 * slope), sde.beta_min / slope
    # B(t) = root^2 (t + shift)^2 - beta_min^2 / (2 slope)
    height = (1.0 - sde.initial_variance) * math.exp(0.5 * sde.beta_min**2 / slope)
    scale = height * 0.5 * math.sqrt(math.pi) / root
    return Clock(
        lambda t: scale * tf.math.erf(root * (t + shift)),
        lambda t: height * tf.exp(-((root * (t + shift)) ** 2)),
        lambda value: tf.math.erfinv(value / scale) / root - shift,
    )
