"""UNAS's gradient: exact where it can be, and without bias where it is drawn."""

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from tfgen.errors import ConfigError, UserError
from tfgen.search.unas import (
    ArchitectureDistribution,
    Architectures,
    GumbelSoftmax,
    Reinforce,
    UnbiasedEstimator,
)
from tfgen.search.unas.distribution import draw, log_probabilities

TEMPERATURE = 0.4
THETA = np.array([0.2, -0.5, 0.8])


def uniforms(*shape, seed=1):
    return tf.constant(np.random.default_rng(seed).random(shape))


def curved(z):
    """L(z) = (c.z - 0.4)^2 of one factor."""
    return (tf.linalg.matvec(z[:, 0], tf.constant([1.0, 2.5, -0.5], tf.float64)) - 0.4) ** 2


def slopes(estimator, logits, loss, noise, temperature=TEMPERATURE, scale=1.0):
    """The estimate of every draw for itself, `[B, factors, choices]`.

    Every draw has logits of its own, so that a mean over draws leaves their gradients apart.
    """
    rows = tf.tile(tf.constant(logits)[None], [noise.shape[0], 1, 1])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(rows)
        log_p = log_probabilities(rows)
        discrete, relaxed = draw(log_p, noise, temperature, estimator.corrected)
        drawn = Architectures(
            {"all": discrete}, {"all": relaxed}, tf.reduce_sum(discrete * log_p, [1, 2])
        )
        losses = [loss(discrete), loss(relaxed)]
        fixed, control = estimator.objectives(drawn, *losses)
    count = float(noise.shape[0])
    found = count * tape.gradient(fixed, rows)
    if control is not None:
        found += scale * count * tape.gradient(control, rows)
    return found.numpy()


class TestOneFactor:
    """theta = (0.2, -0.5, 0.8), 1e6 draws, 3 standard errors: 1 false alarm in 120 a case."""

    exact = np.array([-0.257052, 0.478362, -0.221310])
    count = 1_000_000

    def found(self, estimator, temperature=TEMPERATURE):
        noise = uniforms(self.count, 1, 3)
        return slopes(estimator, THETA[None], curved, noise, temperature)[:, 0]

    def test_exact_gradient(self):
        p = scipy.special.softmax(THETA)
        losses = curved(tf.eye(3, dtype=tf.float64)[:, None]).numpy()
        np.testing.assert_allclose(p, [0.301322, 0.149632, 0.549045], atol=1e-6)
        np.testing.assert_allclose(losses, [0.36, 4.41, 0.81], atol=1e-12)
        np.testing.assert_allclose(p * (losses - p @ losses), self.exact, atol=1e-6)

    @pytest.mark.parametrize(
        ("estimator", "variance"),
        [(UnbiasedEstimator(), 3.77), (Reinforce("none"), 3.05)],
        ids=["unas", "reinforce"],
    )
    def test_without_bias(self, estimator, variance):
        found = self.found(estimator)
        error = found.std(0) / np.sqrt(self.count)
        assert (np.abs(found.mean(0) - self.exact) < 3 * error).all()
        np.testing.assert_allclose(found.var(0).sum(), variance, rtol=0.01)

    def test_the_relaxed_gradient_alone_is_biased(self):
        found = self.found(GumbelSoftmax())
        assert 0.15 < np.abs(found.mean(0) - self.exact).max() < 0.18
        np.testing.assert_allclose(found.var(0).sum(), 1.77, rtol=0.02)

    def test_so_it_is_without_the_correction(self):
        class Uncorrected(UnbiasedEstimator):
            corrected = False

        found = self.found(Uncorrected())
        assert 0.008 < np.abs(found.mean(0) - self.exact).max() < 0.014
        np.testing.assert_allclose(found.var(0).sum(), 4.27, rtol=0.01)

    @pytest.mark.parametrize(("temperature", "variance"), [(0.2, 6.24), (1.0, 2.65)])
    def test_variance_by_temperature(self, temperature, variance):
        found = self.found(UnbiasedEstimator(), temperature)
        np.testing.assert_allclose(found.var(0).sum(), variance, rtol=0.02)

    def test_leave_one_out_has_no_bias_and_less_variance(self):
        """Draws by fours, of which each has the three others' mean."""
        noise = uniforms(200_000, 4, 1, 3, seed=2)

        @tf.function(autograph=False)
        def estimate(noise):
            theta = tf.constant(THETA[None])
            with tf.GradientTape() as tape:
                tape.watch(theta)
                log_p = log_probabilities(theta)
                discrete, relaxed = draw(log_p, noise, TEMPERATURE)
                log_prob = tf.reduce_sum(discrete * log_p, [1, 2])
                drawn = Architectures({}, {}, log_prob)
                losses = curved(discrete), curved(relaxed)
                fixed, control = UnbiasedEstimator(leave_one_out=True).objectives(drawn, *losses)
                total = fixed + control
            return tape.gradient(total, theta)[0]

        found = tf.vectorized_map(estimate, noise).numpy()
        error = found.std(0) / np.sqrt(len(found))
        assert (np.abs(found.mean(0) - self.exact) < 3 * error).all()
        assert found.var(0).sum() < 0.95 * 3.77 / 4


