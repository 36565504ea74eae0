"""The network of all networks of cells against the authors' own program."""

import json

import numpy as np
import pytest
import tensorflow as tf
from official_unas import load, variable_of

from tfgen.errors import ConfigError
from tfgen.search.unas import UNAS, ArchitectureDistribution
from tfgen.search.unas.cell_supernet import CellSupernet, cell_groups
from tfgen.search.unas.genotypes import CellGenotype
from tfgen.search.unas.networks import num_parameters
from tfgen.search.unas.ranking import identity

_IMAGENET = pytest.param("imagenet", marks=pytest.mark.slow)


def ours(name):
    """A group's name here."""
    return name.replace("reduce/", "reduction/").replace("/op", "/operation")


class Case:
    def __init__(self, values):
        self.values = values
        config = json.loads(str(values["config"]))
        self.x = tf.constant(values["x_train"].transpose(0, 2, 3, 1))
        small = config["dataset"] == "cifar10"
        self.model = CellSupernet(
            self.x.shape[1:],
            config["classes"],
            config["channels"] * (1 if small else 3),  # the authors' first cells are thrice as wide
            config["layers"],
            stem="small" if small else "large",
            num_operations=config["ops"],
        )
        self.layers = load(self.model, values)
        self.groups = cell_groups(config["ops"])
        self.logits = self.under("alphas")
        self.distribution = ArchitectureDistribution(self.groups, softening=config["soften"])
        self.distribution.build()
        for name, value in self.logits.items():
            self.distribution.logits[name].assign(value)

    def under(self, folder):
        prefix = f"{folder}/"
        names = [name for name in self.values.files if name.startswith(prefix)]
        return {ours(name.removeprefix(prefix)): self.values[name] for name in names}

    def weights(self, kind):
        return {k: tf.constant(v.transpose(1, 0, 2)) for k, v in self.under(kind).items()}

    def assert_same(self, actual, name, tolerance):
        expected = self.values[name]
        deviation = np.abs(np.asarray(actual, np.float64) - expected).max()
        assert deviation <= tolerance * np.abs(expected).max(), (name, deviation)


class TestAuthorsProgram:
    @pytest.fixture(scope="class", params=["cifar", _IMAGENET])
    def case(self, request, reference_values, double_precision):
        return Case(reference_values(f"unas_search_{request.param}"))

    def test_logits(self, case):
        weights = {kind: case.weights(kind) for kind in ("relaxed", "discrete")}
        for training in (False, True):
            for kind, architectures in weights.items():
                where = "train" if training else "eval"
                before = [tf.identity(v) for v in case.model.non_trainable_variables]
                found = case.model(case.x, architectures, training=training)
                case.assert_same(found, f"{where}/{kind}/logits", 1e-5)
                if training and kind == "relaxed":
                    self.check_statistics(case)
                for variable, value in zip(case.model.non_trainable_variables, before):
                    variable.assign(value)
        assert num_parameters(case.model) == int(case.values["parameters"])

    def check_statistics(self, case):
        prefix = "train/relaxed/statistics_after/"
        for key in case.values.files:
            if key.startswith(prefix) and key.endswith("running_mean"):
                value = variable_of(case.layers, key.removeprefix(prefix))
                np.testing.assert_allclose(value, case.values[key], rtol=1e-4, atol=1e-6)

    def test_gradients(self, case):
        names = [str(name) for name in case.values["eval/relaxed/grad_norms_names"]]
        names = [n for n in names if "arch_param" not in n and "alpha" not in n]
        variables = [variable_of(case.layers, name).value for name in names]
        noise = {k: tf.constant(v.transpose(1, 0, 2)) for k, v in case.under("uniforms").items()}
        logits = [case.distribution.logits[key].value for key in case.logits]
        with tf.GradientTape() as tape:
            relaxed = case.distribution.draw(noise).relaxed
            found = case.model(case.x, {k: tf.cast(v, tf.float64) for k, v in relaxed.items()})
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(case.values["y_train"], found)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, [*variables, *logits], unconnected_gradients="zero")
        case.assert_same(losses, "eval/relaxed/loss", 1e-5)
        norms = dict(zip(map(str, case.values["eval/relaxed/grad_norms_names"]),
                         case.values["eval/relaxed/grad_norms"]))  # fmt: skip
        for name, gradient in zip(names, gradients):
            np.testing.assert_allclose(np.linalg.norm(gradient), norms[name], rtol=1e-4, atol=1e-6)
        for (name, expected), gradient in zip(
            case.under("eval/relaxed/grad_alphas").items(), gradients[len(names) :]
        ):
            largest = max(np.abs(expected).max(), 1e-3)
            assert np.abs(gradient - expected).max() <= 1e-4 * largest, name

    def test_with_one_hot_weights_it_is_the_extracted_network(self, case):
        """Operations that are not chosen learn nothing."""
        choices = case.distribution.most_probable()
        architectures = {
            key: tf.one_hot(value, case.groups[key][1], dtype=tf.float64)[None]
            for key, value in choices.items()
        }
        extracted = case.model.extract(CellGenotype.of_choices(choices))
        with tf.GradientTape() as tape:
            found = case.model(case.x, architectures)
        gradients = tape.gradient(found, case.model.trainable_variables)
        np.testing.assert_allclose(extracted(case.x), found, rtol=1e-9, atol=1e-9)
        used = sum(g is not None and np.abs(g).max() > 0 for g in gradients)
        assert used < len(gradients) / 2


