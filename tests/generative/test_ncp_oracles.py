"""NCP-VAE where everything is known: exact ratios, then classifiers that have to find them.

Sampling tests allow five standard errors (false alarm below 1e-6, seeds fixed).
"""

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
from toy_vae import ExactNCP, ToyVAE, narrow, narrow_images, ring, ring_images

from tfgen.generative import check_walk
from tfgen.generative.ncp import NCPVAE
from tfgen.samplers import importance_resampling

TABLE = {  # M -> mean and standard deviation of the chosen z, and their Monte Carlo errors
    1: (0.0, 1.0, 0.0005),
    2: (0.4885, 0.7850, 0.0006),
    5: (0.8473, 0.5910, 0.0007),
    20: (0.9786, 0.5136, 0.0011),
    100: (0.9999, 0.5014, 0.0025),
}


def latents(model, count, seed=0):
    """z of the first group of `count` samples of a toy: the decoder's mean is z itself."""
    return model.sample(count, seed=seed, batch_size=2000).reshape(count, -1)


@pytest.mark.parametrize(
    "num_proposals", [pytest.param(n, marks=pytest.mark.slow if n == 100 else ()) for n in TABLE]
)
def test_resampling_converges_to_the_narrow_normal(num_proposals):
    mean, deviation, error = TABLE[num_proposals]
    count = 20_000
    z = latents(ExactNCP(ToyVAE(), [narrow], num_proposals), count)[:, 0]
    assert z.mean() == pytest.approx(mean, abs=5 * np.hypot(error, deviation / np.sqrt(count)))
    assert z.std() == pytest.approx(
        deviation, abs=5 * np.hypot(error, deviation / np.sqrt(2 * count))
    )


@pytest.mark.parametrize(
    ("num_proposals", "hole", "mean", "deviation"),
    [
        (1, 0.333, 1.2525, 0.655),
        (2, 0.149, 1.3698, 0.444),
        (5, 0.0166, 1.4697, 0.274),
        (20, 0.0016, 1.4972, 0.209),
        pytest.param(100, 0.0014, 1.4995, 0.202, marks=pytest.mark.slow),
    ],
)
def test_resampling_empties_the_hole_of_the_ring(num_proposals, hole, mean, deviation):
    count = 20_000
    points = latents(ExactNCP(ToyVAE(dims=2), [ring], num_proposals), count)
    radius = np.linalg.norm(points, axis=1)
    spread = deviation / np.sqrt(count)
    assert np.mean(radius < 0.9) == pytest.approx(
        hole, abs=0.001 + 5 * np.sqrt(hole * (1 - hole) / count)
    )
    assert radius.mean() == pytest.approx(mean, abs=0.001 + 5 * spread)
    assert radius.std() == pytest.approx(deviation, abs=0.001 + 5 * spread)


def test_diagnostics_of_the_ring():
    model = ExactNCP(ToyVAE(dims=2), [ring], 2000, chunk_size=512)
    run = tf.function(model.sample_with_diagnostics, autograph=False)
    images, went = run(tf.range(20))
    assert images.shape == (20, 1, 2, 1)
    np.testing.assert_allclose(np.mean(went["log_mean_weight"]), 0.0, atol=0.05)
    share = np.mean(went["effective_sample_size"]) / 2000
    assert share == pytest.approx(0.3378, abs=0.03)


def test_hierarchy_of_two_binary_groups():
    """Ancestral resampling with both ratios gives q; the gain adds up to KL(q || p)."""
    r1, r2 = np.array([1.6, 0.4]), np.array([[1.8, 0.2], [0.6, 1.4]])
    q = np.array([0.72, 0.08, 0.06, 0.14])
    count, rng = 20_000, np.random.default_rng(0)

    def choose(table):
        states = tf.constant(rng.integers(0, 2, (count, 200)))
        uniforms = tf.constant(rng.random((count, 200)), tf.float32)
        table = tf.constant(np.log(table), tf.float32)
        rows = tf.range(count)

        def log_weight(s):
            if table.shape.rank == 1:
                return tf.gather(table, s)
            return tf.gather(tf.gather(table, rows), s, axis=1, batch_dims=1)

        return importance_resampling(log_weight, states, uniforms).sample.numpy()

    z1 = choose(r1)
    z2 = choose(r2[z1])
    found = np.bincount(2 * z1 + z2, minlength=4) / count
    assert np.all(np.abs(found - q) < 0.002 + 5 * np.sqrt(q * (1 - q) / count))
    gain = np.array([0.8, 0.2]) @ np.log(r1) + q @ np.log(r2.ravel())
    assert gain == pytest.approx(0.5036527, abs=1e-7)
    assert gain == pytest.approx(np.sum(q * np.log(q / 0.25)))


