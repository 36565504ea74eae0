"""Annealed importance sampling: log Z from both sides (Neal, 2001; Grosse et al., 2015).

Between a base with energy U_0, whose draws and normaliser are known, and the target with energy
U_0 + E stand the laws U_0 + beta_k E. A chain walks along them and collects

    log w = - sum_k (beta_{k+1} - beta_k) E(x_k)

Forwards from exact draws of the base, E[w] = Z / Z_0, so mean log w is a lower bound of
log Z / Z_0. Backwards from draws of the target the same sum is an upper bound, as far as those
draws are right.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfgen.errors import UserError
from tfgen.ops.checks import in_range, whole_number
from tfgen.ops.importance import effective_sample_size, iw_bound
from tfgen.samplers import state as states
from tfgen.samplers.chain import Trace, iterate
from tfgen.samplers.hmc import Position, hamiltonian_step
from tfgen.samplers.noise import ChainNoise, NoiseSource
from tfgen.samplers.state import Energy, State

_PILOT_GAIN = 0.3  # of the pilot's step size, in log units per unit of missed acceptance
_NUM_RESAMPLES = 400  # of the bootstrap: standard errors are known to 4 %

# With so few effective walks two standard errors hold log Z in less than nine of ten runs.
SMALLEST_SAMPLE = 20.0
# E[w] = Z / Z_0 makes w exceed it e^3 times in at most a run of twenty (Markov).
_MARKOV_MARGIN = 3.0


class AnnealedChain(NamedTuple):
    """A walk between base and target.

    Attributes:
        log_weight: `[B]`, see the head of this file; of a backward walk `log Z_0 / Z`.
        state: nested tensors `[B, ...]`, the last states.
        trace: a `Trace` of acceptance and step sizes `[K, B]`; its energies are E.
    """

    log_weight: tf.Tensor
    state: State
    trace: Trace


class PartitionBounds(NamedTuple):
    """log Z of the target, relative to that of the base, in nats; scalars.

    Attributes:
        lower: scalar, log-mean-exp of the forward weights: below log Z in expectation.
        lower_standard_error: scalar, standard error of `lower`, by the bootstrap over walks. With
            few effective walks it says no more than how much hangs on one of them: `lower` may then
            lie far below log Z.
        upper: scalar, minus log-mean-exp of the backward weights: above log Z in expectation.
        upper_standard_error: scalar, likewise.
        sample_size: scalar, effective number of the forward weights.
        upper_sample_size: scalar, effective number of the backward weights.
    """

    lower: tf.Tensor
    lower_standard_error: tf.Tensor
    upper: tf.Tensor
    upper_standard_error: tf.Tensor
    sample_size: tf.Tensor
    upper_sample_size: tf.Tensor

    def interval(self) -> tuple[tf.Tensor, tf.Tensor]:
        """What holds log Z in nine of ten runs, as far as backward walks start from the target.

        Where the effective number of walks is below `SMALLEST_SAMPLE`, the interval goes 3 nats
        beyond the bound, as far as Markov's inequality needs whatever the weights; else two
        standard errors.
        """
        below = _margin(self.lower_standard_error, self.sample_size)
        above = _margin(self.upper_standard_error, self.upper_sample_size)
        return self.lower - below, self.upper + above


def _margin(standard_error, sample_size):
    few = sample_size < SMALLEST_SAMPLE
    return tf.where(few, tf.cast(_MARKOV_MARGIN, standard_error.dtype), 2.0 * standard_error)


def standard_normal_energy(state: State) -> tf.Tensor:
    """`|x|^2 / 2` over all leaves, `[B]`: the base of noise spaces; log Z_0 is its normaliser.

    Args:
        state: nested tensors `[B, ...]`.
    """
    return 0.5 * states.dot(state, state)


def sigmoid_schedule(num_steps: int, slope: float = 4.0) -> tf.Tensor:
    """`[K + 1]` inverse temperatures from 0 to 1, dense at both ends (Grosse et al., 2015).

    Args:
        num_steps: integer K.
        slope: float, steepness of the sigmoid: the larger, the denser at the ends. Defaults to
            `4.0`.
    """
    num_steps = whole_number("num_steps", num_steps, 1)
    in_range("slope", slope, 0.0, above=True)
    t = tf.linspace(tf.constant(-slope, tf.float64), slope, num_steps + 1)
    s = tf.sigmoid(t)
    return (s - s[0]) / (s[-1] - s[0])


def annealed_importance(
    energy: Energy,
    state: State,
    betas,
    step_size,
    *,
    base_energy: Callable[[State], tf.Tensor] = standard_normal_energy,
    num_leapfrog_steps: int = 1,
    noise: ChainNoise | None = None,
    seeds: tf.Tensor | None = None,
    seed=None,
    pilot: bool = False,
    target_acceptance: float = 0.65,
) -> AnnealedChain:
    """One walk along `betas`, a Hamiltonian step at each.

    Args:
        energy: function E, state -> `[B]`.
        state: nested tensors `[B, ...]`, exact draws of the base where `betas` rises, of the target
            where it falls.
        betas: tensor `[K + 1]`, of which the first is the law of `state`.
        step_size: float, length of a leapfrog step, scalar or `[K]`.
        base_energy: function U_0, state -> `[B]`. Defaults to `standard_normal_energy`.
        num_leapfrog_steps: integer, leapfrog steps of each proposal. Defaults to `1`.
        noise: a `ChainNoise` of K steps; or None, and `seeds` or `seed` are given.
        seeds: `[B]` int32, or None.
        seed: two integers, or None.
        pilot: whether the step size follows the acceptance of all chains. The weights of such a run
            are no bounds; take its mean step sizes `[K]` for the run that counts. Defaults to
            `False`.
        target_acceptance: float, mean acceptance that the pilot aims for. Defaults to `0.65`.

    Returns:
        The walk.
    """
    state = states.prepare(state)
    dtype = tf.nest.flatten(state)[0].dtype
    in_range("step_size", step_size, 0.0, above=True)
    in_range("target_acceptance", target_acceptance, 0.0, above=True, below=1.0)
    betas, num_steps = _schedule(betas, dtype)
    source = NoiseSource(noise, seeds, seed).covering(state, num_steps, accepts=True)
    sizes = _step_sizes(step_size, num_steps, dtype)

    def step(k, carry):
        x, log_weight, log_factor = carry
        beta = betas[k + 1]
        own, own_gradient = states.energy_and_gradient(energy, x)
        base, base_gradient = states.energy_and_gradient(base_energy, x)
        log_weight -= (beta - betas[k]) * own
        position = Position(
            x, base + beta * own, states.combine((1.0, base_gradient), (beta, own_gradient))
        )
        h = sizes[k] * tf.exp(log_factor)
        after, log_ratio = hamiltonian_step(
            lambda x: base_energy(x) + beta * tf.cast(energy(x), dtype),
            position,
            h,
            num_leapfrog_steps,
            source.normal(k, x),
            source.uniform(k, x),
        )
        acceptance = tf.exp(tf.minimum(log_ratio, 0.0))
        if pilot:
            missed = tf.reduce_mean(acceptance) - states.number(target_acceptance, dtype)
            log_factor += _PILOT_GAIN * missed
        trace = Trace(own, states.norm(own_gradient), acceptance, h * tf.ones_like(own))
        return (after.state, log_weight, log_factor), trace

    zeros = tf.zeros([states.num_chains(state)], dtype)
    start = (state, zeros, tf.zeros([], dtype))
    (state, log_weight, _), trace = iterate(step, start, num_steps)
    return AnnealedChain(log_weight, state, trace)


def _schedule(betas, dtype) -> tuple[tf.Tensor, int]:
    """Inverse temperatures `[K + 1]`, and K."""
    in_range("betas", betas, 0.0)
    betas = states.number(betas, dtype)
    if betas.shape.rank != 1 or (betas.shape[0] or 0) < 2:
        raise UserError(
            f"betas has shape {tuple(betas.shape)}; expected [K + 1] with K of at least 1, such as "
            "sigmoid_schedule(K)"
        )
    return betas, betas.shape[0] - 1


def _step_sizes(step_size, num_steps: int, dtype) -> tf.Tensor:
    """One step size of each step, `[K]`."""
    sizes = states.number(step_size, dtype)
    if sizes.shape.rank != 0 and not sizes.shape.is_compatible_with([num_steps]):
        raise UserError(
            f"step_size has shape {tuple(sizes.shape)}; expected a number, or one of each of the "
            f"{num_steps} steps"
        )
    return sizes * tf.ones([num_steps], dtype)


def partition_bounds(forward, backward) -> PartitionBounds:
    """Bounds of log Z from the log-weights of walks in both directions, `[N]` and `[M]`.

    Args:
        forward: tensor `[N]`, log-weights of walks from the base to the target, in nats.
        backward: tensor `[M]`, log-weights of walks from the target to the base, in nats.
    """
    lower, lower_error, lower_size = _log_mean(tf.cast(forward, tf.float64))
    upper, upper_error, upper_size = _log_mean(tf.cast(backward, tf.float64))
    return PartitionBounds(lower, lower_error, -upper, upper_error, lower_size, upper_size)


def _log_mean(log_weights):
    """Log-mean-exp of `[N]`, its standard error and the effective number.

    The delta method would put the error at one nat at most, even where one weight is all and a
    repeated run, without it, lands many nats below.
    """
    column = log_weights[:, None]
    count = tf.size(log_weights)
    chosen = tf.random.stateless_uniform(
        [count, _NUM_RESAMPLES], seed=(0, 0), maxval=count, dtype=tf.int32
    )
    error = tf.math.reduce_std(iw_bound(tf.gather(log_weights, chosen)))
    return iw_bound(column)[0], error, effective_sample_size(column)[0]
