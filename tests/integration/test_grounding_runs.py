"""Phrase grounding through the programs: scenes of digits, from pictures and captions to files."""

import json

import numpy as np
import pytest
import tensorflow as tf

import tfgen


@pytest.mark.slow
def test_trains_evaluates_and_exports(cli, root, tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    recipe = f"--config={root / 'configs/grounding/scenes.py'}:runlocal"
    result = cli("train", recipe, workdir)
    assert result.code == 0, result.err
    assert "trained 20 of 20 steps" in result.out
    result = cli("train", recipe, workdir)
    assert "continues at step 20" in result.out
    result = cli("evaluate", workdir)
    assert result.code == 0, result.err
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    assert found["num_phrases"] == 300
    assert found["recall_1"] <= found["recall_5"] <= found["recall_10"] <= found["upper_bound"]
    assert "protocol: any-box" in result.out
    result = cli("export", workdir, "--name=scenes")
    assert result.code == 0, result.err
    served = tf.saved_model.load(str(tmp_path / "run" / "export" / "scenes" / "1"))
    model = tfgen.from_preset(tmp_path / "run")
    question = model.signatures()["ground_image"].example(2, 0)
    answers = served.signatures["ground_image"](**{k: tf.constant(v) for k, v in question.items()})
    want = model(question)
    np.testing.assert_allclose(answers["attention"], want.attention, atol=1e-5)
    (phrase,) = model.ground(np.zeros((50, 70), np.uint8), "a seven", phrases=["a seven"])
    assert phrase.box.shape == (4,)
    assert phrase.box[2] <= 69


@pytest.mark.parametrize("name", ["flickr30k", "coco"])
def test_published_recipes_have_the_published_size(cli, root, name, tmp_path):
    recipe = f"--config={root / 'configs/grounding'}/{name}.py"
    result = cli("train", recipe, "--dry_run")
    assert result.code == 0, result.err
    assert json.loads(result.out)["parameters"] == 11_749_376
    result = cli("train", recipe, f"--workdir={tmp_path / 'run'}", f"--data_dir={tmp_path}")
    assert "there is no folder" in result.mistake()
