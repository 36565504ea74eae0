"""Log-densities by the probability-flow ODE: the instantaneous change of variables.

    log p(z) = log N(z_1; 0, final variance) + int_{end}^1 div(dz/dt) dt

along the ODE from z at the time `end` (Chen et al., 2018; Song et al., 2021, arXiv:2011.13456). The
divergence is v^T (d eps / dz) v on average over random v (Hutchinson's estimate), or a sum over all
directions. One v serves a whole solution: drawn anew at each evaluation, the field that the solver
sees would be noise, and its steps would never grow.
"""

import math
from typing import NamedTuple

import tensorflow as tf

from tfgen.errors import ConfigError, UserError
from tfgen.ops.checks import whole_number
from tfgen.ops.diffusion import SDE
from tfgen.ops.random_streams import number
from tfgen.ops.seeded_rows import seeded_rows
from tfgen.samplers import state as states
from tfgen.samplers.checks import one_per_chain
from tfgen.samplers.diffusion.probability_flow import RK45, flow_coefficients
from tfgen.samplers.diffusion.step_table import NoisePredictor, predicted_noise

DIVERGENCES = ("rademacher", "normal", "exact")


class FlowLikelihood(NamedTuple):
    """Log-densities in nats, and how they came about.

    Attributes:
        log_prob: float64 `[N]`, sum over all coordinates.
        standard_error: float64 `[N]`, what the probes leave unknown: 0 for exact divergences, NaN
            for a single probe, whose error shows in the spread over many states alone.
        noise: float64 `[N, ...]`, the states at t = 1.
        num_evaluations: int32 `[N]`, of the ODE's right-hand side: a forward and a backward pass of
            the network for every probe.
        success: boolean tensor `[N]`, whether t = 1 was reached.
    """

    log_prob: tf.Tensor
    standard_error: tf.Tensor
    noise: tf.Tensor
    num_evaluations: tf.Tensor
    success: tf.Tensor


def flow_log_prob(
    sde: SDE,
    predict_noise: NoisePredictor,
    state: tf.Tensor,
    *,
    solver: RK45 | None = None,
    divergence: str = "rademacher",
    num_probes: int = 1,
    seeds: tf.Tensor | None = None,
    probes: tf.Tensor | None = None,
) -> FlowLikelihood:
    """Log-densities of latents under the ODE of a noise predictor.

    Args:
        sde: an `SDE`, the diffusion.
        predict_noise: function `(z, t) -> eps`, of float64 states `[M, ...]` and times `[M]`, that
            gradients pass through; M is N times the number of probes.
        state: tensor `[N, ...]`, latents at the solver's `end`.
        solver: an `RK45`; None, the default, is `RK45()`.
        divergence: string: "rademacher", random signs, with the smaller variance; "normal"; or
            "exact", one direction per coordinate, for small latents. Defaults to `"rademacher"`.
        num_probes: integer, probes over which to average. Defaults to `1`.
        seeds: `[N]` int32 of the probes, so that no state's depend on its batch; or None.
        probes: tensor `[P, N, ...]` instead of seeds; or None.

    Returns:
        A `FlowLikelihood`.

    Raises:
        ConfigError: there is no such divergence.
        UserError: probes are missing, or are not shaped like the states.
    """
    solver = solver or RK45()
    z = tf.cast(states.prepare(state), tf.float64)
    exact = divergence == "exact"
    if divergence not in DIVERGENCES:
        raise ConfigError(
            f"divergence {divergence!r} is unknown; choose one of {', '.join(DIVERGENCES)}"
        )
    directions = _basis(z) if exact else _probes(z, divergence, num_probes, seeds, probes)
    lengths = _products(directions, directions)
    reduce = _summed if exact else tf.identity

    def velocity(t, carry):
        f, half = flow_coefficients(sde, t)
        eps, traces = _noise_and_traces(predict_noise, carry["z"], t, directions)
        slope = states.combine((f, carry["z"]), (half, eps))
        # The drift's own part by the same probes: it all but cancels, and their errors with it.
        traces = tf.expand_dims(f, 1) * lengths + tf.expand_dims(half, 1) * traces
        return {"z": slope, "volume": reduce(traces)}

    count = 1 if exact else directions.shape[0]
    start = {"z": z, "volume": tf.zeros([tf.shape(z)[0], count], tf.float64)}
    end = solver.between(solver.end, 1.0, velocity, start)
    volumes = end.state["volume"]
    log_prob = _normal_log_prob(end.state["z"], sde.final_variance)
    return FlowLikelihood(
        log_prob + tf.reduce_mean(volumes, axis=1),
        tf.zeros_like(log_prob) if exact else _standard_error(volumes),
        end.state["z"],
        end.num_evaluations,
        end.success,
    )


