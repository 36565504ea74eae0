"""The evaluator: any classifier, any object with a score, images in any form, one table."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen import metrics
from tfgen.data import Source
from tfgen.errors import ConfigError, DataError, UserError
from tfgen.generative import Generator, seeds_for
from tfgen.generative.nvae import NVAE
from tfgen.ood import Evaluator, scores
from tfgen.ood.evaluation import Classifier
from tfgen.ood.evaluation.image_sets import as_image_set

SHAPE, NUM_CLASSES = (6, 6, 1), 3
RNG = np.random.default_rng(0)
PATTERNS = RNG.random((NUM_CLASSES, *SHAPE)).astype(np.float32)


def images_of(labels, seed):
    """Noisy patterns of some classes."""
    noise = np.random.default_rng(seed).random((len(labels), *SHAPE), np.float32)
    return (0.7 * PATTERNS[labels] + 0.3 * noise).astype(np.float32)


LABELS = np.arange(150) % NUM_CLASSES
TRAIN, TEST = images_of(LABELS, 1), images_of(LABELS[:90], 2)
NOISE = np.random.default_rng(3).random((60, *SHAPE), np.float32)


def solved(features, labels=LABELS):
    """Kernel and bias of a linear classifier by least squares, sharp enough to be sure."""
    rows = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    weights = np.linalg.lstsq(rows, 8.0 * np.eye(NUM_CLASSES)[labels], rcond=None)[0]
    return [weights[:-1], weights[-1]]


@keras.saving.register_keras_serializable(package="test_ood_evaluator")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.last = keras.layers.Dense(NUM_CLASSES)  # first in the list of layers, last in the pass
        self.first = keras.layers.Dense(8, "relu")

    def call(self, images):
        return self.last(self.first(tf.reshape(images, [-1, 36])))


def classifier(kind, seed=0):
    """A small classifier that is right, made in one of the ways that Keras knows."""
    layers = keras.layers
    keras.utils.set_random_seed(seed)
    trunk = [layers.Flatten(), layers.Dense(8, "relu", name="hidden")]
    if kind == "functional":
        x = inputs = keras.Input(SHAPE)
        for layer in trunk:
            x = layer(x)
        model = keras.Model(inputs, layers.Softmax()(layers.Dense(NUM_CLASSES, name="last")(x)))
    elif kind == "sequential":
        last = layers.Dense(NUM_CLASSES, "softmax", name="last")
        model = keras.Sequential([keras.Input(SHAPE), *trunk, last])
    elif kind == "nested":
        inner = keras.Sequential([keras.Input(SHAPE), *trunk])
        outer = keras.Sequential([keras.Input((8,)), layers.Dense(NUM_CLASSES, name="last")])
        inputs = keras.Input(SHAPE)
        model = keras.Model(inputs, outer(inner(inputs)))
    else:
        model = Subclassed()
        model(TRAIN[:1])
    last = model.last if kind == "subclassed" else last_of(model)
    last.set_weights(solved(Classifier(model, SHAPE).outputs(TRAIN)["features"].numpy()))
    return model


def last_of(model):
    return next(layer for layer in model._flatten_layers() if layer.name == "last")


KINDS = ("functional", "sequential", "nested", "subclassed")


@pytest.fixture(scope="module")
def models():
    return {kind: classifier(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_layer_is_found(models, kind):
    found = Classifier(models[kind], SHAPE)
    outputs = found.outputs(TEST)
    returned = models[kind](TEST, training=False)
    exact = returned if kind in ("nested", "subclassed") else np.log(returned)
    logits = outputs["logits"].numpy()
    np.testing.assert_allclose(
        logits - logits.mean(1, keepdims=True), exact - np.mean(exact, 1, keepdims=True), atol=1e-4
    )
    np.testing.assert_allclose(
        outputs["features"] @ found.head.kernel + found.head.bias, logits, atol=1e-5
    )
    assert found.num_classes == NUM_CLASSES
    assert outputs["features"].shape == (90, 8)
    assert np.min(outputs["features"]) == 0.0  # after the rectifier


def test_a_layer_of_features_can_be_named(models):
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Conv2D(5, 3, name="maps"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2, name="last"),
        ]
    )
    found = Classifier(model, SHAPE, feature_layer="maps")
    wanted = Classifier(model, SHAPE).outputs(TEST)
    np.testing.assert_allclose(found.outputs(TEST)["features"], wanted["features"], atol=1e-6)
    np.testing.assert_allclose(found.outputs(TEST)["logits"], wanted["logits"], atol=1e-6)
    assert found.head is None
    with pytest.raises(UserError, match=r"no layer 'middle'; it has .*maps"):
        Classifier(model, SHAPE, feature_layer="middle")


def test_one_sigmoid_is_two_classes():
    inputs = keras.Input(SHAPE)
    hidden = keras.layers.Dense(4, "relu")(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(hidden))
    found = Classifier(model, SHAPE)
    p = model(TEST, training=False).numpy()
    logits = found.outputs(TEST)["logits"]
    np.testing.assert_allclose(tf.nn.softmax(logits), np.c_[1 - p, p], atol=1e-5)
    features = found.outputs(TEST)["features"]
    np.testing.assert_allclose(features @ found.head.kernel + found.head.bias, logits, atol=1e-5)


def test_a_network_without_a_dense_layer_has_logits_alone():
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Conv2D(NUM_CLASSES, 3),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Softmax(),
        ]
    )
    found = Classifier(model, SHAPE)
    outputs = found.outputs(TEST)
    assert set(outputs) == {"logits"}
    np.testing.assert_allclose(tf.nn.softmax(outputs["logits"]), model(TEST), atol=1e-6)
    result = Evaluator(model, TEST, {"noise": NOISE}, num_resamples=10).evaluate()
    assert [row.score for row in result.rows] == [
        *("msp", "max_logit", "energy", "kl_to_uniform", "odin")
    ]
    assert any("scores of features are left out" in note for note in result.notes)


class Wrapped(keras.Model):
    """Another model inside, its images and logits scaled."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, images, training=False):
        return self.inner(2.0 * images - 1.0, training=training) / 0.5


