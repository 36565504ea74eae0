"""The same questions, asked of every system that is trained."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import register
import tensorflow as tf
from questions import each, plain_first, shake
from register import SYSTEMS

from tfgen.errors import DataError
from tfgen.training import Model


@each(register.able("trainable"))
class TestTrainable:
    def test_keras_file(self, name, tmp_path):
        model = SYSTEMS[name].make()
        model.build()
        model.compile(register.OPTIMIZERS["adamax on a schedule"]())
        model.build_optimizer()
        shake([*model.weights, *model.optimizer.variables])
        path = str(tmp_path / "model.keras")
        model.save(path)
        loaded = keras.models.load_model(path)
        assert type(loaded) is type(model)
        for group in (lambda m: m.weights, lambda m: m.optimizer.variables):
            for a, b in zip(group(model), group(loaded), strict=True):
                np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)
        assert loaded.describe() == model.describe()
        if "generator" in SYSTEMS[name].capabilities:
            images = SYSTEMS[name].batch(model)["images"]
            np.testing.assert_array_equal(model(images), loaded(images))
            assert loaded.image_shape == model.image_shape

    @pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
    def test_mixed_precision_keeps_float32_weights(self, name, policy):
        model = SYSTEMS[name].make(dtype=policy)
        with tf.GradientTape() as tape:
            loss, logs, *_ = model.training_loss(SYSTEMS[name].batch(model))
        floats = {v.dtype for v in model.weights if "float" in str(v.dtype)}
        assert floats == {"float32"}
        gradients = tape.gradient(loss, model.trainable_variables)
        for value in (loss, *logs.values(), *gradients):
            assert value.dtype == tf.float32
            assert np.all(np.isfinite(value))

    def test_is_a_model_with_the_guarded_step(self, name):
        model = SYSTEMS[name].make()
        assert isinstance(model, Model)
        batch = SYSTEMS[name].batch(model)
        loss, logs, updates, _ = model.training_loss(batch)
        assert loss.shape == ()
        assert all(value.shape.rank <= 1 for value in logs.values())
        assert all(variable.shape == value.shape for variable, value in updates)
        logs = model.evaluation_logs(batch)
        assert all(value.shape[0] == 3 for value in logs.values())

    def test_labels_are_looked_at_before_anything_else(self, name):
        model = SYSTEMS[name].make()
        batch = SYSTEMS[name].batch(model)
        if "labels" not in batch:
            return
        model.compile("sgd")
        images, labels = (np.asarray(batch[key]) for key in ("images", "labels"))
        for wrong in (labels - 1, np.where(labels == 0, 255, labels), labels + 0.5, labels[1:]):
            with pytest.raises(DataError, match="labels"):
                model.fit(images, wrong, verbose=0)

    def test_says_what_it_is_in_plain_values(self, name):
        model = SYSTEMS[name].make()
        before = model.describe()
        assert json.loads(json.dumps(before)) == before
        model.build()
        assert model.describe() == before
        trained = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
        assert before["parameters"] == trained


@pytest.fixture
def float64():
    """Keras's own default of everything; nothing is traced for what is asked once."""
    keras.config.set_floatx("float64")
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
    keras.config.set_floatx("float32")


@pytest.mark.parametrize("name", plain_first(register.able("generator")))
@pytest.mark.usefixtures("float64")
def test_under_floatx_float64_it_computes_in_float32(name):
    model = SYSTEMS[name].make()
    model.build()
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    model.compile(register.OPTIMIZERS["adamax"](), run_eagerly=True)
    images = SYSTEMS[name].batch(model)["images"].numpy().astype(np.float64)
    assert np.isfinite(model.train_on_batch(images)[0])
    assert np.all(np.isfinite(model.test_on_batch(images)))
    assert model.sample(2).dtype == np.float32
    assert model.reconstruct(images).dtype == tf.float32


def test_a_saved_model_loads_where_only_its_class_was_imported(tmp_path):
    # Keras refuses to import modules that a file names; the class has to bring its optimizer.
    model = SYSTEMS["nvae of one group"].make()
    model.build()
    model.compile(register.OPTIMIZERS["adamax on a schedule"]())
    model.build_optimizer()
    path = tmp_path / "model.keras"
    model.save(path)
    code = (
        "import sys, keras\nfrom tfgen import NVAE\n"
        "model = keras.models.load_model(sys.argv[1])\n"
        "assert type(model) is NVAE and type(model.optimizer).__name__ == 'Adamax'\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=300)


def test_predict_of_what_is_trained_on_more_than_images():
    model = SYSTEMS["masked language model"].make()
    assert model.predict(SYSTEMS["masked language model"].batch(model), verbose=0).shape[:2] == (
        3,
        4,
    )
    model = SYSTEMS["phrase grounding of pictures"].make()
    images = SYSTEMS["phrase grounding of pictures"].batch(model)["images"]
    with pytest.raises(DataError) as caught:  # Keras would put what was called around it
        model.predict(images, verbose=0)
    assert str(caught.value).startswith("a batch has images; expected 'token_ids' or 'words'")
