"""Solvers of fixed steps: each has the order that it states, and the numbers of the papers."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from known_scores import VP, Mixture, Normal, compiled, quantiles

from tfgen.ops.diffusion import VESDE, GeometricVPSDE, SubVPSDE
from tfgen.samplers.diffusion import (
    DDIM,
    RK45,
    Ancestral,
    DPMSolver,
    EulerMaruyama,
    Heun,
    PredictorCorrector,
    starting_state,
)
from tfgen.samplers.diffusion.time_grids import path

DETERMINISTIC = {
    "ddim": lambda k: DDIM(k),
    "dpm-solver 1": lambda k: DPMSolver(k, order=1),
    "dpm-solver 2": lambda k: DPMSolver(k),
    "dpm-solver 3": lambda k: DPMSolver(k, order=3),
    "heun": lambda k: Heun(k, denoise=False),
    "heun in log-snr": lambda k: Heun(k, grid="log_snr", denoise=False),
}
STOCHASTIC = {
    "ancestral": lambda k: Ancestral(k, end=1e-2, denoise=False),
    "ancestral, posterior variance": lambda k: Ancestral(
        k, end=1e-2, denoise=False, posterior_variance=True
    ),
    "euler-maruyama": lambda k: EulerMaruyama(k, end=1e-2, denoise=False),
    # With short moves, whose own bias does not fall with K.
    "predictor and corrector": lambda k: PredictorCorrector(k, end=1e-2, denoise=False, snr=0.01),
    "ddim that draws": lambda k: DDIM(k, "uniform", end=1e-2, eta=1.0),
}
KINDS = {"sub-vp": SubVPSDE(), "ve": VESDE(1e-4, 100.0), "geometric": GeometricVPSDE()}


@pytest.fixture(scope="module")
def start():
    return quantiles(1000)


@pytest.fixture(scope="module")
def exact(start):
    """Where the ODE leads, to ten digits."""
    solution = compiled(RK45(1e-10, 1e-10, end=1e-3, max_steps=5000), Mixture())(start)
    assert np.all(solution.success)
    return solution.state


def rms(difference):
    return float(np.sqrt(np.mean(np.square(difference))))


def slope(errors):
    """p where errors fall as K^-p, K doubling."""
    return np.log2(errors[-2] / errors[-1])


class TestOrder:
    @pytest.mark.parametrize("make", DETERMINISTIC.values(), ids=DETERMINISTIC)
    def test_of_a_solver_of_the_ode(self, make, start, exact):
        errors = [rms(compiled(make(k), Mixture())(start).state - exact) for k in (80, 160)]
        assert abs(slope(errors) - make(80).order) < 0.12, errors

    @pytest.mark.parametrize("make", STOCHASTIC.values(), ids=STOCHASTIC)
    def test_of_a_solver_that_draws_is_in_distribution(self, make):
        # Everything is linear for Normal latents: the variance is the sum of squares of what one
        # number of the noise, or of the start, becomes on its own.
        target = Normal(s=0.5)
        errors = []
        for k in (160, 320):
            draws = make(k).num_draws(VP)
            noise = np.pad(np.eye(draws), [(0, 0), (1, 0)])[..., None]
            alone = np.zeros((draws + 1, 1))
            alone[0] = np.sqrt(target.variance(tf.constant(1.0, tf.float64)))
            moved = compiled(make(k), target)(alone, noise=noise).state
            wanted = target.variance(tf.constant(1e-2, tf.float64))
            errors.append(abs(float(np.sum(np.square(moved)) - wanted)))
        assert abs(slope(errors) - make(80).order) < 0.12, errors

    def test_errors_are_those_of_the_literature(self, start, exact):
        # From a fixed start to t = 1e-3, uniform in log-SNR.
        for make, expected in (
            (DDIM, (0.253, 0.142, 0.079)),
            (DPMSolver, (0.097, 0.028, 0.0072)),
        ):
            for k, error in zip((10, 20, 40), expected):
                found = rms(compiled(make(k), Mixture())(start).state - exact)
                assert abs(found / error - 1.0) < 0.02, (make, k, found)


class TestEveryDiffusion:
    @pytest.mark.parametrize("sde", KINDS.values(), ids=KINDS)
    @pytest.mark.parametrize("make", DETERMINISTIC.values(), ids=DETERMINISTIC)
    def test_flow_of_a_normal(self, sde, make):
        # Of N(0, s^2) latents the ODE rescales: z_t is z_1 times the ratio of standard deviations.
        target = Normal(s=0.5, sde=sde)
        z = tf.constant([[1.0, -2.0]], tf.float64)
        solver = make(64)
        ends = tf.constant([1.0, solver.end], tf.float64)
        ratio = tf.sqrt(target.variance(ends)[1] / target.variance(ends)[0])
        error = {1: 0.1, 2: 0.02, 3: 0.005}[solver.order]
        np.testing.assert_allclose(solver.solve(sde, target, z).state, ratio * z, rtol=error)

    @pytest.mark.parametrize("sde", KINDS.values(), ids=KINDS)
    def test_ancestral_variance(self, sde):
        target, k = Normal(s=0.5, sde=sde), 200
        noise = np.pad(np.eye(k), [(0, 0), (1, 0)])[..., None]
        alone = np.zeros((k + 1, 1))
        alone[0] = np.sqrt(sde.final_variance)
        solver = Ancestral(k, "log_snr", end=1e-3)
        moved = compiled(solver, target, sde)(alone, noise=noise).state
        assert abs(np.sum(np.square(moved)) - 0.25) < 0.02

    def test_start_has_the_final_variance(self):
        np.testing.assert_array_equal(starting_state(KINDS["ve"], [[2.0]]), [[20.0]])


class TestAncestral:
    def test_constants_are_those_of_ddpm(self):
        along = path(VP, np.arange(1000, -1, -1) / 1000)
        beta = (along.fresh_share * along.std[:-1] ** 2)[::-1]
        expected = [1.09944e-4, 0.00998982, 0.0197916]
        np.testing.assert_allclose(beta[[0, 499, 999]], expected, rtol=3e-6)
        np.testing.assert_allclose(along.mean[0] ** 2, 4.31857e-5, rtol=2e-6)

    def test_rows_are_those_of_ddpm(self):
        rows = Ancestral(1000).table(VP)
        alpha_bar = np.cumprod(
            1.0 - (1.0 - (rows.mean / np.append(rows.mean[1:], 1.0)) ** 2)[::-1]
        )[::-1]
        beta = 1.0 - alpha_bar / np.append(alpha_bar[1:], 1.0)
        # mean (z - beta eps / sqrt(1 - alpha_bar)) / sqrt(1 - beta), with eps of x0
        z, x0 = 0.7, -0.4
        eps = (z - np.sqrt(alpha_bar) * x0) / np.sqrt(1.0 - alpha_bar)
        mean = (z - beta * eps / np.sqrt(1.0 - alpha_bar)) / np.sqrt(1.0 - beta)
        found = rows.factor * z + rows.weights[:, 0] * x0
        np.testing.assert_allclose(found[:-1], mean[:-1], rtol=1e-9)
        np.testing.assert_allclose(rows.spread[:-1], np.sqrt(beta[:-1]), rtol=1e-9)
        assert (rows.factor[-1], rows.weights[-1, 0], rows.spread[-1]) == (0.0, 1.0, 0.0)
        posterior = Ancestral(1000, posterior_variance=True).table(VP).spread[:-1] ** 2
        before = np.append(alpha_bar[1:], 1.0)
        expected = beta * (1.0 - before) / (1.0 - alpha_bar)
        np.testing.assert_allclose(posterior, expected[:-1], rtol=1e-9)

    def test_is_exact_for_standard_normal_latents(self):
        noise = np.pad(np.eye(7), [(0, 0), (1, 0)])[..., None]
        start = np.eye(8)[:, :1]
        solver = Ancestral(7, end=0.05, denoise=False)
        moved = solver.solve(VP, Normal(), start, noise=noise).state
        np.testing.assert_allclose(np.sum(np.square(moved)), 1.0, rtol=1e-12)

    def test_ddim_that_draws_has_the_posterior_variance(self):
        drawing = DDIM(20, "uniform", 0.05, True, eta=1.0).table(VP)
        ancestral = Ancestral(20, end=0.05, posterior_variance=True).table(VP)
        for a, b in zip(drawing, ancestral):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-14)


class TestHeun:
    def test_thirty_five_evaluations(self):
        assert (Heun().num_steps, Heun().num_evaluations(VP)) == (18, 35)
        levels = path(VP, Heun().times(VP)).noise_to_signal
        np.testing.assert_allclose(levels[[0, -1]], [152.2, 0.0105], rtol=3e-3)
        sevenths = levels ** (1 / 7)
        np.testing.assert_allclose(np.diff(sevenths), np.diff(sevenths)[0], rtol=1e-6)

    @pytest.mark.parametrize("churn", [0.0, 3.0])
    def test_is_the_published_loop(self, churn):
        # Karras et al. write it for zhat = z / m and its level s.
        solver = Heun(6, "edm", 1e-2, True, churn, 0.05, 50.0, 1.003)
        target, z = Mixture(), quantiles(4)
        rng = np.random.default_rng(0)
        noise = rng.standard_normal((11, 4, 1))
        levels = [*path(VP, solver.times(VP)).noise_to_signal, 0.0]

        def slope(scaled, level):
            t = VP.time_of_log_snr(tf.fill([4], tf.constant(-2.0 * np.log(level), tf.float64)))
            m = VP.mean(t)[:, None]
            return target(m * scaled, t)

        scaled = z / VP.mean(tf.constant(1.0, tf.float64))
        for i, (level, after) in enumerate(itertools.pairwise(levels)):
            inside = 0 < i < 5 and 0.05 <= level <= 50.0
            raised = level * (1.0 + (min(churn / 6, np.sqrt(2) - 1) if inside else 0.0))
            if inside and churn:
                fresh = noise[2 * i - 1]  # drawn with the row before
                scaled = scaled + 1.003 * np.sqrt(raised**2 - level**2) * fresh
            first = slope(scaled, raised)
            moved = scaled + (after - raised) * first
            if after:
                moved = scaled + 0.5 * (after - raised) * (first + slope(moved, after))
            scaled = moved
        given = {"noise": noise} if churn else {}
        np.testing.assert_allclose(solver.solve(VP, target, z, **given).state, scaled, atol=1e-8)


class TestPredictorCorrector:
    def test_without_moves_it_is_its_predictor(self):
        rng = np.random.default_rng(0)
        noise, z = rng.standard_normal((39, 5, 2)), rng.standard_normal((5, 2))
        for name, alone in (("euler_maruyama", EulerMaruyama(20)), ("ancestral", Ancestral(20))):
            both = PredictorCorrector(20, end=alone.last_time, predictor=name, snr=1e-9)
            assert (both.order, both.num_evaluations(VP)) == (alone.order, 39)
            found = both.solve(VP, Mixture(), z, noise=noise).state
            own = np.concatenate([noise[1::2], noise[-1:]])  # the denoising step draws nothing
            expected = alone.solve(VP, Mixture(), z, noise=own).state
            np.testing.assert_allclose(found, expected, atol=1e-6)

    def test_a_move_is_langevins(self):
        solver = PredictorCorrector(2, end=0.5, denoise=True, snr=0.2, num_corrections=2)
        rng = np.random.default_rng(1)
        noise, z = rng.standard_normal((4, 3, 6)), rng.standard_normal((3, 6))
        t = tf.constant([1.0, 0.5], tf.float64)
        mean, std = VP.mean(t).numpy(), VP.std(t).numpy()
        predict = Mixture()
        moved = z
        for n in noise[:2]:
            size = 2.0 * (0.2 * std[0]) ** 2
            score = -predict(tf.constant(moved), t[0]).numpy() / std[0]
            moved = moved + size * score + np.sqrt(2.0 * size) * n
        score = -predict(tf.constant(moved), t[0]).numpy() / std[0]
        moved = moved - 0.5 * (-10.0 * moved - 20.0 * score) + np.sqrt(10.0) * noise[2]
        expected = (moved - std[1] * predict(tf.constant(moved), t[1])) / mean[1]
        found = solver.solve(VP, predict, z, noise=noise).state
        np.testing.assert_allclose(found, expected, rtol=1e-9)


class TestDistribution:
    # Four standard errors of 8,000 samples, and what so few steps miss.
    TOLERANCES = (0.06, 0.06, 0.022)

    @pytest.mark.parametrize(
        "solver",
        [Ancestral(200), EulerMaruyama(200), PredictorCorrector(150), Heun(30, churn=5.0)],
        ids=lambda solver: type(solver).__name__,
    )
    def test_of_samples(self, solver):
        z = tf.random.stateless_normal((8000, 1), (1, 2), dtype=tf.float64)
        run = compiled(solver, Mixture())
        Mixture.check_moments(run(z, seed=(3, 4)).state, self.TOLERANCES)

    @pytest.mark.slow
    @pytest.mark.parametrize("solver", [Ancestral(), EulerMaruyama()], ids=["ancestral", "em"])
    def test_of_many_samples(self, solver):
        z = tf.random.stateless_normal((200_000, 1), (1, 2))
        run = compiled(solver, Mixture())
        Mixture.check_moments(run(z, seed=(3, 4)).state, (0.01, 0.02, 0.005))


class TestBothWays:
    @pytest.mark.parametrize(
        "solver", [DPMSolver(200), DPMSolver(200, order=3), Heun(100, denoise=False)]
    )
    def test_encodes_and_decodes(self, solver, start):
        noise = compiled(solver, Mixture(), way="encode")(start[::50])
        assert np.unique(noise.num_evaluations) == [200]
        back = compiled(solver, Mixture())(noise.state).state
        assert rms(back - start[::50]) < 0.02
