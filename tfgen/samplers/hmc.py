"""Hamiltonian Monte Carlo with a step size that finds itself (Neal, 2011; Hoffman & Gelman, 2014).

With momentum p ~ N(0, I) and H(x, p) = U(x) + |p|^2 / 2, leapfrog steps of length h keep H up to
O(h^2), and the move is accepted with probability min(1, exp(H - H')). TFP's kernels compute the
same; they take neither given noise nor one seed per chain, which is what makes a chain here
independent of its batch, replayable and exportable.
"""

from typing import NamedTuple

import tensorflow as tf

from tfgen.ops.checks import in_range, whole_number
from tfgen.samplers import state as states
from tfgen.samplers.chain import Chain, Trace, iterate
from tfgen.samplers.checks import scalar_or_per_chain
from tfgen.samplers.noise import ChainNoise, NoiseSource
from tfgen.samplers.state import Energy, State

# Of dual averaging, as Hoffman & Gelman (2014, section 3.2) recommend.
_GAMMA, _T0, _KAPPA = 0.05, 10.0, 0.75


class Position(NamedTuple):
    """Where a chain is, with what is known there: nothing is computed twice."""

    state: State
    energy: tf.Tensor
    gradient: State


class Adaptation(NamedTuple):
    """Dual averaging of the log step size, one for each chain: tensors `[B]`."""

    log_step: tf.Tensor
    log_average: tf.Tensor
    error_sum: tf.Tensor


def hmc(
    energy: Energy,
    state: State,
    num_steps: int,
    step_size,
    *,
    num_leapfrog_steps: int = 5,
    noise: ChainNoise | None = None,
    seeds: tf.Tensor | None = None,
    seed=None,
    num_adaptation_steps: int = 0,
    target_acceptance: float = 0.65,
    unroll: bool = False,
) -> Chain:
    """Hamiltonian Monte Carlo.

    Args:
        energy: function U, state -> `[B]`.
        state: nested tensors `[B, ...]`; kept in float32 at least.
        num_steps: integer K, proposals.
        step_size: float h, the length of a leapfrog step: a number, scalar tensor or `[B]`.
        num_leapfrog_steps: integer, leapfrog steps of each proposal, each one gradient. Defaults to
            `5`.
        noise: a `ChainNoise` with uniform numbers; or None, and `seeds` or `seed` are given.
        seeds: `[B]` int32, or None.
        seed: two integers, or None.
        num_adaptation_steps: integer; in the first so many of the K steps every chain moves its own
            step size towards the target; discard these. Afterwards the average found stays fixed.
            Defaults to `0`.
        target_acceptance: float, mean acceptance probability to aim for. Defaults to `0.65`.
        unroll: whether to write the steps out one by one. Defaults to `False`.

    Returns:
        The last state and the trace. A proposal whose energy is not finite is rejected; a chain
        that starts at an infinite energy leaves it with the first proposal of a finite one.
    """
    state = states.prepare(state)
    num_steps = whole_number("num_steps", num_steps, 1)
    whole_number("num_adaptation_steps", num_adaptation_steps, 0, num_steps)
    in_range("step_size", step_size, 0.0, above=True)
    in_range("target_acceptance", target_acceptance, 0.0, above=True, below=1.0)
    source = NoiseSource(noise, seeds, seed).covering(state, num_steps, accepts=True)
    position = Position(state, *states.energy_and_gradient(energy, state))
    ones = tf.ones_like(position.energy)
    step_size = states.number(step_size, ones.dtype)
    scalar_or_per_chain("step_size", step_size, states.num_chains(state))
    start = ones * step_size
    log_start = tf.math.log(start)

    def step(k, carry):
        position, adaptation = carry
        h = tf.exp(_current(adaptation, k, num_adaptation_steps)) if num_adaptation_steps else start
        after, log_ratio = hamiltonian_step(
            energy,
            position,
            h,
            num_leapfrog_steps,
            source.normal(k, position.state),
            source.uniform(k, position.state),
        )
        acceptance = tf.exp(tf.minimum(log_ratio, 0.0))
        if num_adaptation_steps:
            error = states.number(target_acceptance, h.dtype) - acceptance
            adaptation = _adapt(adaptation, k, error, log_start, num_adaptation_steps)
        trace = Trace(position.energy, states.norm(position.gradient), acceptance, h)
        return (after, adaptation), trace

    adaptation = Adaptation(log_start, log_start, tf.zeros_like(log_start))
    (position, _), trace = iterate(step, (position, adaptation), num_steps, unroll)
    return Chain(position.state, trace)


def hamiltonian_step(
    energy: Energy, position: Position, h, num_leapfrog_steps: int, momentum: State, uniform
) -> tuple[Position, tf.Tensor]:
    """One proposal, accepted where `log(uniform) < H - H'`.

    Args:
        energy: function U, state -> `[B]`.
        position: a `Position`, where the chains are.
        h: float, length of a leapfrog step, scalar or `[B]`.
        num_leapfrog_steps: integer, how many.
        momentum: nested tensors like the state, standard normals.
        uniform: tensor `[B]` in (0, 1).

    Returns:
        The new position, and the logarithm of the acceptance ratio `[B]` (-inf where the proposal's
        energy is not finite).
    """
    whole_number("num_leapfrog_steps", num_leapfrog_steps, 1)
    x, gradient = position.state, position.gradient
    p = states.combine((1.0, momentum), (-0.5 * h, gradient))
    for index in range(num_leapfrog_steps):
        x = states.combine((1.0, x), (h, p))
        energies, gradient = states.energy_and_gradient(energy, x)
        last = index + 1 == num_leapfrog_steps
        p = states.combine((1.0, p), ((-0.5 if last else -1.0) * h, gradient))
    kinetic = 0.5 * (states.dot(momentum, momentum) - states.dot(p, p))
    log_ratio = position.energy - energies + kinetic
    # From where the energy is infinite, every move to where it is not is accepted.
    usable = tf.math.is_finite(energies) & ~tf.math.is_nan(log_ratio)
    log_ratio = tf.where(usable, log_ratio, -float("inf"))
    accept = tf.math.log(uniform) < log_ratio
    return states.where(accept, Position(x, energies, gradient), position), log_ratio


def _current(adaptation: Adaptation, k, num_adaptation_steps):
    return tf.where(k < num_adaptation_steps, adaptation.log_step, adaptation.log_average)


def _adapt(adaptation: Adaptation, k, error, log_start, num_adaptation_steps) -> Adaptation:
    """One step of dual averaging (Hoffman & Gelman, 2014, equation 6), frozen after the warm-up."""
    t = tf.cast(k + 1, error.dtype)
    error_sum = adaptation.error_sum + (error - adaptation.error_sum) / (t + _T0)
    shrinkage = log_start + tf.math.log(tf.constant(10.0, error.dtype))
    log_step = shrinkage - tf.sqrt(t) / _GAMMA * error_sum
    weight = t**-_KAPPA
    log_average = weight * log_step + (1.0 - weight) * adaptation.log_average
    new = Adaptation(log_step, log_average, error_sum)
    return tf.nest.map_structure(
        lambda a, b: tf.where(k < num_adaptation_steps, a, b), new, adaptation
    )
