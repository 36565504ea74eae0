"""Networks of genotypes against the authors' own program, and their sizes."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from official_unas import load, variable_of

from tfgen.errors import ConfigError
from tfgen.layers.drop_path import DropPath
from tfgen.search.unas.genotypes import (
    BLOCK_OPERATIONS,
    CELL_OPERATIONS,
    GENOTYPES,
    BlockGenotype,
    CellGenotype,
)
from tfgen.search.unas.networks import block_network, cell_network, num_macs, num_parameters

_IMAGENET = pytest.param("imagenet", marks=pytest.mark.slow)
_BLOCK_NAMES = {f"mic_{k}x{k}_e{e}": (k, e) for k, e in BLOCK_OPERATIONS}


def cell_genotype(plain):
    """That of the reference, whose operations are numbers."""
    cells = {
        "normal" if kind == "normal" else "reduction": tuple(
            tuple((CELL_OPERATIONS[o], i) for o, i in zip(node["ops"], node["inputs"]))
            for node in nodes
        )
        for kind, nodes in plain.items()
    }
    return CellGenotype(**cells)


def block_genotype(plain):
    """That of the reference, which lists blocks that change the width apart."""
    changes, same = iter(plain["reduce"]), iter(plain["normal"])
    names = [next(changes if k % 4 == 0 else same) for k in range(21)]
    return BlockGenotype(tuple(_BLOCK_NAMES.get(name) for name in names))


class Case:
    def __init__(self, values, kind, drop_path=0.0):
        self.values, self.kind = values, kind
        x = values["x"].transpose(0, 2, 3, 1)
        self.x = tf.constant(x, keras.config.floatx())
        config = json.loads(str(values["config"]))
        genotype = json.loads(str(values["genotype_json"]))
        shape, classes = self.x.shape[1:], config["classes"]
        if kind == "proxyless":
            self.model = block_network(
                block_genotype(genotype), shape, classes, width=config["channels"]
            )
            places = [f"block{k}" for k in range(21)]
            names = {layer.name for layer in self.model.layers}
            self.outputs = [
                next((n for n in (f"{p}_add", f"{p}_project_norm") if n in names), None)
                for p in places
            ]
        else:
            self.model = cell_network(
                cell_genotype(genotype),
                shape,
                classes,
                config["channels"],
                config["layers"],
                stem="small" if kind == "cifar" else "large",
                auxiliary=True,
                drop_path=drop_path,
            )
            self.outputs = [f"cell{k}" for k in range(config["layers"])]
        self.auxiliary_weight = config["auxiliary_weight"]
        self.layers = load(self.model, values)
        assert len(self.layers) > 50

    def loss(self, training):
        found = self.model(self.x, training=training)
        if self.kind == "proxyless":
            found = {"logits": found}
        parts = {
            name: tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(self.values["y"], logits)
            )
            for name, logits in found.items()
        }
        auxiliary = parts.get("auxiliary_logits", 0.0)
        return found, parts["logits"] + self.auxiliary_weight * auxiliary

    def assert_same(self, actual, name, tolerance=1e-6):
        expected = self.values[name]
        deviation = np.abs(np.asarray(actual, np.float64) - expected).max()
        assert deviation <= tolerance * np.abs(expected).max(), (name, deviation)


class TestAuthorsProgram:
    @pytest.fixture(scope="class", params=["cifar", _IMAGENET, "proxyless"])
    def case(self, request, reference_values, double_precision):
        return Case(reference_values(f"unas_derived_{request.param}"), request.param)

    def test_inference(self, case):
        layers = {k: n for k, n in enumerate(case.outputs) if n is not None}
        wanted = {f"eval/cells/{k}": case.model.get_layer(n).output for k, n in layers.items()}
        found = keras.Model(case.model.inputs, wanted)(case.x)
        for name, value in found.items():
            case.assert_same(value[0].numpy().transpose(2, 0, 1), name)
        logits = case.model(case.x)
        logits = logits if case.kind == "proxyless" else logits["logits"]
        case.assert_same(logits, "eval/logits")
        assert num_parameters(case.model) == int(case.values["parameters"])

    def test_training(self, case):
        with tf.GradientTape() as tape:
            outputs, loss = case.loss(training=True)
        for name, value in outputs.items():
            case.assert_same(value, f"train/{name}")
        np.testing.assert_allclose(loss, case.values["train/loss"], rtol=1e-9)
        names = [str(name) for name in case.values["train/grad_norms_names"]]
        gradients = tape.gradient(loss, [variable_of(case.layers, n).value for n in names])
        found = np.array([np.linalg.norm(g) for g in gradients])
        np.testing.assert_allclose(found, case.values["train/grad_norms"], rtol=1e-6, atol=1e-9)
        for key in case.values.files:
            if key.startswith("train/statistics_after/") and key.endswith("running_mean"):
                name = key.removeprefix("train/statistics_after/")
                value = variable_of(case.layers, name)
                np.testing.assert_allclose(value, case.values[key], rtol=1e-5, atol=1e-7)


def test_dropped_edges(reference_values, monkeypatch):
    """The authors' masks, in the order of the edges that can be dropped."""
    values = reference_values("unas_derived_cifar")
    masks = iter(values["train_drop_path/masks"])
    share = float(values["train_drop_path/drop_probability"])

    def dropped(self, x, training=False):
        mask = np.reshape(next(masks), (-1, 1, 1, 1)).astype(np.float32)
        return x * mask / (1.0 - share) if training else x

    case = Case(values, "cifar", drop_path=share)
    monkeypatch.setattr(DropPath, "call", dropped)
    outputs, loss = case.loss(training=True)
    case.assert_same(outputs["logits"], "train_drop_path/logits", 2e-5)
    np.testing.assert_allclose(loss, values["train_drop_path/loss"], rtol=1e-5)
    assert next(masks, None) is None