class TestManyFactors:
    """21 factors of 7: a loss that is nearly additive, as architectures' are."""

    rng = np.random.default_rng(0)
    theta = rng.normal(0, 0.5, (21, 7))
    own = tf.constant(rng.normal(0, 0.1, (21, 7)))
    pairs = tf.constant(rng.normal(0, 0.05, (20, 7, 7)))
    count = 10_000

    def loss(self, z):
        alone = tf.einsum("bfk,fk->b", z, self.own)
        return 2.0 + alone + tf.einsum("bfk,fkl,bfl->b", z[:, :-1], self.pairs, z[:, 1:])

    def exact(self):
        """The expected loss is multilinear: that of the probabilities."""
        theta = tf.constant(self.theta)
        with tf.GradientTape() as tape:
            tape.watch(theta)
            value = self.loss(tf.nn.softmax(theta)[None])[0]
        return tape.gradient(value, theta).numpy(), float(value)

    def found(self, estimator, loss=None, **options):
        noise = uniforms(self.count, 21, 7, seed=3)
        return slopes(estimator, self.theta, loss or self.loss, noise, **options)

    def test_variance(self):
        exact, mean = self.exact()
        ours = self.found(UnbiasedEstimator())
        baselined = self.found(Reinforce("none"), lambda z: self.loss(z) - mean)
        plain = self.found(Reinforce("none"))
        variances = [x.var(0).sum() for x in (ours, baselined, plain)]
        assert variances[0] < 0.4 * variances[1]
        # Known of another draw of the coefficients: 0.77, 3.15 and 89.
        np.testing.assert_allclose(variances[0] / variances[1], 0.77 / 3.15, rtol=0.1)
        assert variances[2] > 10 * variances[1]
        # 147 coordinates: the largest of as many standard normals is above 4.5 once in a thousand.
        errors = ours.std(0) / np.sqrt(self.count)
        assert (np.abs(ours.mean(0) - exact) / errors).max() < 4.5

    def test_a_tuned_scale_is_no_worse(self):
        """Minus the covariance over the variance of the control variate, from running means."""
        estimator = UnbiasedEstimator(tuned=True, momentum=0.5)
        fixed, both = (self.found(UnbiasedEstimator(), scale=s) for s in (0.0, 1.0))
        control = both - fixed
        best = -np.sum(fixed * control) / np.sum(control**2)
        assert float(estimator.current_scale()) == 1.0
        for a, b in zip(fixed[:64].reshape(2, 32, 21, 7), control[:64].reshape(2, 32, 21, 7)):
            first = estimator.combine([tf.constant(a)], [tf.constant(b)])
        assert first[0].shape == (32, 21, 7)
        np.testing.assert_allclose(estimator.current_scale(), best, atol=0.1)
        assert (fixed + best * control).var(0).sum() <= both.var(0).sum()
        again = UnbiasedEstimator.from_config(estimator.get_config())
        again.build()
        again.set_weights(estimator.get_weights())
        assert float(again.current_scale()) == float(estimator.current_scale())

    def test_a_constant_changes_no_draw(self):
        few = slice(0, 100)
        noise = uniforms(100, 21, 7, seed=3)
        moved = slopes(UnbiasedEstimator(), self.theta, lambda z: self.loss(z) + 100.0, noise)
        ours = slopes(UnbiasedEstimator(), self.theta, self.loss, noise)[few]
        np.testing.assert_allclose(moved, ours, atol=1e-11)
        other = slopes(Reinforce("none"), self.theta, lambda z: self.loss(z) + 100.0, noise)
        assert np.abs(other - slopes(Reinforce("none"), self.theta, self.loss, noise)).max() > 1


def three_terms(theta, noise, loss, tau):
    """The estimate as it is written: with the noise that led to z recovered, and three terms."""
    k = tf.argmax(log_probabilities(theta) - tf.math.log(-tf.math.log(noise)), -1)
    one_hot = tf.one_hot(k, theta.shape[-1], dtype=theta.dtype)
    p = tf.nn.softmax(theta)
    log_v_k = tf.reduce_sum(one_hot * tf.math.log(noise) / p, -1, keepdims=True)
    log_v = tf.stop_gradient(tf.where(one_hot > 0, log_v_k, tf.math.log(noise) - p * log_v_k))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(theta)
        log_p, p = log_probabilities(theta), tf.nn.softmax(theta)
        g = log_p - tf.math.log(-tf.math.log(noise))
        own = -tf.math.log(-log_v)
        others = -tf.math.log(-log_v / p - tf.reduce_sum(one_hot * log_v, -1, keepdims=True))
        conditional = tf.where(one_hot > 0, own, others)
        first, second = (loss(tf.nn.softmax(x / tau)) for x in (g, conditional))
        score = tf.reduce_sum(one_hot * log_p, [1, 2]) * tf.stop_gradient(loss(one_hot) - second)
        total = score + first - second
    np.testing.assert_allclose(conditional, g, atol=1e-11)
    return tape.gradient(total, theta).numpy()