def test_what_scales_the_logits_belongs_to_the_head(models):
    wrapped = Wrapped(models["subclassed"])
    returned = wrapped(TEST)
    found = Classifier(wrapped, SHAPE)
    outputs = found.outputs(TEST)
    np.testing.assert_allclose(outputs["logits"], returned, rtol=1e-4, atol=1e-4)
    kernel, bias = found.head
    np.testing.assert_allclose(outputs["features"] @ kernel + bias, returned, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (lambda h: keras.layers.Dense(4, "tanh")(h), "ends in Tanh, which gives neither"),
        (lambda h: keras.layers.Dense(4, "sigmoid")(h), "ends in 4 sigmoids"),
        (lambda h: keras.layers.Dense(1)(h), "returns 1 number an image"),
        (lambda h: [keras.layers.Dense(k)(h) for k in (2, 3)], r"of shape \(None, 2\), \(None, 3"),
        (lambda h: keras.layers.Reshape((4, 9))(h), r"of shape \(None, 4, 9\)"),
    ],
)
def test_models_that_are_no_classifiers(last, words):
    inputs = keras.Input(SHAPE)
    with pytest.raises(UserError, match=words):
        Classifier(keras.Model(inputs, last(keras.layers.Flatten()(inputs))), SHAPE)


class Brightness:
    """Not a Keras model at all: further from 0.5 is further out."""

    name = "brightness"
    image_shape = SHAPE

    def ood_score(self, images):
        return np.abs(np.asarray(images).mean(axis=(1, 2, 3)) - 0.5)


class Drawn:
    """As generators score images, with a seed for each."""

    def ood_score(self, images, seeds):
        return tf.reduce_mean(images, [1, 2, 3]) + 1e-9 * tf.cast(seeds, tf.float32)


@pytest.fixture(scope="module")
def evaluation(models):
    evaluator = Evaluator(
        {"plain": models["sequential"], "brightness": Brightness(), "drawn": Drawn()},
        (TEST, LABELS[:90]),
        {"noise": NOISE, "inverse": 1.0 - TEST, "dark": 0.2 * TEST[:40]},
        fit_data=(TRAIN, LABELS),
        near=["inverse"],
        num_resamples=30,
        batch_size=32,
    )
    return evaluator.evaluate()


