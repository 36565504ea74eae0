"""Distribution, estimator, losses and surrogate against the authors' own program.

Its values were computed in float64; here a tensor agrees when its largest deviation is below 1e-5
of its largest entry, a score gradient below 1e-4.
"""

import json

import numpy as np
import pytest
import tensorflow as tf

from tfgen.search.unas import ArchitectureDistribution, Reinforce, UnbiasedEstimator
from tfgen.search.unas.genotypes import BLOCK_OPERATIONS, CELL_OPERATIONS, CellGenotype
from tfgen.search.unas.losses import duplicate_edges, with_generalization_gap
from tfgen.search.unas.surrogates import fit_linear_surrogate

CASES = ("proxyless_per_image", "proxyless_per_batch", "cell_per_image", "cell_per_batch")


class Case:
    """A distribution and a network that is linear in the weights of an architecture."""

    def __init__(self, values, name):
        self.values, self.name = values, name
        self.config = json.loads(str(self.get("config")))
        self.logits = self.under("alphas")
        self.noise = self.under("uniforms")
        self.model = ArchitectureDistribution(
            {key: value.shape for key, value in self.logits.items()},
            temperature=self.config["temperature"],
            softening=self.config["soften"],
        )
        self.model.build()
        for key, value in self.logits.items():
            self.model.logits[key].assign(value)
        self.variables = [self.model.logits[key].value for key in self.logits]

    def get(self, name):
        return self.values[f"{self.name}/{name}"]

    def under(self, folder):
        prefix = f"{self.name}/{folder}/"
        names = [n for n in self.values.files if n.startswith(prefix)]
        return {n.removeprefix(prefix): self.values[n] for n in names}

    def draw(self, noise=None, corrected=True):
        noise = self.noise if noise is None else noise
        rows = {key: tf.constant(value.transpose(1, 0, 2)) for key, value in noise.items()}
        return self.model.draw(rows, corrected)

    def network(self, x, weights):
        parts = [tf.constant(x) @ tf.constant(self.get("V"))]
        if self.config["kind"] == "proxyless":
            for key, table in self.under("tables").items():
                parts.append(tf.einsum("bfk,fkc->bc", weights[key], tf.constant(table)))
        for name, table in self.under("tables").items() if len(parts) == 1 else ():
            node, _, edge = name.rpartition("/input_op")
            chosen = [weights[f"{node}/{what}"][:, int(edge)] for what in ("input", "op")]
            parts.append(tf.einsum("bi,bo,ioc->bc", *chosen, tf.constant(table)))
        return sum(parts[1:], parts[0])

    def losses(self, weights, gap=True):
        def loss(part):
            labels = tf.constant(self.get(f"y_{part}"))
            logits = self.network(self.get(f"x_{part}"), weights)
            return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)

        train, validation = loss("train"), loss("val")
        coefficient = self.config["gap_coefficient"] if gap else 0.0
        total = with_generalization_gap(train, validation, coefficient)
        if self.config["duplicate_coefficient"]:
            total += self.config["duplicate_coefficient"] * duplicate_edges(weights, "op")
        return total

    def assert_same(self, actual, name, tolerance=1e-5):
        expected = self.get(name)
        deviation = np.abs(np.asarray(actual, np.float64) - expected).max()
        assert deviation <= tolerance * max(np.abs(expected).max(), 1e-2), (name, deviation)


@pytest.fixture(params=CASES)
def case(request, reference_values):
    return Case(reference_values("unas_estimator"), request.param)


def test_draws(case):
    drawn = case.draw()
    for key in case.logits:
        case.assert_same(tf.transpose(drawn.relaxed[key], [1, 0, 2]), f"relaxed/{key}")
        case.assert_same(tf.transpose(drawn.discrete[key], [1, 0, 2]), f"discrete/{key}")
    case.assert_same(drawn.log_prob, "log_prob")
    case.assert_same(case.model.entropy(), "entropy")


@pytest.mark.parametrize("corrected", [True, False])
def test_gradient_through_a_draw(case, corrected):
    with tf.GradientTape() as tape:
        relaxed = case.draw(corrected=corrected).relaxed
        value = tf.add_n(
            [
                tf.reduce_sum(relaxed[key] * tf.constant(cotangent.transpose(1, 0, 2)))
                for key, cotangent in case.under("cotangent").items()
            ]
        )
    name = "vjp_corrected" if corrected else "vjp_gumbel_softmax_only"
    for key, found in zip(case.logits, tape.gradient(value, case.variables)):
        case.assert_same(found, f"{name}/{key}", 2e-5)


