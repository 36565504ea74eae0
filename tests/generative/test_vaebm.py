"""VAEBM as a generator: noise in, images out; scores; what it refuses."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from tiny_nvae import tiny_nvae
from tiny_vaebm import ENERGY, images, tiny_vaebm

from tfgen.errors import ConfigError
from tfgen.generative.vaebm import VAEBM, EnergyNetwork, FrozenVAEBM
from tfgen.generative.vaebm.noise_space import NoiseSpace


@pytest.fixture(scope="module")
def model():
    result = tiny_vaebm(step_size=0.02)
    result.build()
    rng = np.random.default_rng(0)
    # An energy steep enough to move images.
    head = result.energy.head
    kernels = result.energy.bank.kernels[head.stack]
    kernels.assign(5.0 * rng.standard_normal(kernels.shape))
    return result


@pytest.fixture(scope="module")
def frozen(model):
    return model.frozen()


SEEDS = tf.constant([3, 4, 5])


class TestNoise:
    def test_spec(self, model):
        spec = model.noise_spec(5)
        names = [*model.groups, "x"]
        assert list(spec) == [*names, *(f"chain_{name}" for name in names)]
        assert spec["x"].shape == (5, 8, 8, 1)
        assert spec["chain_x"].shape == (5, 2, 8, 8, 1)
        noise = model.draw_noise(SEEDS)
        assert {n: tuple(v.shape[1:]) for n, v in noise.items()} == {
            n: tuple(s.shape[1:]) for n, s in spec.items()
        }

    def test_sampling_is_generation_from_the_seeds_noise(self, model):
        from_noise = model.generate(model.draw_noise(SEEDS))
        np.testing.assert_allclose(model.generate_from_seeds(SEEDS), from_noise, atol=1e-6)

    def test_batch_size_changes_no_noise(self, model):
        whole = model.draw_noise(SEEDS)
        for row in range(len(SEEDS)):
            for name, value in model.draw_noise(SEEDS[row : row + 1]).items():
                np.testing.assert_array_equal(value[0], whole[name][row], err_msg=name)

    def test_the_same_batch_size_gives_the_same_images(self, model):
        first = model.sample(5, seed=1, batch_size=2)
        np.testing.assert_array_equal(model.sample(5, seed=1, batch_size=2), first)

    def test_batch_size_changes_images_of_short_chains_by_rounding_alone(self, model):
        whole = model.sample(5, seed=1, batch_size=5)
        np.testing.assert_allclose(model.sample(5, seed=1, batch_size=2), whole, atol=1e-5)
        assert whole.shape == (5, 8, 8, 1)
        assert whole.min() >= 0
        assert whole.max() <= 1
        assert np.std(whole, axis=0).max() > 0

    def test_the_chain_matters(self, model):
        noise = dict(model.draw_noise(SEEDS))
        start = {name: noise[name] for name in model.noise_shapes}
        without = NoiseSpace(model.vae.prepared()).mean(start)
        assert np.max(np.abs(model.generate(noise) - without)) > 1e-3
        noise["chain_z_0"] = -noise["chain_z_0"]
        assert np.max(np.abs(model.generate(noise) - model.generate_from_seeds(SEEDS))) > 1e-4

    def test_no_steps_is_the_vae(self):
        still = tiny_vaebm(sample_steps=0)
        noise = still.draw_noise(SEEDS)
        assert "chain_x" not in noise
        vae_noise = {name: noise[name] for name in still.groups}
        np.testing.assert_allclose(still.generate(noise), still.vae.generate(vae_noise), atol=1e-6)

    def test_samples_or_means(self, model):
        drawn = VAEBM(model.vae, model.energy, sample_steps=2, step_size=0.02, output="sample")
        noise = model.draw_noise(SEEDS)
        assert np.max(np.abs(drawn.generate(noise) - model.generate(noise))) > 1e-3

    def test_temperature_reaches_the_prior(self, model):
        cold, warm = (model.generate_from_seeds(SEEDS, t).numpy() for t in (0.0, 1.0))
        assert np.std(cold, axis=0).max() < np.std(warm, axis=0).max()

    def test_diagnostics(self, model):
        _, chain = model.sample_with_diagnostics(SEEDS)
        assert chain.trace.energy.shape == (2, 3)
        assert np.all(chain.trace.energy[1] != chain.trace.energy[0])


class TestFrozen:
    def test_is_a_module(self, frozen):
        assert isinstance(frozen, FrozenVAEBM)
        assert isinstance(frozen, tf.Module)
        assert len(frozen.variables) > 10

    def test_equals_live(self, model, frozen):
        noise = model.draw_noise(SEEDS)
        np.testing.assert_allclose(frozen.generate(noise), model.generate(noise), atol=1e-4)
        batch = images(3)
        np.testing.assert_allclose(frozen.energy_of(batch), model(batch), rtol=1e-4, atol=1e-4)

    def test_unrolled_equals_loop(self, model, frozen):
        noise = model.draw_noise(SEEDS)
        unrolled = frozen.without_loops()
        assert unrolled.sampler.unroll
        assert not frozen.sampler.unroll
        np.testing.assert_allclose(unrolled.generate(noise), frozen.generate(noise), atol=1e-5)

    def test_later_training_changes_nothing(self, model):
        copy = model.frozen()
        before = copy.energy_of(images(2)).numpy()
        bias = model.energy.bank.biases[1]
        bias.assign(bias + 1.0)
        np.testing.assert_array_equal(copy.energy_of(images(2)), before)
        bias.assign(bias - 1.0)


class TestScores:
    def test_bound_is_that_of_the_vae_minus_energy_and_log_z(self, model):
        batch = tf.constant(images(3))
        model.log_z.assign(2.5)
        bound = model.negative_elbo(batch, SEEDS)["nelbo"]
        expected = model.vae.negative_elbo(batch, SEEDS)["nelbo"] + model(batch) + 2.5
        np.testing.assert_allclose(bound, expected, rtol=1e-5)
        weights = model.log_weights(batch, SEEDS)
        np.testing.assert_allclose(
            weights, model.vae.log_weights(batch, SEEDS) - model(batch) - 2.5, rtol=1e-5
        )
        model.log_z.assign(0.0)

    def test_posterior_is_that_of_the_vae(self, model):
        # h(z|x) = p(z|x): whatever z the encoder draws, the weight changes by the same E + log Z.
        batch = tf.constant(images(3))
        differences = [
            model.log_weights(batch, seeds) - model.vae.log_weights(batch, seeds)
            for seeds in (SEEDS, SEEDS + 10)
        ]
        np.testing.assert_allclose(differences[0], differences[1], rtol=1e-3, atol=1e-2)

    def test_ood_score_is_larger_for_the_worse(self, model):
        batch = tf.constant(images(3))
        score = model.ood_score(batch, SEEDS)
        np.testing.assert_allclose(score, -model.unnormalized_log_density(batch, SEEDS))
        bias = model.energy.bank.biases[1]
        bias.assign(bias + 4.0)  # a larger energy everywhere: less likely everywhere
        np.testing.assert_allclose(model.ood_score(batch, SEEDS), score + 4.0, rtol=1e-4)
        bias.assign(bias - 4.0)


def test_zero_energy_leaves_the_noise_as_it_is():
    # Langevin dynamics of a standard normal: variance 1 / (1 - eta / 4), which 0.02 hides here.
    model = tiny_vaebm(step_size=0.02, sample_steps=5)
    model.build()
    stack = model.energy.bank.kernels[model.energy.head.stack]
    stack.assign(np.zeros(stack.shape))
    model.energy.bank.biases[1].assign([[0.0]])
    seeds = tf.constant(model.seeds_for(400))
    _, chain = tf.function(model.sample_with_diagnostics, autograph=False)(seeds)
    for value in chain.state.values():
        sample = value.numpy().ravel()[::7]
        assert stats.kstest(sample, "norm").pvalue > 0.01
    still = VAEBM(model.vae, model.energy, sample_steps=0)
    means = [m.sample(400, seed=seed).mean(axis=(1, 2, 3)) for m, seed in ((model, 0), (still, 1))]
    assert stats.ks_2samp(*means).pvalue > 0.01


def test_official_potential_is_the_exact_one_less_the_jacobian(model):
    # Where no deviation is below the floor and nothing is clipped, they differ by log|det T| and
    # constants only; here the top group's part of it is constant, so gradients differ below.
    noise = {
        n: tf.constant(v) for n, v in model.draw_noise(SEEDS).items() if n in model.noise_shapes
    }
    space = NoiseSpace(model.vae.prepared())
    flat = lambda x: 0.0 * tf.reduce_sum(x, [1, 2, 3])  # noqa: E731
    distribution, log_scale = space.decode(noise)
    exact = space.potential(flat, noise)
    official = space.potential(flat, noise, "official")
    images = distribution.sample_from_noise(noise["x"])
    standardized = (2 * images - 1 - distribution.loc) / distribution.scale
    terms = 0.5 * standardized**2 - 0.5 * noise["x"] ** 2 + tf.math.log(distribution.scale)
    count = sum(int(np.prod(v.shape[1:])) for v in noise.values())
    jacobian = log_scale + tf.reduce_sum(terms, [1, 2, 3]) + 0.5 * np.log(2 * np.pi) * count
    assert np.all(distribution.scale > 0.146)
    np.testing.assert_allclose(official, exact + jacobian, rtol=1e-5)


def test_gradient_passes_through_the_whole_decoder(model):
    # Along random directions, against central differences; float32 leaves three digits.
    noise = model.draw_start(SEEDS)
    space, energy = NoiseSpace(model.vae.prepared()), model.ready().energy
    with tf.GradientTape() as tape:
        tape.watch(noise)
        values = space.potential(energy, noise)
    gradients = tape.gradient(values, noise)
    rng = np.random.default_rng(0)
    for name in noise:
        direction = rng.standard_normal(noise[name].shape).astype(np.float32)
        ends = [
            space.potential(energy, {**noise, name: noise[name] + h * direction})
            for h in (1e-2, -1e-2)
        ]
        numeric = (ends[0] - ends[1]) / 2e-2
        exact = np.sum(gradients[name] * direction, axis=(1, 2, 3))
        np.testing.assert_allclose(numeric, exact, rtol=0.02, atol=0.02 * np.abs(exact).max())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vae": {"decoder": "bernoulli"}}, "decoder='normal'"),
        ({"num_steps": 0}, "at least 1"),
        ({"potential": "kinetic"}, "exact, official"),
        ({"negatives": "median"}, "sample, mean"),
        ({"energy": 3}, "EnergyNetwork"),
        ({"energy": {**ENERGY, "image_shape": (4, 4, 1)}}, "the VAE makes"),
    ],
)
def test_refuses(options, message):
    options = dict(options)
    vae = tiny_nvae(**{"image_shape": (8, 8, 1), "decoder": "normal", **options.pop("vae", {})})
    with pytest.raises(ConfigError, match=message):
        VAEBM(vae, **options)


def test_refuses_what_is_no_vae():
    with pytest.raises(ConfigError, match="walk_prior"):
        VAEBM(EnergyNetwork((8, 8, 1), **ENERGY))