def test_every_score_is_a_row(evaluation):
    plain = ("msp", "max_logit", "energy", "kl_to_uniform", "odin")
    fitted = ("mahalanobis", "ssd", "knn", "vim")
    wanted = [("plain", name) for name in (*plain, *fitted)]
    wanted += [("brightness", "ood_score"), ("drawn", "ood_score")]
    assert [(row.model, row.score) for row in evaluation.rows] == wanted
    assert evaluation.num_images == {"in": 90, "noise": 60, "inverse": 90, "dark": 40}
    assert {row.score: row.passes for row in evaluation.rows if row.model == "plain"} == {
        name: 3 if name == "odin" else 1 for name in (*plain, *fitted)
    }
    assert all(row.milliseconds > 0.0 for row in evaluation.rows)
    assert evaluation.classification["plain"]["accuracy"] > 0.95
    assert set(evaluation.classification) == {"plain"}


def test_numbers_are_those_of_scores_computed_alone(models, evaluation):
    network = Classifier(models["sequential"], SHAPE)
    score = scores.Mahalanobis().fit(network.outputs(TRAIN), LABELS)
    inside, outside = (score(network.outputs(x)).numpy() for x in (TEST, NOISE))
    row = evaluation.row("mahalanobis")
    np.testing.assert_allclose(row.separation["noise"], metrics.measure_separation(inside, outside))
    assert row.separation["noise"].auroc > 0.9
    odin = scores.ODIN().bind(lambda x: network.outputs(x)["logits"])
    found = evaluation.scores["plain"]["odin"]["noise"]
    np.testing.assert_allclose(found, odin({"images": tf.constant(NOISE)}), rtol=1e-4)
    bright = evaluation.row("ood_score", "brightness").separation["dark"]
    dark = Brightness().ood_score(0.2 * TEST[:40])
    assert bright == metrics.measure_separation(Brightness().ood_score(TEST), dark)


def test_intervals_hold_the_numbers(evaluation):
    for row in evaluation.rows:
        for name, found in row.separation.items():
            low, high = row.intervals[name].auroc
            assert low <= found.auroc <= high
            assert 0.0 <= low < high <= 1.0


def test_near_and_far_are_means(evaluation):
    row = evaluation.row("energy")
    assert set(row.means) == {"near", "far", "all"}
    assert row.means["near"] == row.separation["inverse"]
    far = [row.separation[name].auroc for name in ("noise", "dark")]
    assert abs(row.means["far"].auroc - np.mean(far)) < 1e-12


def test_rows_are_compared(evaluation):
    first, second = evaluation.row("mahalanobis"), evaluation.row("msp")
    found = evaluation.compare(first, second, "noise")
    wanted = first.separation["noise"].auroc - second.separation["noise"].auroc
    assert abs(found.difference - wanted) < 1e-12
    with pytest.raises(UserError, match="2 rows are of the score 'ood_score'"):
        evaluation.row("ood_score")
    with pytest.raises(UserError, match="no rows are of the score 'nothing'"):
        evaluation.row("nothing")


