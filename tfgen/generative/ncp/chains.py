"""Sampling the refined prior by Langevin dynamics instead of resampling.

The paper (arXiv:2010.02917) runs the chains over z; whitening them is ours.

In the coordinates eps of `z = mu + sigma eps` the base prior is standard, so a group's energy is

    E(eps) = |eps|^2 / 2 - log r(mu + sigma eps, c).

A chain starts where resampling ends; with the Metropolis correction it then removes what is left of
resampling's error, at the price of a gradient per step.
"""

import tensorflow as tf

from tfgen.ops.checks import one_of
from tfgen.ops.random_streams import group_seeds
from tfgen.samplers import Chain, langevin, mala

METHODS = {"langevin": langevin, "mala": mala}


def whitened_energy(log_weight):
    """E(eps) `[B]` of noise `[B, ...]`, given log r of noise `[B, m, ...]`."""

    def energy(eps):
        square = tf.reduce_sum(tf.square(eps), axis=list(range(1, eps.shape.rank)))
        return 0.5 * square - log_weight(tf.expand_dims(eps, 1))[:, 0]

    return energy


def run_chain(
    log_weight,
    start,
    seeds,
    index: int,
    method: str,
    num_steps: int,
    step_size,
    num_adaptation: int,
) -> Chain:
    """A chain of one group's noise.

    Args:
        log_weight: function from noise `[B, m, ...]` to log r, `[B, m]`.
        start: tensor `[B, ...]`, the noise to start from.
        seeds: `[B]` int32.
        index: integer, number of the group.
        method: "mala" or "langevin".
        num_steps: integer, steps of the chain.
        step_size: float eta, at first.
        num_adaptation: integer, steps in which MALA adapts it.
    """
    one_of("method", method, METHODS)
    options = {"num_adaptation_steps": num_adaptation} if method == "mala" else {}
    energy, own_seeds = whitened_energy(log_weight), group_seeds(seeds, index)
    return METHODS[method](energy, start, num_steps, step_size, seeds=own_seeds, **options)
