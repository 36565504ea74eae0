"""Losses, gradients and attention against the authors' own values."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen import PhraseGrounding
from tfgen.errors import CheckpointError
from tfgen.grounding import losses
from tfgen.grounding.critic import every_pair
from tfgen.grounding.official import as_ours, load_official, variable_of
from tfgen.grounding.sides import sides_of

CASES = ("one_hidden", "linear", "two_hidden")


def reference_model(values, case, compat):
    weights = {
        key.removeprefix(f"{case}/weights/"): values[key]
        for key in values.files
        if key.startswith(f"{case}/weights/")
    }
    model = PhraseGrounding(
        values[f"{case}/regions"].shape[-1],
        values[f"{case}/words"].shape[-1],
        weights["ku.K_layer.bias" if case == "linear" else "ku.K_layer.0.bias"].shape[0]
        if case == "linear"
        else values[f"{case}/eval/attended_regions"].shape[-1],
        int(values[f"{case}/layers"]),
        compat=compat,
    )
    load_official(model, weights)
    count = values[f"{case}/region_count"]
    batch = {
        "regions": tf.constant(values[f"{case}/regions"]),
        "region_mask": np.arange(values[f"{case}/regions"].shape[1]) < count[:, None],
        "words": tf.constant(values[f"{case}/words"]),
        "word_mask": 1.0 - values[f"{case}/word_padding"],
        "negatives": tf.constant(values[f"{case}/negative_words"]),
        "noun_valid": values[f"{case}/noun_valid"],
        "negative_mask": np.ones(values[f"{case}/negative_words"].shape[:2]),
    }
    return model, batch


def close(found, want, rtol):
    scale = np.abs(want).max()
    np.testing.assert_allclose(found, want, rtol=0, atol=rtol * scale + 1e-6)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_official_losses_and_gradients(reference_values, case, mode):
    values = reference_values("grounding_losses")
    model, batch = reference_model(values, case, "official")
    training = mode == "train"
    inputs = {name: batch[name] for name in ("regions", "words", "negatives")}
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        parts, updates = model.caption_losses(batch | inputs, training)
        image = tf.reduce_mean(parts["image"])
        language = losses.mean_over_valid(parts["language"], parts["valid"])
    assert float(image) == pytest.approx(float(values[f"{case}/{mode}/loss_image"]), rel=1e-5)
    want = float(values[f"{case}/{mode}/loss_language"])
    assert float(language) == pytest.approx(want, rel=1e-5)
    for kind, loss in (("image", image), ("language", language)):
        start = f"{case}/{mode}/grad_{kind}/"
        names = [key for key in values.files if key.startswith(start)]
        variables = [variable_of(model, key.removeprefix(start)) for key in names]
        for key, found in zip(names, tape.gradient(loss, variables), strict=True):
            close(found, as_ours(values[key]), 1e-4)
        for name, other in (("regions",) * 2, ("words",) * 2, ("negatives", "negative_words")):
            key = f"{case}/{mode}/grad_{kind}_inputs/{other}"
            gradient = tape.gradient(loss, inputs[name], unconnected_gradients="zero")
            close(gradient, values[key], 1e-4)
    for variable, value in updates:
        variable.assign(value)
    start = f"{case}/{mode}/statistics_after/"
    for key in (key for key in values.files if key.startswith(start)):
        close(variable_of(model, key.removeprefix(start)), values[key], 1e-5)


@pytest.mark.parametrize("case", CASES)
def test_official_attention_and_the_masked_one(reference_values, case):
    values = reference_values("grounding_losses")
    for compat, mode in (("official", "eval"), (None, "eval_masked")):
        model, batch = reference_model(values, case, compat)
        pairs = model.pairs(batch)
        found = sides_of(model._networks, pairs)
        sides = (*found["words"], *found["regions"])
        critic = model._scored(every_pair, *sides, pairs)
        close(critic.attention, values[f"{case}/{mode}/attention"], 1e-5)
        close(critic.logits, values[f"{case}/{mode}/logits"], 1e-5)
        own = model(batch)
        rows = np.arange(len(own.logits))
        close(own.logits, values[f"{case}/{mode}/logits"][rows, rows], 1e-5)
        logs = model.evaluation_logs(batch)
        want = float(values[f"{case}/{mode}/loss_image"])
        assert float(tf.reduce_mean(logs["image_loss"])) == pytest.approx(want, rel=1e-5)
        language = float(tf.reduce_sum(logs["language_loss"]) / tf.reduce_sum(logs["nouns"]))
        assert language == pytest.approx(float(values[f"{case}/{mode}/loss_language"]), rel=1e-5)


def test_weights_of_another_size_are_refused(reference_values):
    values = reference_values("grounding_losses")
    model, _ = reference_model(values, "linear", None)
    with pytest.raises(
        CheckpointError, match=r"'ku\.K_layer\.3\.weight' is no weight of networks of 1"
    ):
        variable_of(model, "ku.K_layer.3.weight")
    with pytest.raises(CheckpointError, match="the weights lack 8 of the model's"):
        load_official(model, {})