def test_is_made_again_from_its_config():
    sizes = dict(image_shape=(8, 8, 3), num_classes=3, num_channels=2, num_cells=3)
    model = CellSupernet(**sizes, num_operations=2, skip_below=0.0)
    again = CellSupernet.from_config(model.get_config())
    assert [v.shape for v in again.weights] == [v.shape for v in model.weights]
    assert again.get_config() == model.get_config()
    with pytest.raises(ConfigError, match="num_operations is 8"):
        CellSupernet(**sizes, num_operations=8)


def test_edges_in_another_order_are_the_same_network():
    """They answer alike, and `top` lists one of them: the more probable order."""
    sizes = dict(image_shape=(8, 8, 3), num_classes=3, num_channels=2, num_cells=3)
    model = UNAS(
        CellSupernet(**sizes, num_operations=2, num_nodes=1, skip_below=0.0),
        num_architectures=1,
    )
    rng = np.random.default_rng(0)
    for logits in model.distribution.logits.values():
        logits.assign(rng.normal(size=logits.shape))
    first = {key: rng.integers(2, size=2) for key in model.distribution.groups}
    swapped = dict(first)
    for what in ("input", "operation"):
        swapped[f"normal/0/{what}"] = first[f"normal/0/{what}"][::-1]
    images = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
    one, other = (
        model.supernet(images, {k: tf.one_hot(v, 2)[None] for k, v in choices.items()})
        for choices in (first, swapped)
    )
    np.testing.assert_allclose(one, other, rtol=1e-5)
    assert identity(model.normal_form(first)) == identity(model.normal_form(swapped))
    # Of four edges a node, there are ten pairs without order, and two kinds of node.
    found = model.top(1000)
    assert len({identity(model.normal_form(f.choices)) for f in found}) == len(found) == 100
    assert [f.log_prob for f in found] == sorted((f.log_prob for f in found), reverse=True)
    for choice in found[:10]:  # of its orders the most probable
        turned = {k: v[::-1] if k.startswith("normal") else v for k, v in choice.choices.items()}
        log_p = model.distribution.log_probabilities()
        assert choice.log_prob >= sum(
            log_p[k].numpy()[range(2), v].sum(dtype=np.float64) for k, v in turned.items()
        ) - 1e-6  # fmt: skip


@pytest.mark.slow
def test_sizes(reference_values):
    values = reference_values("unas_sizes")
    sizes = dict(zip(map(str, values["supernet_names"]), values["supernet_parameters"]))
    assert num_parameters(CellSupernet()) == sizes["supernet_cifar10"]
