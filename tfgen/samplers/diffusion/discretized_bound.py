"""The bound of a diffusion in T steps, as DDPM has it (Ho, Jain & Abbeel, 2020), for any diffusion.

    -log p(z) <= KL(q(z_T | z) || N) + sum_{k=2}^T KL(q(z_{k-1} | z_k, z) || p(z_{k-1} | z_k))
                 - log p(z | z_1)

`z` is the state at the first time, where the diffusion may have noise already: what is said of q is
said given `z`. With a = m_k / m_{k-1}, the variance v of a forward step, and a prediction eps whose
score is -eps / sigma_k, the reverse step is N((z_k - v eps / sigma_k) / a, s^2).
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfgen.ops.checks import whole_number
from tfgen.ops.diffusion import SDE
from tfgen.samplers import state as states
from tfgen.samplers.chain import iterate
from tfgen.samplers.diffusion.step_table import NoisePredictor, predicted_noise
from tfgen.samplers.diffusion.time_grids import path, time_grid
from tfgen.samplers.noise import NoiseSource


class DiscretizedBound(NamedTuple):
    """Minus log-densities in nats, from above.

    Attributes:
        nats: `[N]`, unbiased for the bound: every step counts, with noise of its own.
        terms: `[T, N]`, of the steps, from the first to the last; that of the end is not among
            them.
    """

    nats: tf.Tensor
    terms: tf.Tensor


class _Terms(NamedTuple):
    nats: tf.Tensor


class _Steps(NamedTuple):
    """Numbers of the steps k = 1 .. T, float64 `[T]`: see `_steps`."""

    time: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    noise_rate: np.ndarray
    predicted_rate: np.ndarray
    precision: np.ndarray
    rest: np.ndarray


def discretized_bound(
    sde: SDE,
    predict_noise: NoisePredictor,
    state: tf.Tensor,
    num_steps: int = 1000,
    *,
    end: float = 0.0,
    posterior_variance: bool = False,
    noise: tf.Tensor | None = None,
    seeds: tf.Tensor | None = None,
    seed=None,
) -> DiscretizedBound:
    """Minus log-densities of latents, bounded by T equal steps of t.

    Args:
        sde: an `SDE`, the diffusion.
        predict_noise: function `(z, t) -> eps`, of states `[N, ...]` and times `[N]`.
        state: tensor `[N, ...]`, latents at the time `end`.
        num_steps: integer T, steps and network evaluations, at least 2. Defaults to `1000`.
        end: float, the time of the latents. Defaults to `0.0`.
        posterior_variance: whether reverse steps have the variance of z_{k-1} given z_k and the
            data, the last one that of the step before it, instead of v. Looser. Defaults to
            `False`.
        noise: tensor `[T, N, ...]` of standard normals; or None, and `seeds` or `seed` are given.
        seeds: `[N]` int32, or None.
        seed: two integers, or None.

    Returns:
        A `DiscretizedBound` in the dtype of the state.
    """
    z = states.prepare(state)
    num_steps = whole_number("num_steps", num_steps, 2)
    steps, last = _steps(sde, num_steps, end, posterior_variance)
    source = NoiseSource(noise, seeds, seed).covering(z, num_steps)
    dims = tf.cast(tf.size(z[0]), z.dtype)

    def step(k, carry):
        time, mean, std, noise_rate, predicted_rate, precision, rest = (
            tf.constant(column, z.dtype)[k] for column in steps
        )
        n = source.normal(k, z)
        noisy = mean * z + std * n
        eps = predicted_noise(predict_noise, noisy, tf.fill(tf.shape(z)[:1], time))
        miss = predicted_rate * eps - noise_rate * n
        return carry, _Terms(0.5 * precision * states.dot(miss, miss) + dims * rest)

    _, (terms,) = iterate(step, tf.zeros([], z.dtype), num_steps, trace=_Terms)
    ratio, variance = last
    final = 0.5 * (ratio * states.dot(z, z) + dims * (variance - 1.0 - math.log(variance)))
    return DiscretizedBound(final + tf.reduce_sum(terms, axis=0), terms)


def _steps(sde, num_steps, end, posterior_variance):
    """What the terms are made of; and of the end's KL m^2 and variance, over the final variance."""
    along = path(sde, time_grid(sde, num_steps, "uniform", end)[::-1])
    mean = along.mean / along.mean[0]  # given the latents
    variance = along.std**2 - (mean * along.std[0]) ** 2
    a = along.mean[1:] / along.mean[:-1]
    # sigma_k^2 - a^2 sigma_{k-1}^2, without the difference of nearly equal numbers
    forward = along.fresh_share * along.std[1:] ** 2
    posterior = forward * variance[:-1] / variance[1:]  # 0 at the first step
    reverse = forward
    if posterior_variance:
        reverse = np.concatenate([posterior[1:2], posterior[1:]])
    share = posterior[1:] / reverse[1:]
    rest = np.concatenate(
        [[0.5 * math.log(2.0 * math.pi * reverse[0])], 0.5 * (share - 1.0 - np.log(share))]
    )
    std = np.sqrt(variance[1:])
    steps = _Steps(
        along.time[1:],
        mean[1:],
        std,
        forward / (a * std),
        forward / (a * along.std[1:]),
        1.0 / reverse,
        rest,
    )
    scale = 1.0 / sde.final_variance
    return steps, (mean[-1] ** 2 * scale, float(variance[-1] * scale))