@pytest.mark.parametrize("gap", [True, False])
def test_a_step(case, gap):
    estimator = UnbiasedEstimator()
    with tf.GradientTape(persistent=True) as tape:
        drawn = case.draw()
        losses = case.losses(drawn.discrete, gap), case.losses(drawn.relaxed, gap)
        objectives = estimator.objectives(drawn, *losses)
    if gap:
        case.assert_same(losses[0], "discrete/loss")
        case.assert_same(losses[1], "control/loss")
    name = "step" if gap else "step_no_gap"
    case.assert_same(sum(objectives), f"{name}/objective", 1e-4)
    for key, found in zip(case.logits, estimator.gradients(tape, objectives, case.variables)):
        case.assert_same(found, f"{name}/grad/{key}", 1e-4)


def test_two_steps_of_reinforce(case):
    estimator = Reinforce()
    for number in range(2):
        with tf.GradientTape(persistent=True) as tape:
            drawn = case.draw()
            objectives = estimator.objectives(drawn, case.losses(drawn.discrete))
        for key, found in zip(case.logits, estimator.gradients(tape, objectives, case.variables)):
            case.assert_same(found, f"reinforce/grad_{number}/{key}", 1e-4)
        expected = case.get("reinforce/baselines")[number + 1]
        np.testing.assert_allclose(estimator.average, expected, rtol=1e-5)


def test_duplicate_edges_of_whole_cells():
    same = {"normal/0/input": tf.constant([[[0.0, 1.0]] * 2]), "normal/0/op": tf.eye(7)[None, :1]}
    same["normal/0/op"] = tf.tile(same["normal/0/op"], [1, 2, 1])
    eight = {f"{c}/{n}/{w}": same[f"normal/0/{w}"] for c in "ab" for n in range(4)
             for w in ("input", "op")}  # fmt: skip
    np.testing.assert_allclose(duplicate_edges(eight, "op"), [8.0])
    other = {**eight, "a/0/op": tf.constant([[[1.0, 0.0], [0.0, 1.0]]])}
    np.testing.assert_allclose(duplicate_edges(other, "op"), [7.0])


def test_surrogate(reference_values):
    values = reference_values("unas_latency")
    groups = {"normal": np.eye(7)[values["normal_choice"]], "reduce": np.eye(6)[values["reduce_choice"]]}  # fmt: skip  # noqa: E501
    count = int(values["num_train"])
    surrogate = fit_linear_surrogate(
        {key: group[:count] for key, group in groups.items()}, values["latency_ms"][:count]
    )
    found = np.concatenate([surrogate.weights[key].ravel() for key in groups])
    np.testing.assert_allclose(found, values["weight"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(surrogate.constant, values["bias"][0], rtol=1e-4)
    np.testing.assert_allclose(surrogate(groups), values["prediction"], rtol=1e-4)


@pytest.mark.parametrize("kind", ["random", "ties", "zeros"])
def test_genotypes(reference_values, kind):
    values = reference_values("unas_genotype")
    prefix = f"{kind}/alphas/"
    logits = {
        name.removeprefix(prefix).replace("reduce", "reduction").replace("/op", "/operation"):
        values[name] for name in values.files if name.startswith(prefix)
    }  # fmt: skip
    model = ArchitectureDistribution({key: value.shape for key, value in logits.items()})
    model.build()
    for key, value in logits.items():
        model.logits[key].assign(value)
    found = CellGenotype.of_choices(model.most_probable())
    for cell, name in ((found.normal, "normal"), (found.reduction, "reduce")):
        sources = [[edge.source for edge in node] for node in cell]
        operations = [[CELL_OPERATIONS.index(edge.operation) for edge in node] for node in cell]
        np.testing.assert_array_equal(sources, values[f"{kind}/{name}_inputs"])
        np.testing.assert_array_equal(operations, values[f"{kind}/{name}_ops"])
    names = [f"mic_{o.kernel}x{o.kernel}_e{o.expansion}" for o in BLOCK_OPERATIONS]
    assert names == list(values["reduction_primitives"])
    best = np.argmax(values[f"{kind}/proxyless_alphas/normal"], -1)
    chosen = np.array(["mic_zero", *names])[best]
    np.testing.assert_array_equal(chosen, values[f"{kind}/proxyless_normal"])
