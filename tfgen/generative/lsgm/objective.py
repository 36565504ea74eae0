"""The cross-entropy term of LSGM's bound, and who learns what from it (LSGM, arXiv:2106.05931).

With the prior a diffusion, theorem 1 of the paper says

    CE(q(z_0|x) || p(z_0)) = E_t E_{z_t} [ g^2 / (2 sigma^2) |eps - eps_theta(z_t, t)|^2 ] + const,

a number whose gradient trains the encoder as well. Where the integral starts at a cut-off, the
constant is that of sigma^2 there. The encoder always wants the weighting of the likelihood; the
prior may want another one, and then each sees its own (algorithms 2 and 3).

Ours beside it is a control variate: at the same z_t the exact prediction for a standard Normal errs
as well, by what is known on average, so that only the difference of both errors needs drawing. Near
the Normal, where LSGM's latents are kept, it takes nearly all noise from bound and gradient.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.ops.diffusion import SDE, TimeSampler, loss_weight, uniforms
from tfgen.ops.philox import normal_like

ALGORITHMS = (1, 2, 3)


class Draw(NamedTuple):
    """Noise and the times at which it is predicted.

    Attributes:
        t: `[B]` float64 times.
        eps: `[B, ...]` float32 standard normal noise.
    """

    t: tf.Tensor
    eps: tf.Tensor


class Losses(NamedTuple):
    """The prior's part of the objective.

    Attributes:
        cross_entropy: `[B]` nats, an unbiased estimate of the bound's term.
        trained: `[B]`, what is differentiated: its gradient in the encoder is that of
            `cross_entropy` times its coefficient, in the prior that of the prior's own loss.
        prior: `[B]`, the prior's own loss.
    """

    cross_entropy: tf.Tensor
    trained: tf.Tensor
    prior: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Objective:
    """How times are drawn and squared errors weighed.

    Attributes:
        sde: an `SDE`, the diffusion.
        algorithm: integer, that of the paper: 1, encoder and prior learn from one loss; 2, from two
            draws with a weighting each; 3, from one draw with a weighting each. Defaults to `1`.
        weighting: string, the prior's: "ll", "un", "re" or "rescaled". Defaults to `"ll"`, which is
            the only one of algorithm 1.
        cutoff: float t_eps, where the integral over time starts. Defaults to `0.01`.
        importance: whether times are drawn by the density that suits the weighting. Defaults to
            `True`.
        spacing: string, how the uniform numbers of a batch are drawn, see
            `tfgen.ops.diffusion.uniforms`. Defaults to `"systematic"`.
        control_variate: whether the bound is drawn as its difference from that of a Normal prior.
            Defaults to `True`.
    """

    sde: SDE
    algorithm: int = 1
    weighting: str = "ll"
    cutoff: float = 0.01
    importance: bool = True
    spacing: str = "systematic"
    control_variate: bool = True

    def __post_init__(self):
        if self.algorithm not in ALGORITHMS:
            raise ConfigError(f"algorithm is {self.algorithm!r}; expected 1, 2 or 3")
        if self.algorithm == 1 and self.weighting != "ll":
            raise ConfigError(
                f"algorithm 1 trains encoder and prior by one loss, so that its weighting is 'll', "
                f"not {self.weighting!r}; choose algorithm 2 or 3"
            )
        uniforms(1, (0, 0), self.spacing)  # refuses what it does not know, now
        self.prior_times, self.bound_times  # noqa: B018 (refused now if impossible)

    @functools.cached_property
    def prior_times(self) -> TimeSampler:
        """Times for the prior's own loss."""
        return TimeSampler(self.sde, self.weighting, self.cutoff, self.importance)

    @functools.cached_property
    def bound_times(self) -> TimeSampler:
        """Times for the bound."""
        return TimeSampler(self.sde, "ll", self.cutoff, self.importance)

    @functools.cached_property
    def constant(self) -> float:
        """Nats of the bound for every latent dimension beside the integral."""
        with tf.init_scope():
            variance = float(self.sde.variance(tf.constant(self.cutoff, tf.float64)))
        return 0.5 * (1.0 + math.log(2.0 * math.pi * variance))

    @functools.cached_property
    def normal_integral(self) -> tuple[float, float]:
        """The bound's integral for a latent z_0 where the prior is a standard Normal: nats A and B
        of A + B z_0^2."""
        times, widths = _quadrature(self.cutoff)
        with tf.init_scope():
            t = tf.constant(times)
            coefficient = self.sde.normal_coefficient(t)
            errors = (1.0 - coefficient * self.sde.std(t), coefficient * self.sde.mean(t))
            density = loss_weight(self.sde, "ll", t).numpy() * widths
            return tuple(float(density @ np.square(error.numpy())) for error in errors)

    def draw(self, times: TimeSampler, z, seeds) -> Draw:
        """Times and noise for latents `z` `[B, ...]`, from two seeds `[2]`."""
        rho = uniforms(tf.shape(z)[0], seeds[0], self.spacing)
        return Draw(times.times(rho), normal_like(z, seeds[1]))

    def squared_errors(self, predict: Callable, z, draw: Draw, scale=None) -> tf.Tensor:
        """|eps - eps_theta(z_t, t)|^2 of every number, like `z`.

        Args:
            predict: function `(z_t, t)` -> predicted noise.
            z: `[B, ...]` float32 latents z_0.
            draw: a `Draw` for them.
            scale: `[B]`, factor on the gradient that reaches `z`; None leaves it.
        """
        z_t = self.sde.diffuse(z, draw.eps, draw.t)
        z_t = z_t if scale is None else scale_gradient(z_t, scale)
        return tf.square(draw.eps - predict(z_t, tf.cast(draw.t, tf.float32)))

    def normal_errors(self, z, draw: Draw) -> tf.Tensor:
        """The same of the exact prediction for a standard Normal; 0 without a control variate."""
        if not self.control_variate:
            return tf.zeros_like(z)
        coefficient = tf.cast(self.sde.normal_coefficient(draw.t), tf.float32)
        column = tf.reshape(coefficient, [-1, *[1] * (z.shape.rank - 1)])
        return self.squared_errors(lambda z_t, t: column * z_t, z, draw)

    def known(self, z) -> tf.Tensor:
        """Nats of the bound for every latent that need no drawing, like `z`."""
        if not self.control_variate:
            return tf.fill(tf.shape(z), self.constant)
        level, curvature = self.normal_integral
        return self.constant + level + curvature * tf.square(z)

    def cross_entropies(self, predict: Callable, z, draw: Draw, parts: list[int]) -> tf.Tensor:
        """Unbiased estimates of the bound's term at times of `bound_times`, in nats.

        Args:
            predict: function `(z_t, t)` -> predicted noise.
            z: `[B, ..., C]` latents.
            draw: a `Draw` for them.
            parts: list of integers that add up to C: channels of every part.

        Returns:
            `[B, len(parts)]`.
        """
        excess = self.squared_errors(predict, z, draw) - self.normal_errors(z, draw)
        coefficient = tf.cast(self.bound_times.coefficient(draw.t), tf.float32)
        drawn, known = (
            tf.stack([_summed(part) for part in tf.split(values, parts, axis=-1)], axis=1)
            for values in (excess, self.known(z))
        )
        return tf.expand_dims(coefficient, 1) * drawn + known

    def losses(self, predict: Callable, frozen: Callable, z, seeds, kl_coefficient) -> Losses:
        """The prior's part of a training step.

        Args:
            predict: function `(z_t, t, seed)` -> noise, of weights that learn.
            frozen: function, the same of weights that do not; only algorithm 2 calls it.
            z: `[B, ...]` latents, through which the encoder learns.
            seeds: sequence of 6 seeds `[2]`: times, noise and dropout, of two passes.
            kl_coefficient: scalar, what the bound's term counts for the encoder; for the prior too
                in algorithm 1.
        """
        (draw, dropout), (second, second_dropout) = (
            (self.draw(times, z, part), part[2])
            for times, part in ((self.prior_times, seeds[:3]), (self.bound_times, seeds[3:]))
        )
        own = tf.cast(self.prior_times.coefficient(draw.t), tf.float32)
        run = functools.partial(predict, seed=dropout)
        if self.algorithm == 2:
            prior = own * _summed(self.squared_errors(run, tf.stop_gradient(z), draw))
            passive = functools.partial(frozen, seed=second_dropout)
            bound = tf.cast(self.bound_times.coefficient(second.t), tf.float32)
            excess = self.squared_errors(passive, z, second) - self.normal_errors(z, second)
            entropy = bound * _summed(excess) + _summed(self.known(z))
            return Losses(entropy, kl_coefficient * entropy + prior, prior)
        bound = tf.cast(self.prior_times.coefficient(draw.t, "ll"), tf.float32)
        # What the encoder has beside the network's errors.
        rest = _summed(self.known(z)) - bound * _summed(self.normal_errors(z, draw))
        if self.algorithm == 1:
            entropy = bound * _summed(self.squared_errors(run, z, draw)) + rest
            return Losses(entropy, kl_coefficient * entropy, entropy)
        # One pass: examples do not mix in the network, so that weighing an example's gradient where
        # it enters the network gives the encoder the loss that it would have had with that weight.
        squares = _summed(self.squared_errors(run, z, draw, kl_coefficient * bound / own))
        prior = own * squares
        return Losses(bound * squares + rest, prior + kl_coefficient * rest, prior)


def scale_gradient(x, scale) -> tf.Tensor:
    """`x` itself, whose gradient is multiplied example by example.

    Args:
        x: tensor `[B, ...]`.
        scale: `[B]` factors, which get no gradient.
    """

    @tf.custom_gradient
    def run(x):
        column = tf.reshape(scale, [-1, *[1] * (x.shape.rank - 1)])
        return tf.identity(x), lambda dy: dy * tf.stop_gradient(column)

    return run(x)


def _quadrature(start: float) -> tuple[np.ndarray, np.ndarray]:
    """Times in [start, 1] and their weights: Gauss and Legendre's rule on 64 panels that are short
    where the likelihood's weighting is steep, near the start."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    edges = start + (1.0 - start) * np.linspace(0.0, 1.0, 65) ** 4
    halves = np.expand_dims(np.diff(edges) / 2.0, 1)
    times = np.expand_dims(edges[:-1], 1) + halves * (1.0 + nodes)
    return times.ravel(), (halves * weights).ravel()


def _summed(values):
    """Sums of every example, `[B]`."""
    return tf.reduce_sum(values, axis=list(range(1, values.shape.rank)))
