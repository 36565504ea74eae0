"""The network of all networks of blocks against the authors' own program."""

import json

import numpy as np
import pytest
import tensorflow as tf
from official_unas import load, variable_of

from tfgen.errors import ConfigError
from tfgen.search.unas import ArchitectureDistribution
from tfgen.search.unas.block_supernet import BlockSupernet, block_groups
from tfgen.search.unas.genotypes import BlockGenotype
from tfgen.search.unas.networks import num_parameters

_NAMES = {"normal": "same", "reduce": "change"}


class Case:
    def __init__(self, values):
        self.values = values
        config = json.loads(str(values["config"]))
        self.x = tf.constant(values["x_train"].transpose(0, 2, 3, 1))
        self.model = BlockSupernet(
            self.x.shape[1:], config["classes"], config["channels"], identity_dropout=0.0
        )
        self.layers = load(self.model, values)
        self.distribution = ArchitectureDistribution(block_groups(), softening=config["soften"])
        self.distribution.build()
        for name, own in _NAMES.items():
            self.distribution.logits[own].assign(values[f"alphas/{name}"])

    def under(self, folder):
        return {
            own: tf.constant(self.values[f"{folder}/{name}"].transpose(1, 0, 2))
            for name, own in _NAMES.items()
        }

    def assert_same(self, actual, name, tolerance=1e-5):
        expected = self.values[name]
        deviation = np.abs(np.asarray(actual, np.float64) - expected).max()
        assert deviation <= tolerance * np.abs(expected).max(), (name, deviation)


class TestAuthorsProgram:
    @pytest.fixture(scope="class")
    def case(self, reference_values, double_precision):
        return Case(reference_values("unas_search_proxyless"))

    def test_logits(self, case):
        for kind in ("relaxed", "discrete"):
            found = case.model(case.x, case.under(kind))
            case.assert_same(found, f"eval/{kind}/logits")
        assert num_parameters(case.model) == int(case.values["parameters"])

    def test_gradients(self, case):
        norms = dict(
            zip(
                map(str, case.values["eval/relaxed/grad_norms_names"]),
                case.values["eval/relaxed/grad_norms"],
            )
        )
        names = [n for n in norms if "arch_param" not in n and "alpha" not in n]
        variables = [variable_of(case.layers, name).value for name in names]
        logits = [case.distribution.logits[own].value for own in _NAMES.values()]
        with tf.GradientTape() as tape:
            relaxed = case.distribution.draw(case.under("uniforms")).relaxed
            found = case.model(case.x, {k: tf.cast(v, tf.float64) for k, v in relaxed.items()})
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(case.values["y_train"], found)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, [*variables, *logits], unconnected_gradients="zero")
        for name, gradient in zip(names, gradients):
            # The draws are float32.
            np.testing.assert_allclose(np.linalg.norm(gradient), norms[name], rtol=1e-3, atol=1e-6)
        for name, gradient in zip(_NAMES, gradients[len(names) :]):
            case.assert_same(gradient, f"eval/relaxed/grad_alphas/{name}", 1e-3)

    def test_with_one_hot_weights_it_is_the_extracted_network(self, case):
        choices = case.distribution.most_probable()
        architectures = {
            key: tf.one_hot(value, block_groups()[key][1], dtype=tf.float64)[None]
            for key, value in choices.items()
        }
        extracted = case.model.extract(BlockGenotype.of_choices(choices))
        found = case.model(case.x, architectures)
        np.testing.assert_allclose(extracted(case.x), found, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_is_made_again_from_its_config():
    model = BlockSupernet((32, 32, 3), 3, width=0.05, skip_below=0.0)
    again = BlockSupernet.from_config(model.get_config())
    assert [v.shape for v in again.weights] == [v.shape for v in model.weights]
    with pytest.raises(ConfigError, match="width is 0"):
        BlockSupernet(width=0)


@pytest.mark.slow
def test_sizes(reference_values):
    values = reference_values("unas_sizes")
    sizes = dict(zip(map(str, values["supernet_names"]), values["supernet_parameters"]))
    assert num_parameters(BlockSupernet()) == sizes["supernet_proxyless"]
