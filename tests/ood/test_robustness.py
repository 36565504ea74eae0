"""Robustness of scores: each number against its definition, on a detector with known scores."""

import json

import keras
import numpy as np
import pytest

from tfgen import metrics
from tfgen.data import load
from tfgen.errors import ConfigError
from tfgen.ood import Evaluator, measure_robustness
from tfgen.ood.corruptions import corrupt
from tfgen.ood.scores import MaxSoftmax

RNG = np.random.default_rng(0)
IMAGES = np.float32(np.rint(255 * RNG.uniform(0.2, 0.6, (120, 8, 8, 1))) / 255)
IMAGES[60:] += np.float32(51 / 255)  # the second class is brighter
LABELS = np.repeat([0, 1], 60)
OTHERS = np.float32(0.8 + 0.2 * RNG.random((70, 8, 8, 1)))


def brightness_classifier():
    """Two logits: the brighter half is class 1; never quite sure."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2),
        ]
    )
    model.layers[-1].set_weights([np.array([[-20.0, 20.0]]), np.array([10.0, -10.0])])
    return model


class Brightness:
    image_shape = (8, 8, 1)

    def ood_score(self, images):
        return np.asarray(images).mean(axis=(1, 2, 3))


@pytest.fixture(scope="module")
def evaluator():
    models = {"classifier": brightness_classifier(), "brightness": Brightness()}
    return Evaluator(models, (IMAGES, LABELS), {"others": OTHERS}, scores=[MaxSoftmax()])


@pytest.fixture(scope="module")
def found(evaluator):
    told = []
    result = measure_robustness(
        evaluator,
        ["brightness", "contrast", "translate"],
        [2, 4],
        num_images=None,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(k, 6) for k in range(1, 7)]
    return result


def cell(found, model, corruption, severity):
    (one,) = [
        c
        for c in found.cells
        if (c.model, c.corruption, c.severity) == (model, corruption, severity)
    ]
    return one


def test_every_way_is_a_cell(found):
    assert len(found.cells) == 2 * (1 + 3 * 2)
    assert found.num_images == 120


def test_numbers_by_their_definition(found):
    clean, others = (Brightness().ood_score(x) for x in (IMAGES, OTHERS))
    threshold = np.sort(clean)[113]  # 114 of 120 are 95 %
    for name, severity in (("brightness", 2), ("brightness", 4), ("translate", 4)):
        changed = Brightness().ood_score(corrupt(IMAGES, name, severity))
        one = cell(found, "brightness", name, severity)
        assert abs(one.auroc["others"] - metrics.auroc(changed, others)) < 1e-12
        assert abs(one.reject_rate - np.mean(changed > threshold)) < 1e-12
        assert one.accuracy is None
        assert one.auroc_misclassified is None
    clean_cell = cell(found, "brightness", "clean", 0)
    assert abs(clean_cell.reject_rate - 0.05) < 1e-12
    assert cell(found, "brightness", "brightness", 4).reject_rate > 0.5


def test_mistakes_are_told_from_the_rest(found):
    model = brightness_classifier()
    changed = corrupt(IMAGES, "brightness", 2)
    logits = np.asarray(model(changed), np.float64)
    wrong = np.argmax(logits, axis=1) != LABELS
    score = 1 / (1 + np.exp(np.abs(logits[:, 0] - logits[:, 1])))
    one = cell(found, "classifier", "brightness", 2)
    assert 0 < np.mean(wrong) < 1
    assert abs(one.accuracy - np.mean(~wrong)) < 1e-12
    assert abs(one.auroc_misclassified - metrics.auroc(score[~wrong], score[wrong])) < 1e-3


def test_the_summary_is_of_means(found):
    row = next(r for r in found.summary() if r["model"] == "brightness")
    clean, changed = (
        [c for c in found.cells if c.model == "brightness" and (c.severity == 0) == k]
        for k in (True, False)
    )
    assert row["auroc_clean"] == clean[0].auroc["others"]
    assert abs(row["auroc"] - np.mean([c.auroc["others"] for c in changed])) < 1e-12
    assert abs(row["auroc_drop"] - (row["auroc_clean"] - row["auroc"])) < 1e-12
    assert abs(row["reject_rate"] - np.mean([c.reject_rate for c in changed])) < 1e-12
    assert row["accuracy"] is None


def test_what_is_saved_and_printed(found, tmp_path):
    found.save(tmp_path / "robustness.json")
    read = json.loads((tmp_path / "robustness.json").read_text())
    assert len(read["cells"]) == len(found.cells)
    assert read["summary"] == found.summary()
    text = str(found)
    assert "thresholds accept 95% of the clean ones" in text
    assert "auroc drop" in text


def test_a_part_of_the_images(evaluator):
    few = measure_robustness(evaluator, ["contrast"], [2], num_images=30)
    assert few.num_images == 30
    assert len(few.cells) == 4


def test_published_sets_are_taken_as_they_are(evaluator, tmp_path):
    levels = np.uint8(np.rint(255 * IMAGES))
    darker = np.concatenate([levels // (1 + severity) for severity in range(5)])
    np.save(tmp_path / "dusk.npy", darker)
    np.save(tmp_path / "labels.npy", LABELS)
    found = measure_robustness(
        evaluator,
        ["dusk"],
        [1, 2],
        num_images=50,
        corrupted=lambda name, severity: load(f"cifar_c:{tmp_path}:{name}:{severity}", "test"),
    )
    first, second = (cell(found, "classifier", "dusk", severity) for severity in (1, 2))
    clean = cell(found, "classifier", "clean", 0)
    assert (first.accuracy, first.reject_rate) == (
        clean.accuracy,
        clean.reject_rate,
    )  # the same rows
    assert second.accuracy < first.accuracy


def test_mistakes_are_one_sentence(evaluator):
    for names, severities, words in (
        (["rain"], [1], "the corruption is 'rain'"),
        (["fog"], [0], "the severity is 0"),
        ([], [1], "no corruption is asked for"),
    ):
        with pytest.raises(ConfigError, match=words):
            measure_robustness(evaluator, names, severities)