class TestLikelihood:
    """x = 0 under N(z, 1) and a prior that is N(1, 1/4) by reweighting N(0, 1)."""

    def bound(self, model, num_samples, repeats=40):
        images = tf.zeros((num_samples * repeats, 1, 1, 1))
        score = tf.function(model.log_weights, autograph=False)
        weights = score(images, tf.range(num_samples * repeats)).numpy()
        grouped = weights.reshape(repeats, num_samples).astype(np.float64)
        values = scipy.special.logsumexp(grouped, axis=1) - np.log(num_samples)
        return values.mean(), values.std() / np.sqrt(repeats)

    def test_rises_to_the_exact_marginal(self):
        exact = scipy.stats.norm(1, np.sqrt(1.25)).logpdf(0)
        assert exact == pytest.approx(-1.4305103, abs=1e-7)
        model = ExactNCP(ToyVAE(noise=0.7), [narrow], 100)
        bounds = [self.bound(model, k) for k in (1, 10, 200)]
        means = [mean for mean, _ in bounds]
        assert means[0] < means[1] < means[2]
        # M = 100 leaves the sampler's own law within 0.02 of its limit at this point.
        assert means[2] == pytest.approx(exact, abs=0.02 + 5 * bounds[2][1])

    def test_without_classifiers_it_is_that_of_the_plain_prior(self):
        exact = scipy.stats.norm(0, np.sqrt(2)).logpdf(0)
        assert exact == pytest.approx(-1.2655121, abs=1e-7)
        model = ExactNCP(ToyVAE(noise=0.7), [lambda z: 0.0 * z[..., 0]], 1)
        mean, error = self.bound(model, 200)
        assert mean == pytest.approx(exact, abs=0.005 + 5 * error)

    def test_bounds_of_one_m_are_ordered(self):
        """NELBO of the sampler <= its importance-weighted likelihood, at any M."""
        for count in (2, 20):
            model = ExactNCP(ToyVAE(noise=0.7), [narrow], count)
            assert self.bound(model, 1, 2000)[0] < self.bound(model, 50)[0]

    def test_gain_of_exact_ratios_is_kl_q_p(self):
        model = ExactNCP(ToyVAE(), [narrow], 1000, chunk_size=1000)
        score = tf.function(lambda x, s: model.posterior_terms(x, s).gain, autograph=False)
        gain = score(narrow_images(2000), tf.range(2000)).numpy()[:, 0]
        tolerance = float(0.005 + 5 * gain.std() / 2000**0.5)
        assert gain.mean() == pytest.approx(0.8181472, abs=tolerance)


# -- classifiers that have to learn it ------------------------------------------------------------


def trained(images, vae=None, steps=1200, learning_rate=2e-3, batch_size=512, **options):
    """An NCP-VAE trained on given "images", with averaged weights in place at the end."""
    options = {"width": 64, "dropout": 0.0, **options}
    model = NCPVAE(vae or ToyVAE(dims=images.shape[2]), **options)
    model.build()
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps, alpha=0.01)
    model.compile(keras.optimizers.Adam(schedule), steps_per_execution=50)
    whole = len(images) // batch_size * batch_size  # independent draws: any order will do
    batches = images[:whole].reshape(-1, batch_size, *images.shape[1:])
    data = tf.data.Dataset.from_tensor_slices({"images": batches}).repeat()
    model.fit(data, steps_per_epoch=steps, epochs=1, verbose=0, shuffle=False)
    return model


def held_out(model, images):
    """Means of what evaluation reports."""
    logs = tf.function(model.evaluation_logs, autograph=False)({"images": images})
    return {name: np.mean(value, axis=0) for name, value in logs.items()}


def log_z(model, count=200_000):
    """log of the mean of r over prior draws of the first group."""
    z = tf.random.stateless_normal((count, model.vae.dims), (1, 2))
    zeros = tf.zeros_like(z)
    ready = model.ready()
    prior = model.vae._prior(0, None, count)
    log_r = ready.log_ratio(prior)(tf.expand_dims(z + zeros, 1))[:, 0]
    return scipy.special.logsumexp(np.float64(log_r)) - np.log(count)


@pytest.fixture(scope="module")
def one_dimension():
    return trained(narrow_images(200_000))


def test_learns_the_ratio_of_two_normals(one_dimension):
    """One group in one dimension, by quadrature."""
    images = narrow_images(20_000, seed=9)
    found = held_out(one_dimension, images)
    # 0.4691634 is the optimum; a sample of 20,000 knows it to 0.003.
    z = images.reshape(-1, 1)
    exact = narrow(tf.constant(z)).numpy()
    learned = one_dimension.log_ratio({"z_0": tf.constant(z)}).numpy()[:, 0]
    assert np.mean(np.abs(learned - exact)) < 0.15
    assert found["bce"] == pytest.approx(0.4691634, abs=0.005 + 0.003)
    assert found["accuracy_per_group"][0] == pytest.approx(0.7733059, abs=0.01)
    normalizer = log_z(one_dimension)
    assert abs(normalizer) < 0.05
    assert np.mean(learned) - normalizer == pytest.approx(0.8181472, abs=0.03)