@pytest.mark.parametrize(("dtype", "tolerance"), [(tf.float64, 1e-12), (tf.float32, 2e-5)])
def test_one_factor_replaces_recovered_noise(dtype, tolerance):
    many = TestManyFactors()
    noise = uniforms(50, 21, 7, seed=4)
    ours = slopes(UnbiasedEstimator(), many.theta, many.loss, noise)
    written = three_terms(tf.tile(tf.constant(many.theta)[None], [50, 1, 1]), noise, many.loss, 0.4)
    np.testing.assert_allclose(ours, written, atol=1e-11)
    # The cotangent's factor, in the precision of searches.
    perturbed = tf.cast(log_probabilities(many.theta) - tf.math.log(-tf.math.log(noise)), dtype)
    with tf.GradientTape() as tape:
        logits = tf.zeros([50, 21, 7], dtype)
        tape.watch(logits)
        one_hot, relaxed = draw(tf.nn.log_softmax(logits), tf.cast(noise, dtype), 0.4)
        value = tf.reduce_sum(relaxed**3)
    assert perturbed.dtype == dtype
    found = tape.gradient(value, logits)
    wide = tf.constant(np.zeros([50, 21, 7]))
    with tf.GradientTape() as tape:
        tape.watch(wide)
        value = tf.reduce_sum(draw(tf.nn.log_softmax(wide), noise, 0.4)[1] ** 3)
    np.testing.assert_allclose(found, tape.gradient(value, wide), atol=tolerance)
    assert (tf.argmax(relaxed, -1).numpy() == tf.argmax(one_hot, -1).numpy()).all()


def test_draws_have_the_probabilities():
    """Within 3 standard errors of 200,000 draws; P = 0.3, 0.15, 0.55."""
    noise = uniforms(200_000, 1, 3, seed=5)
    one_hot, relaxed = draw(log_probabilities(THETA[None]), noise)
    p = scipy.special.softmax(THETA)
    shares = one_hot.numpy()[:, 0].mean(0)
    assert (np.abs(shares - p) < 3 * np.sqrt(p * (1 - p) / 200_000)).all()
    np.testing.assert_allclose(tf.reduce_sum(relaxed, -1), 1.0, rtol=1e-6)
    # Given the choice, fresh noise gives relaxed draws of the same law (Kolmogorov-Smirnov).
    v, k = np.random.default_rng(6).random((200_000, 3)), np.argmax(one_hot[:, 0], -1)
    chosen = np.arange(3) == k[:, None]
    log_v_k = np.log(v[np.arange(len(v)), k])[:, None]
    g = np.where(chosen, -np.log(-log_v_k), -np.log(-np.log(v) / p - log_v_k))
    assert (g.argmax(1) == k).all()
    fresh = scipy.special.softmax(g / TEMPERATURE, axis=1)
    for choice in range(3):
        mine, other = relaxed.numpy()[k == choice, 0, choice], fresh[k == choice, choice]
        assert scipy.stats.ks_2samp(mine, other).pvalue > 0.001