def test_what_is_saved(models, tmp_path):
    evaluator = Evaluator(
        {"plain": models["sequential"]},
        TEST,
        {"noise": NOISE, "dark": 0.2 * TEST[:40]},
        fit_data=TRAIN,
        scores=[scores.KNN(3), scores.MaxSoftmax()],
        num_resamples=10,
    )
    evaluation = evaluator.evaluate()
    folder = evaluation.save(tmp_path / "found")
    assert {p.name for p in folder.iterdir()} == {
        *("evaluation.json", "scores.npz", "roc.png", "histograms.png")
    }
    read = json.loads((folder / "evaluation.json").read_text())
    row = next(r for r in read["rows"] if r["score"] == "knn")
    assert row["sets"]["noise"]["auroc"] == evaluation.row("knn").separation["noise"].auroc
    assert len(row["sets"]["noise"]["intervals"]["fpr95_id_positive"]) == 2
    with np.load(folder / "scores.npz") as stored:
        np.testing.assert_array_equal(
            stored["plain/msp/dark"], evaluation.scores["plain"]["msp"]["dark"]
        )
    for name in ("roc.png", "histograms.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_what_is_printed(evaluation):
    text = str(evaluation)
    area = evaluation.row("knn").separation["noise"].auroc
    assert f"{100 * area:.2f}" in text
    assert "plain: accuracy" in text
    assert "mean of near" in text


def test_without_data_to_fit_to_a_half_is_spared(models):
    evaluator = Evaluator(models["sequential"], TEST, {"noise": NOISE}, num_resamples=10)
    result = evaluator.evaluate()
    assert result.num_images["in"] == 45
    assert any("45 images of 'in'" in note for note in result.notes)
    assert any("no labels" in note for note in result.notes)
    assert "mahalanobis" not in [row.score for row in result.rows]
    both = np.concatenate([evaluator.fit_set.images, evaluator.in_set.images])
    np.testing.assert_array_equal(np.sort(both.ravel()), np.sort(TEST.ravel()))


def test_images_come_in_any_form():
    levels = np.uint8(np.round(255 * TEST))
    wanted = levels.astype(np.float32) / 255.0
    dataset = tf.data.Dataset.from_tensor_slices({"image": levels, "label": LABELS[:90]}).batch(7)
    forms = {
        "levels": levels,
        "without channels": levels[..., 0],
        "intensities": wanted,
        "pair": (levels, LABELS[:90]),
        "dict": {"images": wanted, "labels": LABELS[:90]},
        "source": Source("x", "test", {"images": levels, "labels": LABELS[:90]}),
        "dataset": dataset,
    }
    for name, form in forms.items():
        found = as_image_set(form, name, SHAPE)
        batches = list(found.batches(32))
        assert [len(b) for b in batches] == [32, 32, 26]
        assert batches[0].dtype == np.float32
        np.testing.assert_array_equal(np.concatenate(batches), wanted)
        if name in ("pair", "dict", "source", "dataset"):
            np.testing.assert_array_equal(found.labels, LABELS[:90])
        few, more = ({x.tobytes() for x in found.at_most(n, 1).images} for n in (5, 9))
        assert len(few) == 5
        assert few < more


def broken(kind):
    images = TEST.copy()
    images[4, 0, 0, 0] = np.nan if kind == "nan" else 300.0
    return images


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((0, *SHAPE), np.float32), "'other' is empty"),
        (np.zeros((4, 6, 5, 1), np.float32), r"'other' has images of shape \(6, 5, 1\)"),
        (broken("nan"), "'other' has NaN or infinite pixels, first in image 4"),
        (broken("range"), "'other' holds floating-point pixels from .* to 300"),
        ((TEST, LABELS[:3]), "'other' has labels of shape"),
        ("svhn", "'other' is the text 'svhn'"),
        (tf.data.Dataset.from_tensors(TEST).repeat(), "never ends"),
    ],
)
def test_images_that_are_none(models, given, words):
    with pytest.raises(DataError, match=words):
        Evaluator(models["sequential"], TEST, {"other": given})


class Detector:
    """As `MultiTaskOOD` holds its own scores."""

    name, image_shape = "detector", SHAPE

    def __init__(self, network):
        self.network, self.fitted_to = network, 0
        self.scores = {"msp": scores.MaxSoftmax(), "near": scores.KNN(2, name="near")}

    def outputs(self, images):
        return dict(self.network.outputs(images))

    def passes(self, score):
        return {"msp": 1, "near": 9}[score]

    def ood_score(self, images, score):
        return self.scores[score](self.outputs(images)).numpy()


def test_a_detector_brings_its_own_scores(models):
    detector = Detector(Classifier(models["nested"], SHAPE))
    with pytest.raises(UserError, match="'detector' is not fitted, which its score 'near' needs"):
        Evaluator(detector, TEST, {"noise": NOISE})
    detector.scores["near"].fit(detector.outputs(TRAIN))
    detector.fitted_to = len(TRAIN)
    result = Evaluator(detector, (TEST, LABELS[:90]), {"noise": NOISE}, num_resamples=10).evaluate()
    assert [(row.score, row.passes) for row in result.rows] == [("msp", 1), ("near", 9)]
    found = result.scores["detector"]["near"]["noise"]
    np.testing.assert_allclose(found, detector.ood_score(NOISE, "near"), rtol=1e-5)
    assert result.classification["detector"]["accuracy"] > 0.9


