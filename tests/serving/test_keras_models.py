"""A plain Keras model is served as `predict`, and exported like everything else."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import ExportError
from tfgen.export import export_all, export_saved_model
from tfgen.serving import KerasServable, as_servable


def functional():
    images = keras.Input((6, 6, 1), name="images")
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(images)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(x))
    return keras.Model(images, x)


def two_headed():
    images, ids = keras.Input((4,), name="images"), keras.Input((), dtype="int32", name="ids")
    x = keras.layers.Concatenate()([images, keras.layers.Embedding(5, 3)(ids)])
    return keras.Model({"images": images, "ids": ids}, {"a": x, "b/c": 2 * x})


class Subclass(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2)

    def call(self, x):
        return self.dense(x)


def test_every_format_of_a_functional_model(tmp_path):
    reports = export_all(functional(), str(tmp_path), "net")
    assert [r.target.split()[0] for r in reports] == ["saved_model"] + ["litert"] * 3 + ["onnx"]
    assert reports[0].max_difference < 1e-5
    loaded = tf.saved_model.load(str(tmp_path / "net" / "1"))
    assert set(loaded.signatures) == {"predict", "serving_default"}
    answers = loaded.signatures["serving_default"](images=tf.zeros((5, 6, 6, 1)))
    assert answers["outputs"].shape == (5, 3)


def test_names_and_types_of_several_inputs_and_outputs(tmp_path):
    model = two_headed()
    signature = as_servable(model).signatures()["predict"]
    assert {k: (s.shape.as_list(), s.dtype) for k, s in signature.inputs.items()} == {
        "images": ([None, 4], tf.float32),
        "ids": ([None], tf.int32),
    }
    values = signature.example(3, 0)
    found = signature.function(**{k: tf.constant(v) for k, v in values.items()})
    expected = model({k: tf.constant(v) for k, v in values.items()})
    assert set(found) == {"a", "b_c"}
    np.testing.assert_array_equal(found["b_c"], expected["b/c"])
    export_saved_model(model, str(tmp_path / "net"))


@pytest.mark.parametrize("make", [Subclass, lambda: keras.Sequential([keras.layers.Dense(2)])])
def test_models_that_were_called_once(make):
    model = make()
    model(np.zeros((2, 5), np.float32))
    inputs = as_servable(model).signatures()["predict"].inputs
    assert [(k, s.shape.as_list()) for k, s in inputs.items()] == [("inputs", [None, 5])]


def test_half_precision_computes_in_float32(tmp_path):
    model = functional()
    images = np.random.default_rng(0).random((2, 6, 6, 1), np.float32)
    exact = model(images).numpy()
    for layer in model.layers:
        layer.dtype_policy = "mixed_bfloat16"
    assert np.max(np.abs(tf.cast(model(images), tf.float32) - exact)) > 1e-5
    export_saved_model(model, str(tmp_path / "net"))
    loaded = tf.saved_model.load(str(tmp_path / "net" / "1"))
    served = loaded.signatures["predict"](images=tf.constant(images))["outputs"]
    np.testing.assert_allclose(served, exact, atol=1e-6)


def test_unknown_inputs_and_other_objects_are_refused_in_one_sentence():
    with pytest.raises(ExportError, match=r"inputs of 'subclass.*are not known.*keras.Input"):
        as_servable(Subclass())
    with pytest.raises(ExportError, match="dict cannot be exported"):
        as_servable({})


def test_open_dimensions_need_an_example():
    words = keras.Input((None,), name="words")
    model = keras.Model(words, 2 * words)
    with pytest.raises(ExportError, match=r"'words' of .* open dimension.*example"):
        as_servable(model)
    made = KerasServable(model, example=lambda n, seed: {"words": np.zeros((n, 7), np.float32)})
    assert made.signatures()["predict"].example(2, 0)["words"].shape == (2, 7)
