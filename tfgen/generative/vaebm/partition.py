"""log Z of a VAEBM from both sides, by annealed importance sampling in its noise space.

Z = E_p(x)[exp(-E(x))], or E_p(x)p(n)[exp(-E(x + s n))] with smoothing, is the normaliser of the
target over noise, relative to that of the standard normal (T of `noise_space` is a bijection, so
both spaces agree). Ours.
"""

import tensorflow as tf

from tfgen.errors import UserError
from tfgen.generative.base import seeds_for
from tfgen.generative.vaebm.noise_space import NoiseSpace
from tfgen.samplers import (
    PartitionBounds,
    annealed_importance,
    compiled,
    mala,
    partition_bounds,
    sigmoid_schedule,
)

_PILOT_CHAINS = 16


def log_partition_bounds(
    model,
    num_chains: int = 64,
    num_steps: int = 200,
    num_target_steps: int = 100,
    batch_size: int = 64,
    first_step_size: float = 0.3,
    seed: int = 0,
) -> PartitionBounds:
    """Bounds of log Z in nats.

    Forward walks start from exact draws of the VAE. Backward walks start where MALA has taken the
    forward walks' ends: as far as those are not yet draws of the target, the upper bound is only
    approximate.

    Args:
        model: a built `VAEBM`, live or frozen.
        num_chains: integer, walks in each direction. Defaults to `64`.
        num_steps: integer, temperatures of a walk, each one Hamiltonian step. Defaults to `200`.
        num_target_steps: integer, steps of MALA between the directions. Defaults to `100`.
        batch_size: integer, walks computed at once. Defaults to `64`.
        first_step_size: float where a pilot run starts looking for step sizes. Defaults to `0.3`.
        seed: integer, seed of everything drawn. Defaults to `0`.

    Returns:
        `PartitionBounds`, scalars.

    Raises:
        UserError: there are fewer than two chains.
    """
    if num_chains < 2 or num_steps < 1:
        raise UserError(
            f"num_chains is {num_chains} and num_steps {num_steps}; expected at least 2 and 1"
        )
    frozen = model.frozen() if hasattr(model, "frozen") else model
    ready = frozen.ready()
    space = NoiseSpace(ready.vae, smoothing=frozen.smoothing)
    betas = tf.cast(sigmoid_schedule(num_steps), tf.float32)

    def energy(noise):
        return ready.energy(space.seen(noise))

    @tf.function(autograph=False, reduce_retracing=True)
    def walk(start, betas, step_size, seeds):
        return annealed_importance(energy, start, betas, step_size, seeds=seeds)

    @tf.function(autograph=False)
    def pilot(start, seeds):
        result = annealed_importance(energy, start, betas, first_step_size, seeds=seeds, pilot=True)
        return tf.reduce_mean(result.trace.step_size, axis=1)

    settle = compiled(
        mala,
        lambda noise: space.potential(ready.energy, noise),
        num_steps=num_target_steps,
        num_adaptation_steps=num_target_steps // 2,
    )
    all_seeds = tf.constant(seeds_for(3 * num_chains + _PILOT_CHAINS, seed))
    pilot_seeds = all_seeds[-_PILOT_CHAINS:]
    sizes = pilot(frozen.draw_start(pilot_seeds), pilot_seeds)
    forward, backward = [], []
    for begin in range(0, num_chains, batch_size):
        end = min(begin + batch_size, num_chains)
        seeds = [all_seeds[k * num_chains + begin : k * num_chains + end] for k in range(3)]
        there = walk(frozen.draw_start(seeds[0]), betas, sizes, seeds[0])
        forward.append(there.log_weight)
        settled = settle(there.state, step_size=tf.square(sizes[-1]), seeds=seeds[1]).state
        back = walk(settled, betas[::-1], sizes[::-1], seeds[2])
        backward.append(back.log_weight)
    return partition_bounds(tf.concat(forward, 0), tf.concat(backward, 0))
