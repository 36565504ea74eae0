"""tfgen-detect --images with a detector, which has a threshold and classes of its own."""

import csv

import numpy as np
import pytest
from PIL import Image

from tfgen.ood import MultiTaskOOD
from tfgen.systems.presets import save_preset

CNN = {"name": "small_cnn", "widths": [4], "strides": [2]}


@pytest.fixture
def images(tmp_path):
    """Three files, two of which have the detector's size."""
    folder, rng = tmp_path / "images", np.random.default_rng(1)
    folder.mkdir()
    for name, size in (("a.png", 8), ("b.png", 8), ("c.png", 20)):
        Image.fromarray(rng.integers(0, 256, (size, size, 3), np.uint8)).save(folder / name)
    return folder


def test_a_detector_judges_a_folder(cli, images, tmp_path):
    model = MultiTaskOOD(CNN, ["flip"], (8, 8, 3), 3)
    known = np.random.default_rng(0).random((40, 8, 8, 3)).astype(np.float32)
    model.fit_scores(known)
    preset = tmp_path / "detector"
    found = tmp_path / "found"
    argv = f"--preset={preset}", f"--workdir={found}", f"--images={images}"
    save_preset(model, preset)
    assert "has no threshold yet; call calibrate" in cli("detect", *argv).mistake()
    assert not (found / "detection.csv").exists()

    model.calibrate(known, acceptance=0.5)
    save_preset(model, preset, overwrite=True)
    told = cli("detect", *argv, "--acceptance=0.9").mistake()
    assert "has a threshold of its own, which --acceptance would not change" in told
    result = cli("detect", *argv)
    assert result.code == 0, result.err
    assert "3 images of" in result.out
    assert "brought to 8x8 pixels" in result.out
    rows = list(csv.DictReader((found / "detection.csv").read_text().splitlines()))
    assert [row["file"] for row in rows] == ["a.png", "b.png", "c.png"]
    pixels = np.stack([np.asarray(Image.open(images / f"{name}.png")) for name in "ab"]) / 255.0
    scores = model.ood_score(pixels.astype(np.float32))
    np.testing.assert_allclose([float(row["ood_score"]) for row in rows[:2]], scores, rtol=1e-4)
    accepted = model.accepts(pixels.astype(np.float32))
    assert [row["accepted"] == "1" for row in rows[:2]] == accepted.tolist()
    assert {int(row["class"]) for row in rows} <= {0, 1, 2}
    assert all(1 / 3 <= float(row["probability"]) <= 1 for row in rows)