class TestDistribution:
    cells = {  # noqa: RUF012
        f"{kind}/{node}/{what}": (2, node + 2 if what == "input" else 7)
        for kind in ("normal", "reduction")
        for node in range(4)
        for what in ("input", "operation")
    }

    @pytest.mark.parametrize("softening", [0.0, 0.08])
    @pytest.mark.parametrize(
        ("groups", "entropy"),
        [
            (cells, 50.285),
            ({k: (n, 5 if m == 7 else m) for k, (n, m) in cells.items()}, 44.901),
            ({"normal": (15, 7), "reduction": (6, 6)}, 39.939),
        ],
    )
    def test_starts_uniform(self, groups, entropy, softening):
        model = ArchitectureDistribution(groups, softening=softening)
        np.testing.assert_allclose(model.entropy(), entropy, atol=5e-4)
        drawn = model.sample(3, seed=(0, 1))
        np.testing.assert_allclose(drawn.log_prob, -entropy, atol=5e-4)
        assert model.num_factors == sum(count for count, _ in groups.values())

    @pytest.mark.parametrize("softening", [0.0, 0.08])
    def test_gradient_of_log_p(self, softening):
        model = ArchitectureDistribution({"a": (2, 3)}, softening=softening)
        model.build()
        theta = np.array([THETA, THETA[::-1]], np.float32)
        model.logits["a"].assign(theta)
        z = tf.one_hot([[0, 2]], 3)
        with tf.GradientTape() as tape:
            value = model.log_prob({"a": z})[0]
        found = tape.gradient(value, model.logits["a"].value)

        def log_prob(theta):
            q = scipy.special.softmax(theta, axis=1) + softening
            return np.sum(z[0].numpy() * np.log(q / q.sum(1, keepdims=True)))

        if not softening:
            expected = z[0] - scipy.special.softmax(theta, axis=1)
        else:
            wide, step = theta.astype(np.float64), 1e-6 * np.eye(6).reshape(6, 2, 3)
            expected = [(log_prob(wide + d) - log_prob(wide - d)) / 2e-6 for d in step]
            expected = np.reshape(expected, (2, 3))
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_softening_leaves_something_to_all(self):
        log_p = log_probabilities(tf.constant([[50.0] + [0.0] * 6]), 0.08)
        np.testing.assert_allclose(tf.exp(log_p[0, 0]), 0.6923, atol=5e-5)
        np.testing.assert_allclose(tf.exp(log_p[0, 1:]), 0.0513, atol=5e-5)

    def test_keeps_its_logits(self):
        model = ArchitectureDistribution({"a/b": (2, 3)}, temperature=0.7, softening=0.1)
        again = ArchitectureDistribution.from_config(model.get_config())
        assert again.get_config() == model.get_config()
        model.build()
        again.build()
        model.logits["a/b"].assign(np.ones((2, 3)) * THETA)
        again.set_weights(model.get_weights())
        ours, other = (m.sample(4, seed=(1, 2)) for m in (model, again))
        np.testing.assert_array_equal(ours.relaxed["a/b"], other.relaxed["a/b"])
        np.testing.assert_array_equal(again.most_probable()["a/b"], [2, 2])

    def test_refuses(self):
        with pytest.raises(ConfigError, match="temperature is 0"):
            ArchitectureDistribution({"a": (1, 2)}, temperature=0)
        with pytest.raises(ConfigError, match="choices of group 'a' is 0"):
            ArchitectureDistribution({"a": (1, 0)})
        with pytest.raises(ConfigError, match="baseline is 'mean'"):
            Reinforce("mean")
        with pytest.raises(UserError, match="draw at least two"):
            Reinforce("leave_one_out").objectives(Architectures({}, {}, tf.zeros(1)), tf.zeros(1))


def test_average_baseline_is_that_of_earlier_steps():
    estimator = Reinforce()
    drawn = Architectures({}, {}, tf.constant([1.0, 2.0]))
    first, _ = estimator.objectives(drawn, tf.constant([3.0, 5.0]))
    np.testing.assert_allclose(first, (3.0 + 10.0) / 2)  # nothing is known yet
    second, _ = estimator.objectives(drawn, tf.constant([3.0, 5.0]))
    np.testing.assert_allclose(second, ((3 - 3.6) + 2 * (5 - 3.6)) / 2, rtol=1e-6)


def test_finds_the_best_of_a_table():
    """3 factors of 4, additive with small interactions: in every one of 20 seeds."""
    rng, count = np.random.default_rng(7), 20
    gaps = rng.uniform(0.1, 0.5, (count, 3, 4))
    gaps[..., 0] = 0.0
    tables = gaps[:, 0, :, None, None] + gaps[:, 1, None, :, None] + gaps[:, 2, None, None, :]
    tables = tf.constant(tables + rng.normal(0, 0.02, tables.shape), tf.float32)
    theta = tf.Variable(tf.zeros([count, 3, 4]))
    optimizer = keras.optimizers.Adam(1e-2)
    optimizer.build([theta])
    estimator = UnbiasedEstimator()

    @tf.function(autograph=False)
    def step(number):
        noise = tf.random.stateless_uniform([count, 3, 4], tf.stack([7, number]))
        with tf.GradientTape(persistent=True) as tape:
            log_p = log_probabilities(tf.convert_to_tensor(theta))
            discrete, relaxed = draw(log_p, noise)
            losses = [
                tf.einsum("sabc,sa,sb,sc->s", tables, *tf.unstack(z, axis=1))
                for z in (discrete, relaxed)
            ]
            drawn = Architectures({}, {}, tf.reduce_sum(discrete * log_p, [1, 2]))
            objectives = estimator.objectives(drawn, *losses)
        optimizer.apply(estimator.gradients(tape, objectives, [theta]), [theta])

    for number in tf.range(2000):
        step(number)
    best = [np.unravel_index(np.argmin(t), t.shape) for t in tables.numpy()]
    np.testing.assert_array_equal(np.argmax(theta, -1), best)
