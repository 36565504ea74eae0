"""The cross-entropy term against closed forms, and who learns what from which loss."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.generative.lsgm.objective import Objective, scale_gradient
from tfgen.ops.diffusion import VESDE, VPSDE, GeometricVPSDE, SubVPSDE

VP = VPSDE()
MANY = 4_000_000


def normal_predictor(sde):
    """The exact prediction for z_0 ~ N(0, 1 - s0^2) in one dimension."""

    def predict(z, t, seed=None):
        return sde.normal_coefficient(t)[:, None] * z

    return predict


def plain(algorithm=1, weighting="ll", sde=VP, **options):
    """The paper's estimator, every draw for itself."""
    options = {"spacing": "independent", "control_variate": False, **options}
    return Objective(sde, algorithm, weighting, **options)


def seeds(number=0):
    return [tf.constant([number, k], tf.int32) for k in range(6)]


def posterior(loc, scale, count, seed=9):
    """Draws of N(loc, scale^2), `[count, 1]`."""
    return loc + scale * tf.random.stateless_normal((count, 1), (seed, seed))


def integrated(sde, loc, scale, cutoff):
    """The bound's term per dimension, for prior N(0, 1): in the limit of endless draws."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    # In log-variance, where the integrand is smooth.
    ends = [float(tf.math.log(sde.variance(tf.constant(t, tf.float64)))) for t in (cutoff, 1.0)]
    middle = 0.5 * (ends[0] + ends[1]) + 0.5 * (ends[1] - ends[0]) * nodes
    t = sde.time_of_variance(tf.constant(np.exp(middle)))
    c, m, s = (f(t).numpy() for f in (sde.normal_coefficient, sde.mean, sde.std))
    expected = (c * m) ** 2 * (loc**2 + scale**2) + (1.0 - c * s) ** 2
    rate = (sde.squared_diffusion(t) / sde.variance_rate(t)).numpy()
    integral = 0.5 * (ends[1] - ends[0]) * np.sum(weights * 0.5 * rate * expected)
    return integral + Objective(sde, cutoff=cutoff).constant


@pytest.mark.parametrize(
    ("sde", "loc", "scale", "cutoff", "expected"),
    [
        (VP, 0, 1, 0.01, 1.418917),
        (VP, 1, 0.5, 0.01, 1.543662),
        (VP, 1, 0.5, 1e-5, 1.543911),
        (GeometricVPSDE(), 0, 1, 0.0, 1.418453),
        (GeometricVPSDE(), 1, 0.5, 0.0, 1.543328),
    ],
)
def test_cross_entropy_in_the_limit(sde, loc, scale, cutoff, expected):
    assert abs(integrated(sde, loc, scale, cutoff) - expected) < 2e-6


@pytest.mark.parametrize(("weighting", "tolerance"), [("ll", 0.007), ("un", 0.010), ("re", 0.028)])
def test_cross_entropy_by_draws(weighting, tolerance):
    algorithm = 1 if weighting == "ll" else 3
    objective = plain(algorithm, weighting)
    z = posterior(1.0, 0.5, MANY)
    found = objective.losses(normal_predictor(VP), None, z, seeds(), 1.0).cross_entropy
    assert abs(np.mean(found, dtype=np.float64) - 1.543662) < tolerance


@pytest.mark.parametrize(
    "sde", [VP, SubVPSDE(), VESDE(), GeometricVPSDE()], ids=lambda sde: type(sde).__name__
)
def test_the_exact_prediction_of_a_gaussian_minimises_the_loss(sde):
    scale, t = 0.6, tf.constant([0.2], tf.float64)
    m, s = float(sde.mean(t)[0]), float(sde.std(t)[0])
    best = s / (m**2 * scale**2 + s**2)

    def loss(slope, shift):
        """E (eps - slope (z_t - E z_t) - shift)^2, in closed form."""
        return (1 - slope * s) ** 2 + (slope * m * scale) ** 2 + shift**2

    nearby = [loss(best + a, b) for a in (-1e-2, 1e-2) for b in (-1e-2, 0.0, 1e-2)]
    assert loss(best, 0.0) < min(nearby)
    # For z_0 ~ N(0, 1 - s0^2) it is the coefficient of the mixed score.
    own = s / (m**2 * (1 - sde.initial_variance) + s**2)
    np.testing.assert_allclose(sde.normal_coefficient(t)[0], own, rtol=1e-12)


def slopes_of_cross_entropy(objective, predict, count):
    """d CE / d phi at phi = 1 of q = N(phi, 1/4), draw by draw."""
    phi = tf.ones([count, 1])
    with tf.GradientTape() as tape:
        tape.watch(phi)
        z = phi + posterior(0.0, 0.5, count)
        trained = objective.losses(predict, predict, z, seeds(1), 1.0).trained
    return tape.gradient(trained, phi, unconnected_gradients="zero").numpy()


@pytest.mark.parametrize(
    ("algorithm", "weighting", "spread"),
    [(1, "ll", 2.4), (2, "ll", 2.4), (3, "ll", 2.4), (3, "un", 1.8), (3, "re", 2.3)],
)
def test_gradient_of_the_encoder(algorithm, weighting, spread):
    objective = plain(algorithm, weighting)
    slopes = slopes_of_cross_entropy(objective, normal_predictor(VP), 1_000_000)
    expected = 1.0 - 0.00199301 - 4.3e-5
    np.testing.assert_allclose(slopes.std(), spread, atol=0.1)
    assert abs(slopes.mean(dtype=np.float64) - expected) < 3 * spread / 1000


def test_the_gradient_goes_through_the_input_of_the_network():
    objective, predict = plain(), normal_predictor(VP)
    assert abs(slopes_of_cross_entropy(objective, predict, 100_000).mean() - 0.998) < 0.03

    def blind(z, t, seed=None):
        return predict(tf.stop_gradient(z), t)

    assert not slopes_of_cross_entropy(objective, blind, 100).any()


class TestControlVariate:
    @pytest.mark.parametrize(
        ("sde", "cutoff"),
        [(VP, 1e-5), (SubVPSDE(), 0.01), (VESDE(), 0.0), (GeometricVPSDE(), 0.0)],
        ids=lambda value: type(value).__name__,
    )
    def test_of_a_normal_prior_nothing_is_left_to_draw(self, sde, cutoff):
        objective = Objective(sde, cutoff=cutoff)
        z = tf.constant([[-1.5], [0.0], [0.3], [2.0]])
        draw = objective.draw(objective.bound_times, z, seeds())
        found = objective.cross_entropies(normal_predictor(sde), z, draw, [1])
        known = [integrated(sde, float(value), 0.0, cutoff) for value in z[:, 0]]
        np.testing.assert_allclose(found[:, 0], known, rtol=5e-6)

    @pytest.mark.parametrize(
        ("algorithm", "weighting"), [(1, "ll"), (2, "un"), (3, "un"), (3, "re")]
    )
    def test_it_changes_no_mean_and_takes_the_noise(self, algorithm, weighting):
        """Bound and gradient of a prior that is no Normal, within 4 standard errors."""

        def predict(z, t, seed=None):
            return normal_predictor(VP)(z, t) + 0.02 * tf.sin(2.0 * z) * t[:, None]

        def found(objective):
            phi = tf.ones([200_000, 1])
            with tf.GradientTape() as tape:
                tape.watch(phi)
                losses = objective.losses(predict, predict, phi, seeds(5), 0.6)
            return losses.cross_entropy.numpy(), tape.gradient(losses.trained, phi).numpy()[:, 0]

        with_it = Objective(VP, algorithm, weighting, spacing="independent")
        for ours, other in zip(found(with_it), found(plain(algorithm, weighting))):
            differences = np.asarray(ours - other, np.float64)
            error = differences.std() / np.sqrt(differences.size)
            assert abs(differences.mean()) < 4 * error
            assert ours.std() < 0.5 * other.std()


class TestWhoLearnsWhat:
    """Gradients of what is trained, against those of each side's own loss at the same draws."""

    def gradients(self, algorithm, weighting, kl_coefficient=0.4):
        objective = Objective(VP, algorithm, weighting)
        phi, slope = tf.Variable(tf.random.stateless_normal((8, 3), (1, 2))), tf.Variable(0.3)

        def network(slope):
            def predict(z, t, seed=None):
                return normal_predictor(VP)(z, t) + slope * tf.sin(z) * t[:, None]

            return predict

        with tf.GradientTape(persistent=True) as tape:
            z = tf.tanh(phi)
            passive = network(tf.constant(0.3))
            losses = objective.losses(network(slope), passive, z, seeds(), kl_coefficient)
        return [
            [tape.gradient(loss, v, unconnected_gradients="zero").numpy() for v in (phi, slope)]
            for loss in losses
        ]

    def test_one_loss_for_both(self):
        entropy, trained, _ = self.gradients(1, "ll")
        for a, b in zip(entropy, trained):
            np.testing.assert_allclose(0.4 * a, b, rtol=1e-5, atol=1e-7)

    @pytest.mark.parametrize("weighting", ["ll", "un", "re"])
    def test_separate_draws(self, weighting):
        entropy, trained, prior = self.gradients(2, weighting)
        np.testing.assert_allclose(trained[0], 0.4 * entropy[0], rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(trained[1], prior[1], rtol=1e-5)
        assert not prior[0].any()  # the prior does not move the encoder
        assert not entropy[1].any()  # nor the encoder's loss the prior

    @pytest.mark.parametrize("weighting", ["un", "re"])
    def test_one_draw_with_two_weightings(self, weighting):
        objective = plain(3, weighting, spacing="systematic")
        phi = tf.Variable(tf.random.stateless_normal((8, 3), (1, 2)))
        slope = tf.Variable(0.3)

        def predict(z, t, seed=None):
            return normal_predictor(VP)(z, t) + slope * tf.sin(z) * t[:, None]

        with tf.GradientTape(persistent=True) as tape:
            trained = objective.losses(predict, None, phi, seeds(), 0.4).trained
            draw = objective.draw(objective.prior_times, phi, seeds()[:2])
            squares = tf.reduce_sum(objective.squared_errors(predict, phi, draw), 1)
            weights = [objective.prior_times.coefficient(draw.t, w) for w in ("ll", weighting)]
            bound, own = (tf.cast(weight, tf.float32) * squares for weight in weights)
            bound *= 0.4
        for variable, loss in ((phi, bound), (slope, own)):
            found, expected = (tape.gradient(loss, variable) for loss in (trained, loss))
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_parts_of_the_cross_entropy_add_up():
    objective = Objective(VP)
    z = tf.random.stateless_normal((4, 2, 2, 5), (0, 1))
    predict = lambda z, t: 0.5 * z  # noqa: E731
    draw = objective.draw(objective.bound_times, z, seeds())
    parts = objective.cross_entropies(predict, z, draw, [2, 3])
    whole = objective.cross_entropies(predict, z, draw, [5])
    assert parts.shape == (4, 2)
    np.testing.assert_allclose(tf.reduce_sum(parts, 1), whole[:, 0], rtol=1e-5)


def test_scaling_a_gradient_changes_no_value():
    x, scale = tf.ones((2, 3)), tf.constant([2.0, 0.5])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = scale_gradient(x, scale)
        loss = tf.reduce_sum(y**2)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_allclose(tape.gradient(loss, x), [[4.0] * 3, [1.0] * 3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(algorithm=4), "expected 1, 2 or 3"),
        (dict(weighting="un"), "choose algorithm 2 or 3"),
        (dict(spacing="even"), "systematic"),
        (dict(cutoff=0.0), "cut-off above 0"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ConfigError, match=message):
        Objective(VP, **options)