def test_negatives_are_counted(one_dimension):
    """With nu = 4 log r is the same; without log nu it would be off by log 4."""
    del one_dimension
    model = trained(narrow_images(200_000), num_negatives=4)
    assert abs(log_z(model)) < 0.05


def test_a_constant_in_every_logit(one_dimension):
    """Samples and gain stay, log Z and E_q log r move by it."""
    images = narrow_images(500, seed=3)
    before = one_dimension.sample(200), held_out(one_dimension, images)
    head = one_dimension.classifiers[0].head
    biases = one_dimension.banks[0].biases[1]
    shift = np.zeros(biases.shape, np.float32)
    shift[head.bias_row] = 1.5
    start = log_z(one_dimension)
    biases.assign_add(shift)
    try:
        after = one_dimension.sample(200), held_out(one_dimension, images)
        assert log_z(one_dimension) - start == pytest.approx(1.5, abs=1e-4)
    finally:
        biases.assign_sub(shift)
    np.testing.assert_array_equal(before[0], after[0])
    moved = after[1]["log_ratio_per_group"] - before[1]["log_ratio_per_group"]
    np.testing.assert_allclose(moved, 1.5, atol=1e-4)
    assert after[1]["elbo_gain"] == pytest.approx(before[1]["elbo_gain"], abs=1e-5)


@pytest.mark.slow
def test_learns_the_ring():
    """The trained classifier empties the hole and keeps the ring round."""
    model = trained(ring_images(50_000), steps=1500, num_proposals=100)
    points = latents(model, 4000)
    assert np.mean(np.linalg.norm(points, axis=1) < 0.9) < 0.02
    angles = np.arctan2(points[:, 1], points[:, 0])
    resultant = np.abs(np.mean(np.exp(1j * angles)))
    assert np.exp(-len(points) * resultant**2) > 0.01  # Rayleigh test


def test_nothing_to_learn_where_prior_and_posterior_agree():
    """Cross-entropy log 2, accuracy one half, samples those of the prior."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((200_000, 1, 1, 1)).astype(np.float32)
    model = trained(images, steps=800, num_proposals=50)
    fresh = rng.standard_normal((20_000, 1, 1, 1)).astype(np.float32)
    found = held_out(model, fresh)
    assert found["bce"] == pytest.approx(np.log(2), abs=0.005)
    assert found["accuracy_per_group"][0] == pytest.approx(0.5, abs=0.02)
    assert found["elbo_gain"] < 0.01
    sample = latents(model, 4000)[:, 0]
    assert scipy.stats.kstest(sample, "norm").pvalue > 0.01


class TestContext:
    """The second group's posterior follows the first group, its prior does not."""

    def images(self, seed=0):
        return np.random.default_rng(seed).standard_normal((50_000, 1, 1, 1)).astype(np.float32)

    @pytest.mark.slow
    def test_it_helps_and_carries_no_label(self):
        fresh = self.images(5)[:20_000]
        losses = {}
        for context in (True, False):
            vae = ToyVAE(num_groups=2, context=context)
            model = trained(self.images(), vae, steps=300, batch_size=256)
            losses[context] = held_out(model, fresh)["bce_per_group"]
        assert losses[True][1] < losses[False][1] - 0.1
        # Of the first group there is nothing to tell in either case.
        assert abs(losses[True][0] - np.log(2)) < 0.01

    def test_an_image_is_judged_by_its_own_context(self):
        vae = ToyVAE(num_groups=2)
        model = NCPVAE(vae, width=16)
        images = tf.constant(self.images()[:6])
        walk = vae.walk_posterior(images, vae.draw_noise(tf.range(6)))
        latents = dict(zip(vae.groups, walk.latents))
        order = [3, 1, 0, 5, 4, 2]
        permuted = {name: tf.gather(z, order) for name, z in latents.items()}
        np.testing.assert_allclose(
            model.log_ratio(permuted), tf.gather(model.log_ratio(latents), order), rtol=1e-5
        )

    def test_contexts_of_other_images_are_caught(self):
        class Leaky(ToyVAE):
            def _prior(self, index, first, batch):
                prior = super()._prior(index, first, batch)
                if index and len(first) > 1 and self.leaks:
                    prior = type(prior)(index, prior.loc, prior.scale, tf.roll(first, 1, axis=0))
                return prior

            def walk_posterior(self, images, noise):
                self.leaks = True
                try:
                    return super().walk_posterior(images, noise)
                finally:
                    self.leaks = False

        images, seeds = tf.constant(self.images()[:6]), tf.range(6)
        check_walk(ToyVAE(num_groups=2), images, seeds)
        leaky = Leaky(num_groups=2)
        leaky.leaks = False
        with pytest.raises(ValueError, match="context of 'z_1'"):
            check_walk(leaky, images, seeds)
