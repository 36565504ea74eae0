"""Energies that see images through noise: h(x, z, n) = p(x, z) N(n) exp(-E(x + s n)) / Z."""

import numpy as np
import pytest
import tensorflow as tf
from test_vaebm_theory import SIGMA, A, B, S, ToyVAEBM, W
from tiny_vaebm import images, tiny_vaebm

from tfgen.errors import ConfigError
from tfgen.generative.vaebm import VAEBM, inpaint, log_partition_bounds, training
from tfgen.generative.vaebm.noise_space import SMOOTHING as SMOOTHING_NOISE
from tfgen.generative.vaebm.noise_space import NoiseSpace

SMOOTHING = 0.5
SEEDS = tf.constant([3, 4, 5])


class SmoothedToy(ToyVAEBM):
    smoothing = SMOOTHING


def gaussian():
    """Mean and covariance of (z, eps, n) under the model, and log Z, in closed form."""
    # x + s n = M (z, eps, n)
    m = np.concatenate([W[:, None], SIGMA * np.eye(2), SMOOTHING * np.eye(2)], axis=1)
    precision = np.eye(5) + A * m.T @ m
    covariance = np.linalg.inv(precision)
    mean = covariance @ (A * m.T @ B)
    log_z = -0.5 * np.linalg.slogdet(precision)[1] - 0.5 * A * B @ B + 0.5 * mean @ precision @ mean
    return mean, covariance, log_z


def test_images_follow_the_marginal_of_the_joint_density():
    """4,000 draws, 4 standard errors (and 0.002 for the bias of steps of 0.02)."""
    drawn = SmoothedToy().sample(4000, batch_size=4000).reshape(-1, 2)
    mean, covariance, _ = gaussian()
    to_x = np.concatenate([W[:, None], SIGMA * np.eye(2), np.zeros((2, 2))], axis=1)
    wanted, spread = to_x @ mean, to_x @ covariance @ to_x.T
    np.testing.assert_allclose(drawn.mean(0), wanted, atol=4 * np.sqrt(spread.max() / 4000) + 0.002)
    np.testing.assert_allclose(
        np.cov(drawn.T), spread, atol=4 * spread.max() * np.sqrt(2 / 4000) + 0.002
    )
    # It is another law than that without smoothing.
    sharp = np.linalg.inv(np.linalg.inv(S) + A * np.eye(2)) @ (A * B)
    assert np.abs(sharp - wanted).max() > 0.05


def test_log_z_by_annealing_from_both_sides():
    bounds = log_partition_bounds(
        SmoothedToy(), num_chains=2000, num_steps=30, num_target_steps=60, batch_size=2000
    )
    exact = gaussian()[2]
    assert abs(float(bounds.lower) - exact) < max(4 * float(bounds.lower_standard_error), 0.01)
    assert abs(float(bounds.upper) - exact) < max(4 * float(bounds.upper_standard_error), 0.01)


@pytest.fixture(scope="module")
def model():
    result = tiny_vaebm(step_size=0.02, smoothing=0.3)
    result.build()
    kernels = result.energy.bank.kernels[result.energy.head.stack]
    kernels.assign(5.0 * np.random.default_rng(0).standard_normal(kernels.shape))
    return result


class TestGenerator:
    def test_its_noise_is_part_of_the_spec(self, model):
        spec = model.noise_spec(2)
        assert spec["n"].shape == spec["x"].shape == (2, 8, 8, 1)
        assert spec["chain_n"].shape == (2, 2, 8, 8, 1)
        whole = model.generate(model.draw_noise(SEEDS))
        np.testing.assert_allclose(model.generate_from_seeds(SEEDS), whole, atol=1e-6)

    def test_frozen_copy_and_saved_model_agree(self, model):
        np.testing.assert_allclose(
            model.frozen().generate_from_seeds(SEEDS), model.generate_from_seeds(SEEDS), atol=1e-5
        )
        again = VAEBM.from_config(model.get_config())
        assert again.smoothing == 0.3

    def test_energies_depend_on_the_seeds_and_enter_every_score(self, model):
        x = tf.constant(images(3))
        energy = model.energy_of(x, SEEDS)
        np.testing.assert_array_equal(energy, model.energy_of(x, SEEDS))
        assert np.abs(energy - model.energy_of(x, SEEDS + 1)).min() > 1e-4
        vae = model.vae.negative_elbo(x, SEEDS)["nelbo"]
        np.testing.assert_allclose(model.ood_score(x, SEEDS), vae + energy, rtol=1e-5)
        np.testing.assert_allclose(model.negative_elbo(x, SEEDS)["nelbo"], vae + energy, rtol=1e-5)

    def test_inpainting_keeps_what_is_seen(self, model):
        x = tf.constant(images(3))
        mask = np.zeros((8, 8, 1), np.float32)
        mask[:4] = 1
        filled = inpaint(model, x, mask, SEEDS, num_steps=4)
        np.testing.assert_array_equal(filled[:, :4], x[:, :4])
        assert np.all(np.isfinite(filled))


def test_the_potential_sees_noisy_images(model):
    noise = model.draw_start(SEEDS)
    space = NoiseSpace(model.vae.prepared(), smoothing=0.3)
    squares = lambda x: tf.reduce_sum(x**2, [1, 2, 3])  # noqa: E731
    plain = NoiseSpace(model.vae.prepared()).images(noise)
    normal = 0.5 * sum(
        np.sum(np.square(v), axis=tuple(range(1, v.ndim)))
        for v in (value.numpy() for value in noise.values())
    )
    wanted = np.sum(np.square(plain + 0.3 * noise["n"]), axis=(1, 2, 3)) + normal
    np.testing.assert_allclose(space.potential(squares, noise), wanted, rtol=1e-5)


def test_training_shows_the_energy_noise_on_both_sides(monkeypatch):
    model = tiny_vaebm(smoothing=0.3, spectral_coefficient=0.0, negatives="mean")
    model.build()
    seen, energies, chains, run_chain = [], model.energy.energies, [], training.run_chain
    object.__setattr__(model.energy, "energies", lambda w, x: seen.append(x) or energies(w, x))

    def recorded(*arguments, **options):
        chains.append(run_chain(*arguments, **options))
        return chains[-1]

    monkeypatch.setattr(training, "run_chain", recorded)
    x = tf.constant(images(4))
    model.training_loss({"images": x})
    both = seen[-1].numpy()
    added = both[:4] - x.numpy()
    assert abs(added.std() / 0.3 - 1.0) < 4 / np.sqrt(2 * added.size)
    # Exactly the noise coordinate that the chain moved along with the others.
    state = chains[-1].state
    means = 0.5 * NoiseSpace(model.vae.prepared()).decode(state)[0].loc + 0.5
    np.testing.assert_allclose(both[4:], means + 0.3 * state[SMOOTHING_NOISE], atol=1e-5)


def test_a_negative_deviation_is_refused():
    with pytest.raises(ConfigError, match="smoothing is -1"):
        tiny_vaebm(smoothing=-1)
