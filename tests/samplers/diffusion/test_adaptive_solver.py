"""The adaptive solver against SciPy's, and against its own stated order."""

import numpy as np
import pytest
import tensorflow as tf
from known_scores import VP, Mixture, Normal, compiled, quantiles
from scipy.integrate import solve_ivp

from tfgen.errors import UserError
from tfgen.samplers.diffusion import RK45, flow_velocity, integrate
from tfgen.samplers.diffusion.adaptive import dormand_prince_step


def scipys(predict, z, tolerance, start, end):
    """SciPy on one state; its steps and end."""
    velocity = tf.function(flow_velocity(VP, predict), autograph=False)

    def one(t, y):
        return velocity(tf.constant([t], tf.float64), tf.constant(y[None]))[0].numpy()

    return solve_ivp(one, (start, end), z, "RK45", rtol=tolerance, atol=tolerance)


class TestAgainstScipy:
    @pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 1e-5])
    def test_every_state_has_the_steps_of_its_own(self, tolerance):
        z = tf.constant(np.random.default_rng(0).standard_normal((5, 3)))
        found = compiled(RK45(tolerance, tolerance), Mixture())(z)
        for row in range(5):
            alone = scipys(Mixture(), z[row].numpy(), tolerance, 1.0, 1e-5)
            assert found.num_evaluations[row] == alone.nfev
            np.testing.assert_allclose(found.state[row], alone.y[:, -1], atol=1e-9)
        assert np.all(found.success)

    def test_the_other_way(self):
        z = quantiles(3)
        found = RK45().encode(VP, Mixture(), z)
        for row in range(3):
            alone = scipys(Mixture(), z[row].numpy(), 1e-5, 1e-5, 1.0)
            assert found.num_evaluations[row] == alone.nfev
            np.testing.assert_allclose(found.state[row], alone.y[:, -1], atol=1e-9)

    @pytest.mark.parametrize(("tolerance", "count"), [(1e-2, 26), (1e-3, 50), (1e-5, 86)])
    def test_a_batch_as_one_state_needs_what_it_is_known_to(self, tolerance, count):
        z = tf.random.stateless_normal((1, 20_000), (0, 1), dtype=tf.float64)
        found = compiled(RK45(tolerance, tolerance), Mixture())(z)
        assert found.num_evaluations == [count]
        tolerances = (0.04, 0.06, 0.015) if tolerance == 1e-2 else (0.03, 0.04, 0.012)
        Mixture.check_moments(found.state, tolerances)

    def test_states_of_their_own_need_fewer(self):
        z = quantiles(2000)
        means = []
        for tolerance in (1e-2, 1e-3, 1e-5):
            counts = compiled(RK45(tolerance, tolerance), Mixture())(z).num_evaluations
            means.append(np.mean(counts))
        np.testing.assert_allclose(means, [23.8, 34.8, 65.1], atol=0.4)


class TestSteps:
    def test_have_the_order_that_is_stated(self):
        # y' = -2 t y: the error of a step falls as h^6, and its estimate as h^5.
        velocity = lambda t, y: tf.reshape(-2.0 * t, [-1, 1]) * y  # noqa: E731
        t, y = tf.constant([0.9], tf.float64), tf.constant([[1.0]], tf.float64)
        errors, estimates = [], []
        for h in (0.05, 0.025):
            h = tf.constant([h], tf.float64)
            moved, slope, estimate = dormand_prince_step(velocity, t, y, velocity(t, y), h)
            errors.append(abs(float(moved[0, 0] - tf.exp(0.81 - (0.9 + h[0]) ** 2))))
            estimates.append(abs(float(estimate[0, 0])))
            np.testing.assert_allclose(slope, velocity(t + h, moved))
        assert abs(np.log2(errors[0] / errors[1]) - (RK45().order + 1)) < 0.2
        assert abs(np.log2(estimates[0] / estimates[1]) - RK45().order) < 0.3

    def test_nested_states_are_one(self):
        # A circle: its parts turn into each other.
        turn = lambda t, s: {"x": -s["y"], "y": s["x"]}  # noqa: E731
        start = {"x": tf.ones((2, 1), tf.float64), "y": tf.zeros((2, 1), tf.float64)}
        end = integrate(turn, start, 0.0, 2.0, 1e-8, 1e-8)
        np.testing.assert_allclose(end.state["x"], np.cos(2.0) * np.ones((2, 1)), atol=1e-7)
        np.testing.assert_allclose(end.state["y"], np.sin(2.0) * np.ones((2, 1)), atol=1e-7)


class TestBatches:
    def test_change_no_state(self):
        z = quantiles(9)
        together = RK45(1e-4, 1e-4).solve(VP, Mixture(), z)
        for row in (0, 4, 8):
            alone = RK45(1e-4, 1e-4).solve(VP, Mixture(), z[row : row + 1])
            np.testing.assert_allclose(together.state[row], alone.state[0], atol=1e-12)
            assert together.num_evaluations[row] == alone.num_evaluations[0]
        assert len(np.unique(together.num_evaluations)) > 1

    def test_a_state_that_is_lost_stops_alone(self):
        broken = lambda z, t: Mixture()(z, t) / tf.where(z > 2.0, 0.0 * z, z / z)  # noqa: E731
        z = quantiles(9)
        found = RK45().solve(VP, broken, tf.concat([z[:3], [[2.5]]], axis=0))
        np.testing.assert_array_equal(found.success, [True, True, True, False])
        alone = RK45().solve(VP, Mixture(), z[:3]).state
        np.testing.assert_allclose(found.state[:3], alone, atol=1e-12)

    def test_a_state_that_takes_too_many_says_so(self):
        found = RK45(1e-8, 1e-8, max_steps=4).solve(VP, Mixture(), quantiles(3))
        np.testing.assert_array_equal(found.success, False)
        np.testing.assert_array_equal(found.num_evaluations, 2 + 6 * 4)

    def test_is_traced_once(self):
        run = compiled(RK45(1e-2, 1e-2), Mixture())
        for shift in (0.0, 0.5):
            run(quantiles(4) + shift)
        assert run.experimental_get_tracing_count() == 1


class TestPrecision:
    def test_normal_latents_are_left_alone(self):
        # Of standard Normals the flow is the identity.
        z = quantiles(20)
        for sde_state in (z, tf.cast(z, tf.float32)):
            found = RK45().solve(VP, Normal(), sde_state)
            np.testing.assert_allclose(found.state, z, atol=2e-5)
            assert found.state.dtype == sde_state.dtype

    def test_float32_reaches_its_digits(self):
        found = compiled(RK45(), Mixture())(quantiles(50, np.float32))
        exact = compiled(RK45(1e-9, 1e-9), Mixture())(quantiles(50))
        assert np.all(found.success)
        np.testing.assert_allclose(found.state, exact.state, atol=2e-3)

    def test_there_and_back(self):
        z = quantiles(20)
        solver = RK45(1e-8, 1e-8)
        noise = compiled(solver, Mixture(), way="encode")(z).state
        back = compiled(solver, Mixture())(noise)
        np.testing.assert_allclose(back.state, z, atol=1e-5)


def test_no_way_to_go():
    with pytest.raises(UserError, match=r"go from 0.5 to 0.5; expected two different numbers"):
        integrate(lambda t, y: y, tf.ones((1, 1)), 0.5, 0.5)