class Bounded(Generator):
    """A generator with a bound of the likelihood, by seed."""

    image_shape = SHAPE

    def negative_elbo(self, images, seeds):
        drawn = tf.cast(seeds % 7, tf.float32)
        return {"nelbo": tf.reduce_sum(images, [1, 2, 3]) + drawn, "kl": drawn}


def check_generator(name, generator, images, others):
    result = Evaluator({name: generator}, images, {"others": others}, batch_size=3).evaluate()
    found = result.scores[name]["ood_score"]["others"]
    wanted = generator.negative_elbo(others / np.float32(255), seeds_for(len(others), 0))["nelbo"]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def levels(seed, shape):
    return np.uint8(255 * np.random.default_rng(seed).random((5, *shape)))


def test_generators_score_by_their_bound():
    check_generator("bounded", Bounded(), levels(0, SHAPE), levels(1, SHAPE))


@pytest.mark.slow
def test_generators_of_this_library_are_rows():
    options = {f"{part}_cells": 1 for part in ("encoder", "preprocess", "postprocess")}
    options |= {"preprocess_blocks": 1, "postprocess_blocks": 1, "latent_channels": 2}
    shape = (8, 8, 1)
    vae = NVAE(shape, padding=0, num_channels=2, num_scales=1, num_groups=1, **options)
    check_generator("nvae", vae, levels(0, shape), levels(1, shape))


class Broken:
    def ood_score(self, images):
        return np.where(np.arange(len(images)) == 2, np.nan, 0.0)


def test_mistakes_are_one_sentence(models):
    model, noise = models["sequential"], {"noise": NOISE}
    for make, error, words in (
        (lambda: Evaluator(model, TEST, {}), ConfigError, "no set of outliers"),
        (lambda: Evaluator(model, TEST, {"in": NOISE}), ConfigError, "two sets are called 'in'"),
        (lambda: Evaluator(model, TEST, noise, near=["x"]), ConfigError, "near is"),
        (lambda: Evaluator(model, TEST, noise, scores=[]), ConfigError, "there are no scores"),
        (
            lambda: Evaluator(model, TEST, noise, scores=[scores.KNN(1), scores.KNN(2)]),
            ConfigError,
            "two scores are called 'knn'",
        ),
        (lambda: Evaluator(object(), TEST, noise), UserError, "is a object; expected a keras"),
        (lambda: Evaluator(keras.Sequential(), TEST, noise), UserError, "is not built"),
        (
            lambda: Evaluator(model, NOISE[:, :5], {"noise": NOISE[:, :5]}),
            UserError,
            r"takes images of shape \(6, 6, 1\)",
        ),
        (
            lambda: Evaluator(Broken(), TEST, noise).evaluate(),
            DataError,
            "'ood_score' of 'model' on the set 'in' has 1 scores that are NaN, first of image 2",
        ),
        (
            lambda: Evaluator(
                model, TEST, noise, fit_data=(TRAIN[::3], LABELS[::3]), num_resamples=10
            ).evaluate(),
            DataError,
            "are of class 0, and the network tells 3",
        ),
        (
            lambda: Evaluator(
                model, (TEST, LABELS[:90] + 5), noise, scores=[scores.MaxSoftmax()]
            ).evaluate(),
            DataError,
            "labels from 5 to 7",
        ),
        (
            lambda: Evaluator(model, TEST, noise, scores=[scores.Mahalanobis()]).evaluate(),
            DataError,
            "needs the classes",
        ),
        (lambda: Evaluator(model, TEST[:3], noise), DataError, "give fit_data"),
    ):
        with pytest.raises(error, match=words):
            make()


class Extreme:
    def ood_score(self, images):
        scores = np.zeros(len(images))
        scores[0] = np.inf
        return scores


def test_constant_and_infinite_scores_are_drawn(tmp_path):
    result = Evaluator({"x": Extreme()}, TEST, {"noise": NOISE}, num_resamples=10).evaluate()
    assert abs(result.rows[0].separation["noise"].auroc - 0.5) < 0.02
    assert (result.save(tmp_path) / "histograms.png").exists()


def test_one_image_a_set_is_enough_for_scores_without_statistics(models):
    result = Evaluator(
        models["sequential"], TEST[:1], {"noise": NOISE[:1]}, scores=[scores.MaxSoftmax()]
    ).evaluate()
    assert result.rows[0].separation["noise"].auroc in (0.0, 1.0)
