"""docs/adding_a_system.md, followed once: a class and a row, and every program knows the system."""

import json

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver

import tfgen
from tfgen.systems.registry import SYSTEMS, System

RECIPE = """
from ml_collections import config_dict

from tfgen import recipes


def get_config(mode=""):
    config = config_dict.ConfigDict()
    config.model = dict(name="toy", image_shape=(16, 16, 1))
    config.data = dict(name="digits", batch_size=100)
    config.optimizer = dict(name="adam", learning_rate=1e-2, warmup_epochs=0)
    config.training = recipes.training(epochs=3, steps_per_epoch=10, report_steps=5)
    config.evaluation = dict(batch_size=50)
    return config
"""


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """The row; returns the flag of a recipe."""
    row = System(
        "toy_classifier:ToyClassifier",
        title="Softmax regression",
        paper="[nobody, 2026](https://example.org)",
        evaluators=("classification",),
    )
    monkeypatch.setitem(SYSTEMS, "toy", row)
    path = tmp_path / "toy_recipe.py"
    path.write_text(RECIPE)
    return f"--config={path}"


def test_trains_resumes_evaluates_and_exports(cli, toy, tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    plan = json.loads(cli("train", toy, "--dry_run").out)
    assert plan["model"] == "toy"

    result = cli("train", toy, workdir, "--config.training.epochs=2")
    assert result.code == 0, result.err
    result = cli("train", toy, workdir)
    assert result.code == 0, result.err
    assert "2,570 parameters" in result.out
    assert "continues at step 20" in result.out
    assert "trained 30 of 30 steps" in result.out
    assert not list((tmp_path / "run").glob("samples/*"))

    result = cli("evaluate", workdir)
    assert result.code == 0, result.err
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    assert found["accuracy"] > 0.7
    assert found["num_images"] == 297
    assert f"accuracy {found['accuracy']:.2%} +- " in result.out
    assert "means nothing to 'toy'" in cli("evaluate", workdir, "--num_samples=3").mistake()
    assert "draws no images" in cli("sample", workdir).mistake()

    result = cli("export", workdir, "--name=toy")
    assert result.code == 0, result.err
    names = {path.name for path in (tmp_path / "run" / "export").iterdir()}
    assert {"toy", "toy.onnx", "toy_float32.tflite"} <= names
    model = tfgen.from_preset(tmp_path / "run")
    images = np.random.default_rng(0).random((3, 16, 16, 1), np.float32)
    served = tf.saved_model.load(str(tmp_path / "run" / "export" / "toy" / "1"))
    answers = served.signatures["serving_default"](images=tf.constant(images))
    np.testing.assert_allclose(answers["logits"], model(images), atol=1e-5)


def test_packs_with_a_card(cli, toy, tmp_path):
    from tfgen.bin import arguments, pack

    workdir = tmp_path / "run"
    assert cli("train", toy, f"--workdir={workdir}", "--config.training.epochs=1").code == 0
    assert cli("evaluate", f"--workdir={workdir}").code == 0
    line = [pack.NAME, str(workdir), "toy_digits", f"--output_dir={tmp_path}"]
    with flagsaver.flagsaver():
        rest = arguments.parse(pack.NAME, line)
        assert arguments.execute(pack.NAME, pack.main, pack.WORDS, rest) == 0
    card = (tmp_path / "toy_digits" / "README.md").read_text()
    assert card.startswith("# toy_digits\n\nSoftmax regression ([nobody, 2026]")
    assert "2,570 parameters" in card
    assert '.signatures["predict"]\nanswers = serve(images=tf.zeros([1, 16, 16, 1]))' in card
    assert "| Split | Images | Accuracy |" in card
    assert tfgen.from_preset(tmp_path / "toy_digits").num_classes == 10
