"""Options and weights of the authors' programs after their file was read: taken or refused."""

import numpy as np
import pytest
import tensorflow as tf
from fuzzing import budgets, try_many, with_values
from published import Checkpoint, assert_same_as_authors

import tfgen
from tfgen.bin import convert
from tfgen.errors import CheckpointError, UserError
from tfgen.generative.nvae import official
from tfgen.generative.vaebm import official as energies


@pytest.fixture(scope="module")
def checkpoint(reference_values):
    return Checkpoint(reference_values("nvae_bernoulli"))


def test_options_and_weights_without_a_file(checkpoint):
    """What follows the reading of a file, tried without PyTorch too."""
    model, config = convert.convert(checkpoint.args, checkpoint.weights())
    assert_same_as_authors(model, checkpoint)
    assert config["data"]["binarize"] == "dynamic"


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": ["mnist"]},
        {"dataset": None},
        {"dataset": "faces_²"},
        {"dataset": "faces_" + 5000 * "9"},
        {"num_latent_scales": {"a": 1}},
        {"num_channels_enc": "32", "num_channels_dec": "32"},
        {"arch_instance": 3},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_options_of_other_types(checkpoint, changes):
    for shape in (None, (28, 28, 1)) if "dataset" not in changes else (None,):
        with pytest.raises(UserError):
            convert.convert(checkpoint.args | changes, checkpoint.weights(), shape)
    if not isinstance(changes.get("dataset", ""), str):
        with pytest.raises(CheckpointError, match="training option dataset is"):
            convert.convert(checkpoint.args | changes, checkpoint.weights(), (28, 28, 1))


@pytest.mark.parametrize("shape", [(), (1,), (1, 2, 3, 4, 5)])
def test_weights_of_other_ranks(checkpoint, shape):
    state = checkpoint.weights() | {"stem.weight": np.zeros(shape, np.float32)}
    with pytest.raises(CheckpointError, match=r"entry stem\.weight has shape"):
        convert.convert(checkpoint.args, state)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"conv1.weight": np.zeros(())},
        {"conv1.weight": np.zeros((0, 1, 3, 3))},
        {"conv1.weight": np.zeros((8, 1, 3, 3)), "blocks.x.conv1.weight": np.zeros((8, 8, 3, 3))},
        {"conv1.weight": np.zeros((8, 1, 3, 3)), "blocks.": 0},
        {"conv1.weight": np.zeros((8, 1, 3, 3)), f"blocks.{10**12}.conv1.weight": 0},
    ],
    ids=lambda state: " ".join(state)[:60],
)
def test_weights_of_no_energy(state):
    with pytest.raises(CheckpointError, match="no energy network"):
        energies.options_from_official(state, (28, 28, 1))


@budgets
def test_options_of_any_kind(checkpoint, budget):
    def attempt(options):
        official.options_from_official(options, (28, 28, 1))
        official.options_from_official(options)

    outcomes = try_many(with_values(checkpoint.args), attempt, budget)
    assert min(outcomes["read"], outcomes["refused"]) > budget / 20


def shaped_arrays(names):
    """Some arrays of these names and others."""

    def draw_from(draw):
        found = draw.choices(
            [*names, "", "blocks.", "blocks.x", "a.mask", "\n"], k=draw.randint(0, 4)
        )
        return {n: np.zeros(draw.choices(range(5), k=draw.randint(0, 5))) for n in found}

    return draw_from


@budgets
def test_weights_of_any_shape(budget):
    kernel, bias, gain = (tf.Variable(tf.zeros(s)) for s in ([2, 3, 3, 4, 5], [2, 5], [2, 1]))
    slots = {
        "a.weight": (kernel, 1, (2, 3, 1, 0)),
        "a.bias": (bias, 0, (0,)),
        "a.log_weight_norm": (gain, 0, None),
    }
    state = {"a.weight": np.ones([5, 4, 3, 3]), "a.bias": np.ones(5), "a.log_weight_norm": [[[1]]]}

    def attempt(changes):
        official.assign_slots(slots, state | changes, "it")

    outcomes = try_many(shaped_arrays(sorted(state)), attempt, budget)
    assert outcomes["read"]
    assert outcomes["refused"] > budget / 2
    official.assign_slots(slots, state, "it")
    assert kernel.numpy()[1].min() == 1


@budgets
def test_energies_of_any_shape(budget):
    names = ["conv1.weight", "blocks.0.conv1.weight", "blocks.1.conv1.weight", "blocks.0.skip.0"]

    def attempt(state):
        energies.options_from_official(state, (28, 28, 1))

    assert try_many(shaped_arrays(names), attempt, budget)["refused"] > budget / 2


def test_norms_without_fused_activation():
    options = dict(image_shape=(8, 8, 1), padding=0, num_channels=4, num_scales=1, num_groups=1)
    cells = dict(preprocess_blocks=1, preprocess_cells=1, postprocess_blocks=1, postprocess_cells=1)
    model = tfgen.NVAE(**options, **cells, architecture="res_bnelu", latent_channels=2)
    model.build()
    state = {}
    for name, (variable, row, order) in official.slots(model).items():
        value = variable.numpy() if row is None else variable.numpy()[row]
        value = value.reshape(-1) if order is None else value.transpose(np.argsort(order))
        state[name.replace(".bn_act.", ".bn.bn.")] = value + 0.5
    assert any("_ops.1.bn.bn.weight" in name for name in state)
    official.load_official(model, state)
