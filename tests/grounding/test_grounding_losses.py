"""The critic and its losses: closed forms, float64 by hand, and the authors' own values."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen import PhraseGrounding
from tfgen.errors import CheckpointError, ConfigError, DataError
from tfgen.grounding import losses
from tfgen.grounding.critic import attended_values, every_pair, masked_softmax, own_pair
from tfgen.grounding.official import as_ours, load_official, variable_of
from tfgen.grounding.projection import Projection

CASES = ("one_hidden", "linear", "two_hidden")


def by_hand(queries, values, keys, region_values, mask):
    """Attention, attended values and scores of every pair, one word and one image at a time."""
    shape = (len(queries), len(keys), queries.shape[1])
    attention, logits = np.zeros((*shape, keys.shape[1])), np.zeros(shape)
    attended = np.zeros((*shape, keys.shape[2]))
    for c, b, t in np.ndindex(shape):
        scores = np.array([queries[c, t] @ k for k in keys[b]]) / math.sqrt(keys.shape[2])
        weights = np.where(mask[b] > 0, np.exp(scores - scores.max()), 0.0)
        attention[c, b, t] = weights / weights.sum() if weights.any() else 0.0
        attended[c, b, t] = attention[c, b, t] @ region_values[b]
        logits[c, b, t] = values[c, t] @ attended[c, b, t]
    return attention, attended, logits


@pytest.fixture
def sides(rng):
    """Queries and values of 3 captions of 4 words; keys and values of 3 images of 5 regions."""
    queries, values = rng.normal(size=(2, 3, 4, 6))
    keys, region_values = rng.normal(size=(2, 3, 5, 6))
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 1, 0], [0, 0, 0, 0, 0.0]])
    return queries, values, keys, region_values, mask


def test_scores_equal_the_attended_values_of_one_pair_at_a_time(sides):
    attention, attended, logits = by_hand(*sides)
    found = every_pair(*map(tf.constant, sides))
    np.testing.assert_allclose(found.attention, attention, atol=1e-12)
    np.testing.assert_allclose(found.logits, logits, atol=1e-12)
    own = own_pair(*map(tf.constant, sides))
    rows = np.arange(3)
    np.testing.assert_allclose(own.logits, logits[rows, rows], atol=1e-12)
    mixed = attended_values(own.attention, tf.constant(sides[3]))
    np.testing.assert_allclose(mixed, attended[rows, rows], atol=1e-12)
    sums = found.attention.numpy().sum(-1)
    np.testing.assert_allclose(sums[:, :2], 1.0, atol=1e-12)
    assert not sums[:, 2].any()
    assert not found.attention.numpy()[:, 1, :, [2, 4]].any()


def test_the_values_of_every_pair_are_never_formed():
    # The paper's batch: as [50, 50, 6, 30, 384] they would be 691 MB.
    words, regions = tf.TensorSpec([50, 6, 384]), tf.TensorSpec([50, 30, 384])

    def gradients(*sides):
        with tf.GradientTape() as tape:
            tape.watch(sides)
            total = tf.reduce_sum(every_pair(*sides).logits ** 2)
        return tape.gradient(total, sides)

    traced = tf.function(gradients, autograph=False)
    graph = traced.get_concrete_function(words, words, regions, regions).graph
    sizes = [x.shape.num_elements() for op in graph.get_operations() for x in op.outputs]
    assert max(size for size in sizes if size is not None) <= 50 * 50 * 6 * 30 + 50 * 30 * 384


def test_two_regions_and_one_word():
    word = tf.constant([[[1.0, 0.0]]], tf.float64)
    regions = tf.constant([[[2.0, 0.0], [0.0, 2.0]]], tf.float64)
    found = own_pair(word, word, regions, regions)
    np.testing.assert_allclose(found.attention[0, 0], [0.804430, 0.195570], atol=5e-7)
    np.testing.assert_allclose(found.logits[0, 0], 1.608859, atol=1e-6)


@pytest.mark.parametrize(("size", "value"), [(50, 3.912023), (20, 2.995732)])
def test_a_constant_critic_learns_nothing(size, value):
    logits, mask = tf.ones((size, size, 3), tf.float64), tf.ones((size, 3))
    loss = losses.image_contrastive(logits, mask).numpy()
    np.testing.assert_allclose(loss, value, atol=1e-6)
    assert losses.bound(loss.mean(), size) == pytest.approx(0.0, abs=1e-12)
    language = losses.language_contrastive(tf.ones((4, 26), tf.float64), tf.ones(4))
    np.testing.assert_allclose(language, 3.258097, atol=1e-6)


def test_closed_forms_of_a_right_critic():
    logits = 5.0 * tf.eye(50, dtype=tf.float64)[..., None]
    loss = losses.image_contrastive(logits, tf.ones((50, 1)))
    np.testing.assert_allclose(loss, 0.285299, atol=1e-6)
    words = tf.constant([[5.0] + 25 * [0.0]], tf.float64)
    np.testing.assert_allclose(losses.language_contrastive(words, tf.ones(1)), 0.155677, atol=1e-6)
    # Each image twice: the better the critic, the nearer to a coin between the two copies.
    twice = 1e4 * tf.constant(np.kron(np.eye(3), np.ones((2, 2))))[..., None]
    mask = tf.ones((6, 1))
    np.testing.assert_allclose(losses.image_contrastive(twice, mask), math.log(2), atol=1e-9)
    candidates = losses.same_image_candidates(tf.constant(list("aabbcc")))
    np.testing.assert_allclose(losses.image_contrastive(twice, mask, candidates), 0, atol=1e-9)


def test_the_softmax_runs_over_images(rng):
    logits = tf.constant(rng.normal(size=(4, 4, 3)))
    mask = tf.ones((4, 3))
    before = losses.image_contrastive(logits, mask)
    of_a_word = tf.constant(rng.normal(size=(4, 1, 3)))
    np.testing.assert_allclose(losses.image_contrastive(logits + of_a_word, mask), before)
    of_an_image = tf.constant(rng.normal(size=(1, 4, 1)))
    assert np.abs(losses.image_contrastive(logits + of_an_image, mask) - before).min() > 1e-3
    # The other direction is the other way round.
    before = losses.word_contrastive(logits, mask)
    np.testing.assert_allclose(losses.word_contrastive(logits + of_an_image, mask), before)
    assert np.abs(losses.word_contrastive(logits + of_a_word, mask) - before).min() > 1e-3


def test_the_symmetric_loss_by_hand(rng):
    logits, mask = rng.normal(size=(3, 3, 2)), np.array([[1, 1], [1, 0], [0, 0.0]])
    want = np.zeros(3)
    for b in range(3):
        negatives = [np.exp(logits[c, b, t]) for c, t in np.ndindex(3, 2) if c != b and mask[c, t]]
        own = [logits[b, b, t] for t in range(2) if mask[b, t]]
        terms = [np.log1p(sum(negatives) / np.exp(score)) for score in own]
        want[b] = np.mean(terms) if terms else 0.0
    found = losses.word_contrastive(tf.constant(logits), tf.constant(mask))
    np.testing.assert_allclose(found, want, rtol=1e-12)


def test_words_and_captions_that_do_not_count():
    logits = tf.Variable(np.random.default_rng(0).normal(size=(3, 3, 2)))
    mask = tf.constant([[1, 0], [1, 1], [0, 0.0]])
    with tf.GradientTape() as tape:
        loss = losses.image_contrastive(logits, mask)
    gradient = tape.gradient(loss, logits).numpy()
    assert loss[2] == 0
    assert not gradient[0, :, 1].any()
    assert not gradient[2].any()
    assert gradient[1].any()
    none = losses.language_contrastive(tf.fill((3, 4), np.nan), tf.zeros(3))
    assert not none.numpy().any()
    assert losses.mean_over_valid(none, tf.zeros(3)) == 0


def test_softmax_of_extremes_in_half_precision():
    scores = tf.constant([[6e4, -6e4, 6e4], [1.0, 2.0, 3.0]], tf.float16)
    found = masked_softmax(scores, tf.constant([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])).numpy()
    np.testing.assert_array_equal(found, [[1, 0, 0], [0, 0, 0]])
    assert found.dtype == np.float32


# -- the networks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("layers", "width"), [(1, 0), (2, 1), (3, 2)])
def test_projections_have_the_published_sizes(layers, width):
    projection = Projection(2048, num_layers=layers)
    projection.build()
    want = 2048 * 384 + 384 + width * (2048 * 2048 + 2048 + 2 * 2048)
    assert projection.count_params() == want + width * 2 * 2048
    assert sum(v.shape.num_elements() if hasattr(v.shape, "num_elements") else np.prod(v.shape)
               for v in projection.trainable_variables) == want  # fmt: skip


def test_the_published_model_has_its_parameters_and_first_loss():
    model = PhraseGrounding()
    assert model.describe()["parameters"] == 11_749_376
    assert sum(np.prod(v.shape) for v in model._networks["word_query"].trainable_variables) == (
        887_424
    )
    rng = np.random.default_rng(0)
    batch = {
        "regions": np.maximum(rng.normal(size=(20, 30, 2048)), 0).astype(np.float32),
        "words": rng.normal(size=(20, 6, 768)).astype(np.float32) * 0.6,
    }
    # What the published program starts from at this batch size, log 20 being 2.996.
    assert 2.9 < float(model.training_loss(batch).loss) < 3.3


def test_statistics_are_of_what_the_mask_keeps(rng):
    x = rng.normal(3.0, 2.0, (5, 4, 6)).astype(np.float32)
    mask = (rng.random((5, 4)) < 0.6).astype(np.float32)
    projection = Projection(6, 3, 2)
    projection.build()
    y, (mean, variance) = projection.train(x, mask)
    hidden = projection.hidden[0](x).numpy()[mask > 0].astype(np.float64)
    np.testing.assert_allclose(mean, 0.1 * hidden.mean(0), rtol=1e-5)
    np.testing.assert_allclose(variance, 0.9 + 0.1 * hidden.var(0, ddof=1), rtol=1e-5)
    # What is not kept moves nothing of what is.
    other = np.where(mask[..., None] > 0, x, 100.0).astype(np.float32)
    np.testing.assert_allclose(
        projection.train(other, mask)[0].numpy()[mask > 0], y.numpy()[mask > 0], atol=1e-5
    )
    # Nothing kept: the running statistics stay.
    _, after = projection.train(x, np.zeros((5, 4), np.float32))
    for value, variable in zip(after, projection.statistics(), strict=True):
        np.testing.assert_array_equal(value, variable)


# -- against the authors' program ------------------------------------------------------------------


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
        sides = (*model._word_sides(pairs.words), *model._region_sides(pairs.regions))
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


# -- the model's own behaviour ---------------------------------------------------------------------


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
