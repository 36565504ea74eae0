"""Solvers as programs: seeds, dtypes, traces, export, and what they say to bad input."""

import json

import numpy as np
import pytest
import tensorflow as tf
from known_scores import VP, Mixture, compiled, quantiles

from tfgen.errors import ConfigError, UserError
from tfgen.export import export_litert, export_onnx
from tfgen.samplers.diffusion import (
    DDIM,
    GRIDS,
    RK45,
    SOLVERS,
    Ancestral,
    DPMSolver,
    EulerMaruyama,
    Heun,
    PredictorCorrector,
    solver_from_config,
    starting_state,
    time_grid,
)
from tfgen.serving import PORTABLE, Signature

DRAWING = {
    "ancestral": Ancestral(6),
    "euler-maruyama": EulerMaruyama(8, end=0.05),
    "ddim": DDIM(6, eta=0.5),
    "heun": Heun(5, churn=2.0),
    "predictor-corrector": PredictorCorrector(8, end=0.05, num_corrections=2),
}


class TestGrids:
    def test_each_is_even_in_its_own_measure(self):
        measures = {
            "log_snr": lambda t: VP.log_snr(t),
            "uniform": lambda t: t,
            "quadratic": tf.sqrt,
            "edm": lambda t: tf.exp(-0.5 * VP.log_snr(t) / 7.0),
        }
        assert set(measures) == set(GRIDS)
        for name, measure in measures.items():
            times = time_grid(VP, 12, name)
            assert (times[0], times[-1], times.dtype) == (1.0, 1e-3, np.float64)
            steps = np.diff(measure(tf.constant(times)))
            np.testing.assert_allclose(steps, steps[0], rtol=1e-9)

    def test_starts_where_it_is_told(self):
        np.testing.assert_allclose(time_grid(VP, 2, "uniform", 0.2, start=0.6), [0.6, 0.4, 0.2])


@pytest.mark.parametrize("solver", DRAWING.values(), ids=DRAWING)
class TestNoise:
    def test_no_state_depends_on_its_batch(self, solver):
        z, seeds = quantiles(4, np.float32), tf.constant([5, 6, 7, 8])
        together = solver.solve(VP, Mixture(), z, seeds=seeds).state
        alone = solver.solve(VP, Mixture(), z[2:3], seeds=seeds[2:3]).state
        np.testing.assert_allclose(together[2:3], alone, atol=2e-5)
        assert len(np.unique(np.round(together, 4))) == 4

    def test_has_the_length_that_it_states(self, solver):
        z = quantiles(3)
        noise = np.random.default_rng(0).standard_normal((solver.num_draws(VP), 3, 1))
        solution = solver.solve(VP, Mixture(), z, noise=noise)
        again = solver.solve(VP, Mixture(), z, noise=noise, unroll=True)
        np.testing.assert_allclose(solution.state, again.state, atol=1e-10)
        assert np.unique(solution.num_evaluations) == [solver.num_evaluations(VP)]
        with pytest.raises(UserError, match="like the state with an axis of steps before it"):
            solver.solve(VP, Mixture(), z, noise=noise[:-1])
        with pytest.raises(UserError, match="one of noise=, seeds= and seed=; got none"):
            solver.solve(VP, Mixture(), z)

    def test_has_no_way_back(self, solver):
        with pytest.raises(UserError, match="draws noise and has no way back"):
            solver.encode(VP, Mixture(), quantiles(3))


class TestEvaluations:
    def test_are_counted_as_they_are_made(self):
        made = []

        def counting(z, t):
            made.append(1)
            return z

        fixed = [DDIM(4), DPMSolver(4), Heun(4), Heun(4, denoise=False), DDIM(4, denoise=True)]
        for solver in [*fixed, *DRAWING.values()]:
            made.clear()
            noise = np.zeros((solver.num_draws(VP), 2, 1))
            given = {"noise": noise} if len(noise) else {}
            solution = solver.solve(VP, counting, np.ones((2, 1)), unroll=True, **given)
            np.testing.assert_array_equal(solution.num_evaluations, len(made))
            assert np.all(solution.success)

    def test_happen_at_the_times_of_the_grid(self):
        times = []

        def listening(z, t):
            times.append(t.numpy())
            return z

        solver = DPMSolver(5, denoise=True)
        solver.solve(VP, listening, tf.ones((3, 2)), unroll=True)
        np.testing.assert_allclose(times, solver.times(VP), rtol=1e-6)
        assert times[0].dtype == np.float32


