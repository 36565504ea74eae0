"""Whatever a sampler cannot use is refused in one sentence, before a step is made."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.samplers import (
    ChainNoise,
    ReplayBuffer,
    annealed_importance,
    compiled,
    effective_sample_size,
    hmc,
    importance_resampling,
    langevin,
    mala,
    potential_scale_reduction,
    sigmoid_schedule,
)

STATE = tf.random.stateless_normal((6, 2), (0, 1))
SEED = {"seed": (1, 2)}


def energy(x):
    return 0.5 * tf.reduce_sum(x**2, axis=-1)


def annealed(energy, state, num_steps, step_size, **options):
    return annealed_importance(energy, state, sigmoid_schedule(num_steps), step_size, **options)


SAMPLERS = {"langevin": langevin, "mala": mala, "hmc": hmc, "annealed": annealed}
ENERGIES = {
    "a sum": (lambda x: tf.reduce_sum(energy(x)), r"shape \(\)"),
    "a mean": (lambda x: tf.reduce_mean(energy(x)), r"shape \(\)"),
    "a column": (lambda x: energy(x)[:, None], r"shape \(6, 1\)"),
    "one of each number": (lambda x: 0.5 * x**2, r"shape \(6, 2\)"),
}
# State, number of steps, step size, the source of noise; and what is said of it.
WRONG = {
    "integers": ((tf.zeros((6, 2), tf.int32), 3, 0.1, SEED), "floating-point.*int32 \\(6, 2\\)"),
    "a number": ((0.0, 3, 0.1, SEED), r"\[batch, ...\]; got float32 \(\)"),
    "lists": (([[0.0, 0.0]], 3, 0.1, SEED), r"got float32 \(\), float32 \(\)"),
    "no steps": ((STATE, 0, 0.1, SEED), "num_steps is 0; expected at least 1"),
    "half a step": ((STATE, 2.5, 0.1, SEED), "num_steps is 2.5; expected a whole number"),
    "step 0": ((STATE, 3, 0.0, SEED), "step_size is 0.0; expected above 0"),
    "backwards": ((STATE, 3, -0.1, SEED), "step_size is -0.1; expected above 0"),
    "step NaN": ((STATE, 3, np.nan, SEED), "step_size is nan"),
    "step infinite": ((STATE, 3, np.inf, SEED), "step_size is inf"),
    "step as text": ((STATE, 3, "big", SEED), "step_size is 'big'; expected a number"),
    "steps of others": ((STATE, 3, np.full(5, 0.1), SEED), r"step_size has shape \(5,\)"),
    "seed 1": ((STATE, 3, 0.1, {"seed": 1}), "seed is 1; expected two integers"),
    "seed of three": ((STATE, 3, 0.1, {"seed": (1, 2, 3)}), "expected two integers"),
    "seed of floats": ((STATE, 3, 0.1, {"seed": (1.0, 2.0)}), "expected two integers"),
    "no noise": ((STATE, 3, 0.1, {}), "one of noise=, seeds= and seed=; got none"),
    "seeds of others": ((STATE, 3, 0.1, {"seeds": tf.range(3)}), r"seeds has shape \(3,\).*\(6,\)"),
    "noise that ends": (
        (STATE, 3, 0.1, {"noise": ChainNoise(tf.zeros((2, 6, 2)), tf.zeros((2, 6)) + 0.5)}),
        r"noise has shapes \(2, 6, 2\).*expected \(3, 6, 2\)",
    ),
    "noise of others": (
        (STATE, 3, 0.1, {"noise": ChainNoise(tf.zeros((3, 6, 1)), tf.zeros((3, 6)) + 0.5)}),
        r"noise has shapes \(3, 6, 1\)",
    ),
}
LEAVES = {
    "two dtypes": (
        {"a": tf.zeros((3, 2)), "b": tf.zeros((3, 2), tf.float64)},
        "float32 .* and float64",
    ),
    "two batches": ({"a": tf.zeros((3, 2)), "b": tf.zeros((4, 2))}, "one dtype and one batch size"),
    "nothing": ({}, "got nothing"),
}


def refused(call, message):
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sampler", SAMPLERS)
class TestChains:
    @pytest.mark.parametrize("case", ENERGIES)
    def test_energies_are_one_number_of_each_chain(self, sampler, case):
        function, shape = ENERGIES[case]
        message = rf"the energy has {shape}; expected \(6,\).*one number of each chain"
        refused(lambda: SAMPLERS[sampler](function, STATE, 3, 0.1, **SEED), message)
        options = {} if sampler == "annealed" else {"unroll": True}
        refused(lambda: SAMPLERS[sampler](function, STATE, 3, 0.1, **SEED, **options), message)
        if sampler != "annealed":
            run = compiled(SAMPLERS[sampler], function, num_steps=3, jit_compile=False)
            refused(lambda: run(STATE, step_size=0.1, seed=tf.constant([1, 2])), message)

    @pytest.mark.parametrize("case", WRONG)
    def test_arguments(self, sampler, case):
        (state, num_steps, step_size, source), message = WRONG[case]
        refused(lambda: SAMPLERS[sampler](energy, state, num_steps, step_size, **source), message)

    @pytest.mark.parametrize("case", LEAVES)
    def test_leaves(self, sampler, case):
        state, message = LEAVES[case]
        refused(lambda: SAMPLERS[sampler](lambda s: energy(s["a"]), state, 3, 0.1, **SEED), message)

    def test_what_is_right_still_runs(self, sampler):
        run = SAMPLERS[sampler]
        sizes = np.full(3 if sampler == "annealed" else 6, 0.1)
        for state in (STATE, STATE.numpy(), tf.cast(STATE, tf.float64), tf.cast(STATE, tf.float16)):
            result = run(energy, state, np.int64(3), sizes, seed=np.array([1, 2]))
            assert result.state.shape == (6, 2)


class TestOfSome:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"num_leapfrog_steps": 0}, "num_leapfrog_steps is 0; expected at least 1"),
            ({"num_adaptation_steps": 4}, "num_adaptation_steps is 4; expected 0 to 3"),
            ({"num_adaptation_steps": -1}, "num_adaptation_steps is -1"),
            ({"target_acceptance": 1.0}, "target_acceptance is 1.0; expected above 0 and below 1"),
        ],
    )
    def test_hmc(self, options, message):
        refused(lambda: hmc(energy, STATE, 3, 0.1, **SEED, **options), message)

    def test_langevin(self):
        refused(
            lambda: langevin(energy, STATE, 3, 0.1, **SEED, noise_scale=-1.0), "noise_scale is -1.0"
        )

    def test_annealed(self):
        def walk(**options):
            given = {"betas": [0.0, 0.5, 1.0], "step_size": 0.1, **SEED, **options}
            return lambda: annealed_importance(energy, STATE, given.pop("betas"), **given)

        refused(walk(betas=[0.0]), r"betas has shape \(1,\)")
        refused(walk(betas=0.5), r"betas has shape \(\)")
        refused(walk(betas=[0.0, np.nan]), "betas is")
        refused(walk(num_leapfrog_steps=0), "num_leapfrog_steps is 0")
        refused(walk(base_energy=lambda x: tf.reduce_sum(x)), "the energy has shape")
        refused(lambda: sigmoid_schedule(0), "num_steps is 0")
        assert walk()().log_weight.shape == (6,)

    def test_resampling(self):
        z, u = tf.zeros((4, 5, 2)), tf.fill((4, 5), 0.5)

        def choose(log_weight=lambda z: z[..., 0], proposals=z, uniforms=u, **options):
            return lambda: importance_resampling(log_weight, proposals, uniforms, **options)

        refused(choose(lambda z: z), r"log_weight gives \(4, 5, 2\).*\(4, 5\), one number of each")
        refused(choose(lambda z: tf.reduce_sum(z)), r"log_weight gives \(\)")
        refused(choose(proposals=z[0, :, 0]), "expected")
        refused(choose(uniforms=u[:, :4]), "4, 5.* entries")
        refused(choose(chunk_size=0), "chunk_size is 0")
        assert choose(proposals=z.numpy(), uniforms=u.numpy().astype(float))().index.shape == (4,)

    def test_replay_buffer(self):
        buffer = ReplayBuffer(3, {"z": (2,)})
        buffer.build()
        refused(lambda: buffer.push({"z": tf.zeros((4, 5))}), r"'z' of shape \(4, 5\)")
        refused(lambda: buffer.push({"y": tf.zeros((4, 2))}), "have 'y'")
        refused(lambda: buffer.push({}), "lack")
        refused(lambda: buffer.mix({"z": tf.zeros((4, 2))}, 0.5, 1), "expected two integers")
        refused(lambda: buffer.mix({"z": tf.zeros((4, 2))}, -0.5, (1, 2)), "probability is -0.5")
        refused(lambda: ReplayBuffer(0, {"z": (2,)}), "capacity 0 and")
        refused(lambda: ReplayBuffer(2.5, {"z": (2,)}), "capacity is 2.5")

    def test_diagnostics(self):
        for measure in (effective_sample_size, potential_scale_reduction):
            assert np.isfinite(measure(np.arange(40).reshape(10, 4) % 7))
            refused(lambda measure=measure: measure(np.arange(9.0)), "expected \\[steps, chains")