def _noise_and_traces(predict_noise, z, t, directions):
    """eps `[N, ...]`, and v^T (d eps / dz) v of every direction `[N, P]`."""
    count = directions.shape[0]
    copies = tf.concat([z] * count, axis=0) if count > 1 else z
    flat = tf.reshape(directions, tf.shape(copies))
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(copies)
        eps = predicted_noise(predict_noise, copies, tf.tile(t, [count]))
        product = tf.reduce_sum(eps * flat)
    gradient = tape.gradient(product, copies, unconnected_gradients="zero")
    gradient = tf.reshape(gradient, tf.shape(directions))
    return eps[: tf.shape(z)[0]], _products(gradient, directions)


def _products(a, b):
    """Inner products `[N, P]` of `[P, N, ...]`."""
    return tf.transpose(tf.reduce_sum(a * b, axis=list(range(2, a.shape.rank))))


def _summed(traces):
    return tf.reduce_sum(traces, axis=1, keepdims=True)


def _basis(z):
    """Unit vectors along every coordinate, `[D, N, ...]`."""
    dims = z.shape[1:].num_elements()
    if dims is None:
        raise UserError(
            f"the states are {tuple(z.shape)}; an exact divergence needs all axes but the first to "
            "be known"
        )
    unit = tf.reshape(tf.eye(dims, dtype=z.dtype), [dims, 1, *z.shape[1:]])
    return unit * tf.ones_like(z)


def _probes(z, divergence, num_probes, seeds, probes):
    """Random directions `[P, N, ...]`."""
    if (seeds is None) == (probes is None):
        raise UserError("a random divergence takes one of seeds= and probes=")
    if probes is not None:
        probes = tf.cast(probes, z.dtype)
        if probes.shape.rank != z.shape.rank + 1 or not probes.shape[1:].is_compatible_with(
            z.shape
        ):
            raise UserError(
                f"the probes are {tuple(probes.shape)} and the states {tuple(z.shape)}; expected "
                "the states' shape with an axis of probes before it"
            )
        return probes
    num_probes = whole_number("num_probes", num_probes, 1)
    seeds = one_per_chain("seeds", tf.convert_to_tensor(seeds, tf.int32), z.shape[0])
    size = num_probes * z.shape[1:].num_elements()
    drawn = seeded_rows(seeds, number("divergence probes"), size)
    drawn = tf.sign(drawn) if divergence == "rademacher" else drawn
    drawn = tf.reshape(drawn, [-1, num_probes, *z.shape[1:]])
    axes = [1, 0, *range(2, z.shape.rank + 1)]
    return tf.cast(tf.transpose(drawn, axes), z.dtype)


def _normal_log_prob(z, variance):
    dims = tf.cast(tf.size(z[0]), z.dtype)
    return -0.5 * (states.dot(z, z) / variance + dims * math.log(2.0 * math.pi * variance))


def _standard_error(volumes):
    count = volumes.shape[1]
    spread = tf.reduce_sum((volumes - tf.reduce_mean(volumes, 1, keepdims=True)) ** 2, axis=1)
    if count == 1:
        return spread * math.nan
    return tf.sqrt(spread / (count * (count - 1)))