class TestPrograms:
    def test_is_traced_once(self):
        for solver in (DPMSolver(6), Ancestral(6), PredictorCorrector(6, end=0.1)):
            run = compiled(solver, Mixture())
            given = {} if isinstance(solver, DPMSolver) else {"seeds": tf.range(4)}
            for _ in range(2):
                run(quantiles(4, np.float32), **given)
            other = {name: seeds + 1 for name, seeds in given.items()}
            run(quantiles(4, np.float32) + 1.0, **other)
            assert run.experimental_get_tracing_count() == 1

    def test_float32_is_near_float64(self):
        for solver in (DDIM(10), DPMSolver(10), DPMSolver(10, order=3), Heun(10)):
            half = solver.solve(VP, Mixture(), quantiles(20, np.float32)).state
            assert half.dtype == tf.float32
            np.testing.assert_allclose(
                half, solver.solve(VP, Mixture(), quantiles(20)).state, atol=2e-4
            )

    def test_predictions_in_half_precision_are_taken(self):
        half = lambda z, t: tf.cast(Mixture()(z, t), tf.float16)  # noqa: E731
        found = DPMSolver(10).solve(VP, half, quantiles(20, np.float32)).state
        expected = DPMSolver(10).solve(VP, Mixture(), quantiles(20, np.float32)).state
        assert found.dtype == tf.float32
        np.testing.assert_allclose(found, expected, atol=0.03)

    def test_gradients_pass(self):
        z = quantiles(3)
        with tf.GradientTape() as tape:
            tape.watch(z)
            end = compiled(DPMSolver(5), Mixture())(z).state
        moved = compiled(DPMSolver(5), Mixture())
        difference = (moved(z + 1e-5).state - moved(z - 1e-5).state) / 2e-5
        np.testing.assert_allclose(tape.gradient(end, z), difference, rtol=1e-5)


class Sampling(tf.Module):
    """Noise to latents, as a model that can be exported."""

    def __init__(self, solver):
        self.solver = solver
        kernel = 0.3 * np.random.default_rng(0).standard_normal((4, 4))
        self.kernel = tf.Variable(kernel.astype(np.float32))

    def predict_noise(self, z, t):
        column = lambda x: tf.reshape(x, [-1, 1])  # noqa: E731
        away = tf.tanh(tf.matmul(z, self.kernel) + column(t))
        std, mean = (column(f(tf.cast(t, z.dtype))) for f in (VP.std, VP.mean))
        return std * (z + mean * away)

    def latents(self, unroll, eps, draws=None):
        noise = None if draws is None else tf.transpose(draws, [1, 0, 2])
        start = starting_state(VP, eps)
        given = {} if noise is None else {"noise": noise}
        solution = self.solver.solve(VP, self.predict_noise, start, unroll=unroll, **given)
        return {"latents": solution.state}

    def signatures(self):
        inputs = {"eps": tf.TensorSpec([None, 4], tf.float32)}
        if count := self.solver.num_draws(VP):
            inputs["draws"] = tf.TensorSpec([None, count, 4], tf.float32)

        def example(batch_size, seed):
            rng = np.random.default_rng(seed)
            return {
                name: rng.standard_normal((batch_size, *spec.shape[1:])).astype(np.float32)
                for name, spec in inputs.items()
            }

        looped = lambda **given: self.latents(False, **given)  # noqa: E731
        written_out = lambda **given: self.latents(True, **given)  # noqa: E731
        return {"sample": Signature(looped, inputs, example, PORTABLE, written_out)}


