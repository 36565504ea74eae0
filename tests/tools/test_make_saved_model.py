"""Packing a run into a preset, and what its model card says."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver
from fuzzing import budgets, either, json_value, try_many, with_values

import tfgen
from tfgen.bin import arguments, pack
from tfgen.errors import UserError
from tfgen.runs import model_card
from tfgen.runs.config import complete
from tfgen.runs.numbers import with_nan
from tfgen.runs.workdir import Workdir
from tfgen.systems import presets

TINY = {
    "image_shape": [8, 8, 1],
    "padding": 0,
    "num_channels": 4,
    "num_scales": 1,
    "num_groups": 2,
    "latent_channels": 2,
    "encoder_cells": 1,
    "decoder_cells": 1,
    "preprocess_blocks": 1,
    "preprocess_cells": 1,
    "postprocess_blocks": 1,
    "postprocess_cells": 1,
}
CONFIG = {
    "model": {"name": "nvae", **TINY},
    "data": {"name": "mnist", "binarize": "dynamic"},
}
METRICS = {
    "data": "mnist",
    "split": "test",
    "nll": 81.234,
    "nll_standard_error": 0.25,
    "bits_per_dim": 0.1495,
    "nelbo": 84.5,
    "nelbo_standard_error": 0.26,
    "kl": 27.5,
    "num_images": 10_000,
    "num_importance_samples": 100,
    "kl_per_group": [20.125, 7.375],
    "active_units": 3,
    "latent_channels": 4,
}
PARTITION = {
    "log_z_lower": 29.25,
    "log_z_lower_standard_error": 1.5,
    "log_z_upper": 17.75,
    "log_z_upper_standard_error": 4.5,
    "log_z_sample_size": 2.5,
    "log_z_upper_sample_size": 1.0,
    "log_z_interval": [26.25, 20.75],
    "base_nelbo": 86.5,
    "base_nelbo_standard_error": 0.26,
    "nelbo_gain": 2.0,
    "nelbo_gain_standard_error": 0.125,
}
SERVED = {"weights": "float16", "num_images": 4, "max_difference": 2e-3}


@pytest.fixture(scope="module")
def model():
    model = tfgen.NVAE(**TINY)
    model.build()
    model.train_steps.assign(1500)
    return model


@pytest.fixture
def workdir(model, tmp_path):
    """The workdir of a run that was evaluated and exported."""
    config = complete(CONFIG)
    path = presets.save_preset(model, tmp_path / "run", config)
    metrics = {"test": METRICS, "export": {"onnx": {"path": "/mnt/run.onnx"}}}
    (path / "metrics.json").write_text(json.dumps(metrics))
    return path


@pytest.fixture
def run(capfd, tmp_path):
    def call(*argv):
        line = [pack.NAME, *map(str, argv), f"--output_dir={tmp_path / 'saved_models'}"]
        with flagsaver.flagsaver():
            rest = arguments.parse(pack.NAME, line)
            code = arguments.execute(pack.NAME, pack.main, pack.WORDS, rest)
        return code, *capfd.readouterr()

    return call


def test_packed_run(run, workdir, model, tmp_path, monkeypatch):
    code, out, err = run(
        workdir, "nvae_tiny", "--served_weights=float16", "--recipe=configs/nvae/mnist.py:cpu"
    )
    # TensorFlow's own log of what it makes of half precision on this CPU is not ours.
    ours = [line for line in err.splitlines() if not re.match(r"[EWI]\d{4} ", line)]
    assert (code, ours) == (0, [])
    assert "MiB in" in out
    preset = tmp_path / "saved_models" / "nvae_tiny"
    names = {path.name for path in preset.iterdir()}
    assert names == {"1", "README.md", "checkpoints", "config.json", "metrics.json"}

    monkeypatch.setenv(presets.PRESETS_DIR, str(preset.parent))
    loaded = tfgen.from_preset("nvae_tiny")
    for a, b in zip(loaded.variables, model.variables, strict=True):
        np.testing.assert_array_equal(a, b)

    # The served form, as the card says to use it.
    serve = tf.saved_model.load(str(preset / "1")).signatures["sample"]
    seeds = loaded.seeds_for(3, seed=1)
    images = serve(seeds=tf.constant(seeds), temperature=tf.constant(0.8))["images"]
    np.testing.assert_allclose(images, loaded.sample(3, temperature=0.8, seed=1), atol=1e-2)
    requests = (preset / "1" / "assets.extra" / "tf_serving_warmup_requests").read_bytes()
    assert b"\x0a\x09nvae_tiny" in requests

    metrics = json.loads((preset / "metrics.json").read_text())
    assert metrics["test"] == METRICS
    assert metrics["saved_model"]["weights"] == "float16"
    assert "/mnt" not in json.dumps(metrics)
    assert str(tmp_path) not in (preset / "README.md").read_text()


def test_files_of_this_machine_stay_here():
    assert pack._moved({"split": "test", "files": ["/there"], "a": 1}) == {"split": "test", "a": 1}
    pictures = {"split": "test", "pictures": {"files": ["/there"]}, "b": {"c": 1, "files": []}}
    assert pack._moved(pictures) == {"split": "test", "b": {"c": 1}}


def test_too_large(run, workdir, tmp_path):
    code, _, err = run(workdir, "big", "--max_mib=0.01")
    assert code == 2
    assert "above --max_mib=0.01; nothing was written" in err
    assert not (tmp_path / "saved_models" / "big").exists()


def test_existing_presets_are_kept(run, workdir, tmp_path):
    preset = tmp_path / "saved_models" / "mine"
    preset.mkdir(parents=True)
    code, _, err = run(workdir, "mine")
    assert code == 2
    assert "exists already" in err
    assert run(workdir, "a/b")[0] == 2
    assert run(tmp_path / "nowhere", "other")[0] == 2


@pytest.mark.parametrize(("limit", "storage"), [(25.0, "float32"), (2.5, "float16")])
def test_storage_by_size(limit, storage, model):
    arguments.parse("test", ["test"])
    with flagsaver.flagsaver(max_mib=limit):
        assert pack._served_weights(model) == storage


def test_card(model):
    config = complete(CONFIG)
    recipe = "configs/nvae/mnist.py:cpu"
    card = model_card.write(
        "nvae_mnist", model, config, {"test": METRICS}, SERVED, recipe, ["In 9 minutes."]
    )
    for words in (
        "# nvae_mnist\n",
        "2 latent groups\n(2 of 4x4)",
        "60,000 train images, 10,000 test images",
        "| test | 10,000 | 81.23 ± 0.25 | 0.1495 | 100 | 84.50 ± 0.26 | 27.50 | 3 of 4 |",
        "test: 20.12 7.38",
        "1,500 training steps of 64 images, 96,000 in all. In 9 minutes.",
        "tfgen-train --config=configs/nvae/mnist.py:cpu --workdir=runs/nvae_mnist",
        "| `num_channels` | 4 |",
        "in float16 and computes in float32",
        "mnist is under CC BY-SA 3.0",
    ):
        assert words in card, words
    assert "{" not in card
    bare = model_card.write("x", model, config, {}, SERVED)
    assert "Not measured yet" in bare
    assert "--config=RECIPE --workdir=runs/x" in bare


@budgets
def test_metrics_of_any_kind(model, tmp_path, budget):
    """Numbers of other types are kept and said; the card does without them."""
    config, run = {"model": {"name": "vaebm"}}, Workdir(tmp_path)
    more = {**METRICS, **PARTITION, "images": "all 60,000 train images"}
    whole = {"test": METRICS, "train": more}

    def attempt(metrics):
        run.metrics_path.write_text(json.dumps(metrics))
        numbers = with_nan(run.read_metrics())
        said = model_card.left_out(config, numbers)
        lines = model_card._numbers("vaebm", numbers).splitlines()
        likelihoods = sum("nll" in found for found in numbers.values())
        partitions = sum("log_z_lower" in found for found in numbers.values())
        shown = sum(" ± " in line for line in lines if line[:1] == "|")
        shown += sum(": Log Z: lower bound" in line for line in lines)
        assert shown == likelihoods + partitions - len(said)
        if said:
            raise UserError(" ".join(said))

    outcomes = try_many(either(with_values(whole), json_value), attempt, budget)
    assert min(outcomes["read"], outcomes["refused"]) > budget / 20


@pytest.mark.slow
def test_packing_with_metrics_of_other_types(run, workdir, tmp_path):
    metrics = {"test": {**METRICS, "nll": "81"}, "train": METRICS, "export": {}}
    (workdir / "metrics.json").write_text(json.dumps(metrics))
    code, out, _ = run(workdir, "mixed", "--served_weights=float16")
    assert code == 0
    assert "but kept in metrics.json: 'test': 'nll' is '81', expected a number" in out
    preset = tmp_path / "saved_models" / "mixed"
    assert json.loads((preset / "metrics.json").read_text())["test"]["nll"] == "81"
    card = (preset / "README.md").read_text()
    assert "| train | 10,000 | 81.23" in card
    assert "| test |" not in card


def test_numbers_of_a_refinement():
    text = model_card._numbers("vaebm", {"test": {**METRICS, **PARTITION}})
    for words in (
        "test: Log Z: lower bound 29.250 ± 1.500, upper bound 17.750 ± 4.500 nats; likelihoods",
        "log Z is above 26.2 in nineteen runs of twenty. The bounds",
        "| test | 10,000 | 81.23 ± 0.25 |",
        "a NELBO of 86.50 ± 0.26 nats on the same images; 2.00 ± 0.12 are gained, image by image.",
    ):
        assert words in text, words


def test_card_of_a_detector_asks_for_its_scores():
    backbone = {"name": "small_cnn", "widths": [2], "strides": [2]}
    use = model_card._use(tfgen.MultiTaskOOD(backbone, ["flip"], (8, 8, 1), 3))
    assert use.splitlines() == [
        "scores = model.ood_score(images)  # [N] of [N, 8, 8, 1], larger is further away",
        "accepted = model.accepts(images)",
    ]


def test_card_of_a_refinement_names_what_it_stands_on(model):
    config = complete({**CONFIG, "model": {"name": "ncp", "vae": CONFIG["model"]}})
    text = model_card._making("y", model, config, "configs/ncp/mnist.py:cpu", [])
    assert "tfgen-train --config=configs/ncp/mnist.py:cpu --config.vae=VAE --workdir=runs/y" in text
    assert "`VAE` stands for" in text