SIZES = {
    "darts_cifar10": ("unas_cifar10", {}),
    "darts_cifar100": ("unas_cifar100", {}),
    "darts_imagenet_c46": ("unas_imagenet", {}),
    "darts_imagenet_c48": ("unas_imagenet", {}),
    "proxyless_unas": ("unas_proxyless", {}),
    "proxyless_gpu": ("proxyless_gpu", {}),
    "darts_cifar10_c16_l8": ("unas_cifar10", {}),
}


@pytest.mark.parametrize("name", ["proxyless_gpu", "darts_cifar10_c16_l8"])
def test_sizes(reference_values, name):
    check_size(reference_values, name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "darts_cifar10",
        "darts_cifar100",
        "darts_imagenet_c46",
        "darts_imagenet_c48",
        "proxyless_unas",
    ],
)
def test_all_sizes(reference_values, name):
    check_size(reference_values, name)


def check_size(reference_values, name):
    values = reference_values("unas_sizes")
    columns = [str(column) for column in values["columns"]]
    row = dict(zip(columns, values["table"][[str(n) for n in values["names"]].index(name)]))
    genotype = GENOTYPES[SIZES[name][0]]
    shape, classes = (int(row["side"]), int(row["side"]), 3), int(row["classes"])
    if isinstance(genotype, BlockGenotype):
        model = block_network(genotype, shape, classes)
    else:
        options = dict(stem="large" if row["side"] > 32 else "small")
        sizes = int(row["channels_or_width_x1000"]), int(row["layers"])
        model = cell_network(genotype, shape, classes, *sizes, **options)
    assert num_parameters(model) == row["parameters"]
    assert num_macs(model) == row["conv_macs"] + row["linear_macs"]


class TestDropPath:
    def test_keeps_the_mean(self):
        layer, x = DropPath(0.3, seed=1), tf.ones((20_000, 2, 1))
        np.testing.assert_array_equal(layer(x), x)
        found = layer(x, training=True).numpy()
        np.testing.assert_array_equal(found[:, 0], found[:, 1])
        kept = (found > 0).mean()
        assert abs(kept - 0.7) < 4 * np.sqrt(0.21 / 20_000)
        np.testing.assert_allclose(found[found > 0], 1 / 0.7, rtol=1e-6)
        layer.share.assign(0.0)
        np.testing.assert_array_equal(layer(x, training=True), x)


def test_published_genotypes_survive_their_config():
    for genotype in GENOTYPES.values():
        plain = json.loads(json.dumps(genotype.to_config()))
        assert type(genotype).from_config(plain) == genotype


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CellGenotype(((("skip", 0),),), ()), "has 1 edges; expected 2"),
        (lambda: CellGenotype(((("conv", 0), ("skip", 1)),), ()), "operation of the normal cell"),
        (lambda: CellGenotype(((("skip", 2), ("skip", 1)),), ()), "source of node 0 is 2"),
        (lambda: BlockGenotype(((4, 3),)), "block 0 is"),
        (lambda: cell_network(GENOTYPES["darts_v2"], num_cells=2), "num_cells is 2"),
        (lambda: cell_network(GENOTYPES["darts_v2"], stem="huge"), "stem is 'huge'"),
        (
            lambda: cell_network(GENOTYPES["darts_v2"], num_channels=3, stem="large"),
            "expected an even number",
        ),
        (
            lambda: cell_network(GENOTYPES["darts_v2"], (16, 16, 3), 10, 2, 3, auxiliary=True),
            "auxiliary head sees a grid of 4 x 4",
        ),
        (
            lambda: block_network(BlockGenotype((None,) * 21), (32, 32, 3), 5, 0.1),
            "block 0 is none",
        ),
        (lambda: block_network(BlockGenotype(())), "has 0 blocks"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
