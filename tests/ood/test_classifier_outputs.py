"""Logits and features of any Keras classifier, read off its forward pass."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from pattern_classifiers import KINDS, NOISE, NUM_CLASSES, SHAPE, TEST, classifier

from tfgen.errors import UserError
from tfgen.ood import Evaluator
from tfgen.ood.evaluation import Classifier


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


def test_a_model_of_two_inputs_is_no_classifier_of_images():
    inputs = [keras.Input(SHAPE), keras.Input(SHAPE)]
    both = keras.layers.Flatten()(keras.layers.Add()(inputs))
    with pytest.raises(UserError, match="takes 2 inputs; expected the images alone"):
        Classifier(keras.Model(inputs, keras.layers.Dense(3)(both)), SHAPE)
