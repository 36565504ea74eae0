"""Langevin dynamics: moves along the gradient with matched noise (Welling & Teh, 2011).

    x_{k+1} = x_k - (eta / 2) grad U(x_k) + sqrt(eta) w_k,    w_k ~ N(0, I)

samples exp(-U) up to an error of order eta. MALA removes the error by accepting or rejecting each
move (Roberts & Tweedie, 1996). Both take the same step size eta.
"""

import tensorflow as tf

from tfgen.ops.checks import in_range, whole_number
from tfgen.samplers import state as states
from tfgen.samplers.chain import Chain, Trace, iterate
from tfgen.samplers.checks import scalar_or_per_chain
from tfgen.samplers.hmc import hmc
from tfgen.samplers.noise import ChainNoise, NoiseSource
from tfgen.samplers.state import Energy, State


def langevin(
    energy: Energy,
    state: State,
    num_steps: int,
    step_size,
    *,
    noise: ChainNoise | State | None = None,
    seeds: tf.Tensor | None = None,
    seed=None,
    noise_scale=1.0,
    unroll: bool = False,
) -> Chain:
    """Unadjusted Langevin dynamics.

    Args:
        energy: function U, state -> `[B]`.
        state: nested tensors `[B, ...]`; kept in float32 at least.
        num_steps: integer K.
        step_size: float eta, a number, scalar tensor or `[B]`.
        noise: nested tensors with leaves `[K, B, ...]`, or a `ChainNoise`; or None, and `seeds` or
            `seed` are given, see `tfgen.samplers.noise`.
        seeds: `[B]` int32, or None.
        seed: two integers, or None.
        noise_scale: float, factor on sqrt(eta). The chain then samples at temperature `noise_scale
            ** 2`; 0 descends. Defaults to `1.0`.
        unroll: whether to write the steps out one by one. Defaults to `False`.

    Returns:
        The last state and the trace; each step costs one gradient, and the last state's energy is
        not computed.
    """
    state = states.prepare(state)
    num_steps = whole_number("num_steps", num_steps, 1)
    in_range("step_size", step_size, 0.0, above=True)
    in_range("noise_scale", noise_scale, 0.0)
    source = NoiseSource(noise, seeds, seed).covering(state, num_steps)
    dtype = tf.nest.flatten(state)[0].dtype
    step_size = states.number(step_size, dtype)
    scalar_or_per_chain("step_size", step_size, states.num_chains(state))
    spread = tf.sqrt(step_size) * states.number(noise_scale, dtype)

    def step(k, x):
        energies, gradient = states.energy_and_gradient(energy, x)
        w = source.normal(k, x)
        after = states.combine((1.0, x), (-0.5 * step_size, gradient), (spread, w))
        ones = tf.ones_like(energies)
        return after, Trace(energies, states.norm(gradient), ones, step_size * ones)

    return Chain(*iterate(step, state, num_steps, unroll))


def mala(
    energy: Energy,
    state: State,
    num_steps: int,
    step_size,
    *,
    noise: ChainNoise | None = None,
    seeds: tf.Tensor | None = None,
    seed=None,
    num_adaptation_steps: int = 0,
    target_acceptance: float = 0.574,
    unroll: bool = False,
) -> Chain:
    """Metropolis-adjusted Langevin dynamics: exact for any step size that moves at all.

    A step is one leapfrog step of length sqrt(eta) with fresh momentum, accepted or rejected, so
    this is `hmc` under another name and parameter.

    Args:
        energy: function as in `langevin`, and so are state, num_steps, step_size, seeds, seed and
            unroll.
        state: nested tensors `[B, ...]`.
        num_steps: integer K.
        step_size: float eta, a number, scalar tensor or `[B]`.
        noise: a `ChainNoise` with uniform numbers; or None, and `seeds` or `seed` are given.
        seeds: `[B]` int32, or None.
        seed: two integers, or None.
        num_adaptation_steps: integer, those of the K steps that adapt the step size, see `hmc`;
            discard what comes before their end. Defaults to `0`.
        target_acceptance: float, mean acceptance probability to aim for; 0.574 is best in many
            dimensions (Roberts & Rosenthal, 1998). Defaults to `0.574`.
        unroll: whether to write the steps out one by one. Defaults to `False`.

    Returns:
        The last state and the trace, whose step sizes are eta.
    """
    in_range("step_size", step_size, 0.0, above=True)
    step_size = states.number(step_size, tf.nest.flatten(states.prepare(state))[0].dtype)
    chain = hmc(
        energy,
        state,
        num_steps,
        tf.sqrt(step_size),
        num_leapfrog_steps=1,
        noise=noise,
        seeds=seeds,
        seed=seed,
        num_adaptation_steps=num_adaptation_steps,
        target_acceptance=target_acceptance,
        unroll=unroll,
    )
    return chain._replace(trace=chain.trace._replace(step_size=chain.trace.step_size**2))
