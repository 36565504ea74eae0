"""Detectors through the binaries: trained, calibrated on what was set aside, measured, served."""

import json

import numpy as np
import pytest
import tensorflow as tf

import tfgen
from tfgen.errors import DataError
from tfgen.runs.evaluators import Detection

FEW = ("--config.evaluation.num_images=40", "--config.evaluation.batch_size=20")


@pytest.fixture(scope="module")
def config(root):
    return root / "configs/ood/digits.py"


def test_labelled_from_training_to_numbers(cli, config, tmp_path):
    flags, run = (f"--config={config}:runlocal", *FEW), tmp_path / "run"
    plan = json.loads(cli("train", *flags, "--dry_run").out)
    assert plan["tasks"] == {"rotation": [1.0, 1.0], "translation": [1.0, 1.0]}
    assert plan["images_per_example"] == 8

    result = cli("train", *flags, f"--workdir={run}")
    assert result.code == 0, result.err
    assert "trained 4 of 4 steps" in result.out
    model = tfgen.from_preset(run)
    assert int(model.fitted_to) > 500
    assert int(model.calibrated_on) == 73  # a tenth of the training images of 0 to 4
    result = cli("evaluate", f"--workdir={run}")
    assert result.code == 0, result.err
    found = json.loads((run / "metrics.json").read_text())["test"]
    assert found["num_images"] == 40
    rows = {(r["model"], r["score"]): r["sets"] for r in found["detection"]["rows"]}
    assert {"main", "ensemble", "ssl", "combined"} <= {s for m, s in rows if m == "multi_task"}
    assert {"msp", "odin", "mahalanobis", "knn"} <= {s for m, s in rows if m == "its classifier"}
    assert all(0 <= sets["other_classes"]["auroc"] <= 1 for sets in rows.values())
    assert set(found["accepted"]) == {"in", "other_classes"}
    assert "accuracy" in result.out
    assert (run / "samples/detection/roc.png").exists()


def test_the_cards_table():
    found = {
        "auroc": [0.5, 0.75, 1.0, 0.25],
        "auroc_of": "m/main/svhn; m/main/folder:a/b; m/ssl/svhn; m/ssl/folder:a/b",
        "num_images": 40,
        "images": "40 test images",
    }
    assert not Detection.left_out({"test": found})
    assert list(Detection.table({"test": found}))[2:] == [
        "| Model | Score | svhn | folder:a/b |",
        "|---|---|---|---|",
        "| m | main | 50.00 | 75.00 |",
        "| m | ssl | 100.00 | 25.00 |",
    ]
    for broken in ({"auroc": [0.5]}, {"auroc_of": "main"}, {"auroc": {"a": 1}}):
        assert list(Detection.left_out({"test": {**found, **broken}})) == ["test"]


@pytest.mark.slow
def test_continues_and_serves(cli, config, tmp_path):
    flags, run = (f"--config={config}:runlocal", *FEW), tmp_path / "run"
    result = cli("train", *flags, f"--workdir={run}")
    assert result.code == 0, result.err
    model = tfgen.from_preset(run)
    again = cli("train", *flags, f"--workdir={run}")
    assert again.code == 0, again.err
    assert float(tfgen.from_preset(run).threshold) == float(model.threshold)

    folder = tmp_path / "photographs"
    folder.mkdir()
    for k, image in enumerate(np.random.default_rng(0).integers(0, 256, (3, 20, 20), np.uint8)):
        (folder / f"{k}.png").write_bytes(tf.io.encode_png(image[..., None]).numpy())
    result = cli("detect", f"--workdir={run}", f"--images={folder}")
    assert result.code == 0, result.err
    lines = (run / "detection.csv").read_text().splitlines()
    assert lines[0].startswith("file,ood_score,accepted")
    assert len(lines) == 4

    result = cli("export", f"--workdir={run}", "--formats=saved_model", "--name=ood")
    assert result.code == 0, result.err
    images = np.random.default_rng(0).random((3, 16, 16, 1), np.float32)
    served = tf.saved_model.load(str(run / "export/ood/1")).signatures["score"]
    answers = served(images=tf.constant(images))
    np.testing.assert_array_equal(answers["accepted"], model.accepts(images))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["plain", "unlabelled", "one_class"])
def test_other_settings(mode, cli, config, tmp_path):
    flags, run = (f"--config={config}:{mode}_runlocal", *FEW), tmp_path / "run"
    result = cli("train", *flags, f"--workdir={run}")
    assert result.code == 0, result.err
    result = cli("evaluate", f"--workdir={run}")
    assert result.code == 0, result.err
    found = json.loads((run / "metrics.json").read_text())["test"]
    assert len(found["accepted"]) == 2


def test_mistakes(cli, config, tmp_path):
    flags, workdir = f"--config={config}:runlocal", f"--workdir={tmp_path / 'run'}"
    told = cli("train", flags, workdir, "--config.data.classes=(3, 11)").mistake()
    assert "classes [3, 11] of 'digits': expected some of 0, 1, 2" in told
    told = cli("train", flags, workdir, "--config.model.num_classes=1").mistake()
    assert "expected at least 2" in told
    told = cli("train", flags, workdir, "--config.data.held_out=0.01").mistake()
    assert "7 images are set aside, too few for a threshold that accepts 0.95" in told


def test_classes_of_a_source():
    source = tfgen.data.load("digits")
    found = source.of_classes([3, 1])
    assert np.bincount(found.labels).tolist() == np.bincount(source.labels)[[3, 1]].tolist()
    np.testing.assert_array_equal(found.images, source.images[np.isin(source.labels, [1, 3])])
    rest = source.of_classes([3, 1], others=True)
    assert sorted(set(rest.labels)) == [0, 2, 4, 5, 6, 7, 8, 9]
    assert len(rest) + len(found) == len(source)
    assert "of class 3, 1" in found.extent
    assert "not of class 3, 1" in rest.extent
    with pytest.raises(DataError, match="each once"):
        source.of_classes([3, 3])
    with pytest.raises(DataError, match="no classes but"):
        source.of_classes(range(10), others=True)
