"""A model of phrase grounding: what it depends on, its gradients, what it refuses."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen import PhraseGrounding
from tfgen.errors import ConfigError, DataError, plain_user_errors
from tfgen.grounding.batch import checked_numbers


@pytest.fixture
def batch(rng):
    regions = rng.normal(size=(4, 5, 6)).astype(np.float32)
    regions[1, 3:] = regions[3, 2:] = 0.0
    words = rng.normal(size=(4, 3, 4)).astype(np.float32)
    words[2, 1:] = 0.0
    negatives = rng.normal(size=(4, 4, 4)).astype(np.float32)
    negatives[1] = 0.0
    return {"regions": regions, "words": words, "negatives": negatives}


def tiny(**options):
    return PhraseGrounding(6, 4, 8, **options)


def loss_of(model, batch):
    return model.training_loss(batch)[:2]


def test_order_and_padding_change_nothing(batch, rng):
    model = tiny(symmetric_weight=0.5)
    loss, logs = loss_of(model, batch)
    shuffled = batch | {"regions": batch["regions"][:, rng.permutation(5)]}
    np.testing.assert_allclose(loss_of(model, shuffled)[0], loss, rtol=1e-5)
    order = rng.permutation(4)
    turned = {name: array[order] for name, array in batch.items()}
    np.testing.assert_allclose(loss_of(model, turned)[0], loss, rtol=1e-5)
    more = {name: np.pad(array, ((0, 0), (0, 2), (0, 0))) for name, array in batch.items()}
    np.testing.assert_allclose(loss_of(model, more)[0], loss, rtol=1e-5)
    assert float(logs["image_bound"]) <= math.log(4)


def test_padding_counts_in_the_official_way(batch):
    more = {name: np.pad(array, ((0, 0), (0, 2), (0, 0))) for name, array in batch.items()}
    model = tiny(compat="official")
    assert abs(float(loss_of(model, more)[0] - loss_of(model, batch)[0])) > 1e-4


def test_without_nouns_there_is_one_loss(batch):
    del batch["negatives"]
    assert "language_loss" not in loss_of(tiny(), batch)[1]
    batch["negatives"] = np.zeros((4, 3, 4), np.float32)
    loss, logs = loss_of(tiny(), batch)
    assert logs["language_loss"] == 0
    assert np.isfinite(loss)


def test_gradients_meet_finite_differences(batch):
    model = PhraseGrounding(6, 4, 8, 2, symmetric_weight=0.3, learn_temperature=True)
    model.build()
    with tf.GradientTape() as tape:
        loss = model.training_loss(batch).loss
    kernels = [model._networks["region_key"].last.kernel, model.log_scale]
    gradients = tape.gradient(loss, kernels)
    rng = np.random.default_rng(1)
    for variable, gradient in zip(kernels, gradients, strict=True):
        before, way = variable.numpy(), rng.normal(size=variable.shape).astype(np.float32)
        values = []
        for step in (-1e-2, 1e-2):
            variable.assign(before + step * way)
            values.append(float(model.training_loss(batch).loss))
        variable.assign(before)
        slope = (values[1] - values[0]) / 2e-2
        assert slope == pytest.approx(float(tf.reduce_sum(gradient * way)), rel=0.02, abs=2e-4)


def test_one_hot_regions_and_words_are_grounded_exactly():
    # Image b has concepts 2b and 2b + 1 in another order; its caption names both.
    model = PhraseGrounding(8, 8, 8, 1)
    regions, words = np.zeros((4, 2, 8), np.float32), np.zeros((4, 2, 8), np.float32)
    for b in range(4):
        regions[b, [0, 1], [2 * b + 1, 2 * b]] = words[b, [0, 1], [2 * b, 2 * b + 1]] = 1.0
    model.build()
    found = []
    for scale in (1.0, 3.0, 9.0):
        for network in model._networks.values():
            network.last.kernel.assign(scale * np.eye(8))
            network.last.bias.assign(np.zeros(8))
        batch = {"regions": regions, "words": words}
        found.append(float(loss_of(model, batch)[0]))
        attention = model(batch).attention.numpy()
        np.testing.assert_array_equal(attention.argmax(-1), [[1, 0]] * 4)
    assert found[0] > found[1] > found[2] >= 0
    assert found[2] < 1e-6


def test_a_skipped_step_moves_no_statistics(batch):
    model = tiny()
    model.compile("sgd", run_eagerly=True)
    batch["regions"][0, 0, 0] = np.nan
    model.train_on_batch(batch)
    assert model.counters()["skipped_steps"] == 1
    for variable in model._networks["region_key"].statistics():
        assert set(np.unique(variable)) <= {0.0, 1.0}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(num_layers=4), "num_layers is 4; expected 1 to 3"),
        (dict(compat="exact"), "compat is 'exact'; expected one of None, official"),
        (dict(image_weight=-1.0), "image_weight is -1.0"),
    ],
)
def test_arguments_out_of_range(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        PhraseGrounding(**options)


def test_batches_that_do_not_fit(batch):
    with pytest.raises(DataError, match="a batch has words, negatives; expected 'regions'"):
        tiny().pairs({name: batch[name] for name in ("words", "negatives")})
    with pytest.raises(DataError, match=r"regions has shape \(4, 5, 6\); expected \[B, number, 7"):
        PhraseGrounding(7, 4, 8).pairs(batch)


def test_float16_keeps_the_losses(batch):
    model, half = tiny(), tiny(dtype="mixed_float16")
    assert float(loss_of(half, batch)[0]) == pytest.approx(
        float(loss_of(model, batch)[0]), rel=0.02
    )
    assert {v.dtype for v in half.weights if "float" in v.dtype} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize(
    ("name", "numbers", "sentence"),
    [
        ("token_ids", [[2, 9, 3]], "token_ids has numbers from 2 to 9; expected 0 or more, and "),
        ("negative_ids", [[4, -1]], "negative_ids has numbers from -1 to 4"),
        ("word_positions", [[0, 3]], "word_positions has numbers from 0 to 3; .* and below 3"),
    ],
)
def test_words_and_places_that_are_not_there(name, numbers, sentence):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "dog", "cat"]
    model = PhraseGrounding(6, dims=4, num_layers=1, word_encoder=dict(vocabulary=words, dims=4))
    model.compile("sgd", run_eagerly=True)
    batch = {
        "regions": np.ones((1, 2, 6), np.float32),
        "token_ids": [[2, 4, 3]],
        "word_positions": [[1, 1]],
        "negative_ids": [[4, 5]],
        "noun_position": [1],
    }
    batch = {key: np.asarray(value) for key, value in batch.items()}
    with pytest.raises(DataError, match=sentence):
        model.train_on_batch(batch | {name: np.asarray(numbers)})


def test_words_that_are_not_there_within_a_graph():
    @tf.function
    def checked(numbers):
        return checked_numbers("token_ids", numbers, 6)

    np.testing.assert_array_equal(checked(tf.constant([5, 0])), [5, 0])
    sentence = "token_ids has numbers from 2 to 9; expected 0 or more, and below 6"
    with pytest.raises(DataError, match=sentence), plain_user_errors():
        checked(tf.constant([9, 2]))