@pytest.mark.parametrize("solver", [DPMSolver(4, order=3), Ancestral(4)], ids=["dpm", "ancestral"])
class TestExport:
    def test_to_onnx(self, solver, tmp_path):
        pytest.importorskip("tf2onnx")
        report = export_onnx(Sampling(solver), str(tmp_path / "a.onnx"))
        assert report.max_difference < 1e-4

    def test_to_litert(self, solver, tmp_path):
        pytest.importorskip("ai_edge_litert.interpreter")
        report = export_litert(Sampling(solver), str(tmp_path / "a.tflite"))
        assert report.max_difference < 1e-4


class TestConfigurations:
    @pytest.mark.parametrize("name", SOLVERS)
    def test_round_trip(self, name):
        solver = solver_from_config(name)
        config = json.loads(json.dumps(solver.get_config()))
        assert type(solver).from_config(config) == solver
        assert solver_from_config({"name": name, **config}) == solver
        assert solver_from_config(solver) is solver
        assert solver.order == SOLVERS[name].order or name == "dpm_solver"

    def test_what_it_does_not_know(self):
        with pytest.raises(ConfigError, match="solver 'rk54' is unknown; choose one of rk45, ddim"):
            solver_from_config("rk54")
        with pytest.raises(ConfigError, match="solver 'ddim' has no steps; it has num_steps, grid"):
            solver_from_config({"name": "ddim", "steps": 4})


WRONG = {
    "no steps": (lambda: DDIM(0), "num_steps is 0; expected at least 1"),
    "half a step": (lambda: DDIM(2.5), "num_steps is 2.5; expected a whole number"),
    "steps for the order": (lambda: DPMSolver(2, order=3), "of order 3 needs at least 3"),
    "and denoising": (
        lambda: DPMSolver(2, denoise=True),
        "of order 2 needs at least 3 with the denoising one",
    ),
    "order 4": (lambda: DPMSolver(order=4), "order is 4; expected 1, 2 or 3"),
    "grid": (lambda: DDIM(grid="cosine"), "grid 'cosine' is unknown; choose one of log_snr"),
    "end beyond the start": (lambda: DDIM(end=1.5), "expected 0 <= end < start <= 1"),
    "end below 0": (lambda: RK45(end=-0.1), "expected 0 <= end < start <= 1"),
    "end as text": (lambda: DDIM(end="soon"), "'soon'; expected 0 <= end"),
    "end NaN": (lambda: DDIM(end=np.nan), "expected 0 <= end"),
    "end without noise": (lambda: DDIM(end=0.0).table(VP), "its log-SNR is infinite; take a"),
    "nowhere to go": (lambda: DDIM(end=1.0), "expected 0 <= end < start"),
    "steps too small": (
        lambda: DDIM(10_000, "uniform", end=1.0 - 1e-13).table(VP),
        "too small to tell their times apart",
    ),
    "rho": (lambda: time_grid(VP, 4, "edm", rho=0.0), "rho is 0.0; expected above 0"),
    "eta": (lambda: DDIM(eta=1.5), "eta is 1.5; expected at least 0"),
    "churn": (lambda: Heun(churn=-1.0), "churn is -1.0; expected at least 0"),
    "snr": (lambda: PredictorCorrector(snr=0.0), "snr is 0.0; expected above 0"),
    "corrections": (lambda: PredictorCorrector(num_corrections=0), "num_corrections is 0"),
    "predictor": (lambda: PredictorCorrector(predictor="heun"), "predictor 'heun' is unknown"),
    "tolerance": (lambda: RK45(rtol=0.0), "rtol is 0.0; expected above 0"),
    "tries": (lambda: RK45(max_steps=0), "max_steps is 0; expected at least 1"),
    "integers": (lambda: DDIM(4).solve(VP, Mixture(), [[1]]), "floating-point tensors"),
    "a number": (lambda: RK45().solve(VP, Mixture(), 1.0), "floating-point tensors"),
    "predictions of another shape": (
        lambda: DDIM(4).solve(VP, lambda z, t: z[:, 0], tf.ones((3, 2))),
        r"gave \(3,\) for a state \(3, 2\)",
    ),
    "and in the adaptive one": (
        lambda: RK45().solve(VP, lambda z, t: z[:, 0], tf.ones((3, 2))),
        r"gave \(3,\) for a state \(3, 2\)",
    ),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_bad_input_gets_a_sentence(call, message):
    with pytest.raises(UserError, match=message):
        call()
