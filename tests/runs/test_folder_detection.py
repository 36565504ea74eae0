"""Folders of images under a detector: what is asked of it, what is written."""

import csv

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfgen.data import Source
from tfgen.errors import DataError, UserError
from tfgen.runs.folder_detection import (
    Judged,
    folder_source,
    judge,
    with_threshold,
    write_table,
)
from tfgen.serving import Signature


class Detector:
    """Dark images are foreign; the class is that of the corner's brightness."""

    image_shape = (4, 4, 1)

    def signatures(self):
        spec = {"images": tf.TensorSpec([None, 4, 4, 1], tf.float32)}
        return {"score": Signature(self.score, spec, lambda count, seed: {})}

    def score(self, images):
        brightness = tf.reduce_mean(images, [1, 2, 3])
        corner = images[:, 0, 0, :]
        return {
            "ood_score": 1.0 - brightness,
            "accepted": brightness >= 0.5,
            "probabilities": tf.concat([1.0 - corner, corner], axis=1),
        }


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "images"
    (path / "more").mkdir(parents=True)
    for name, level in (("b.png", 255), ("a.png", 51), ("more/c.png", 153)):
        Image.new("L", (8, 4), level).save(path / name)
    (path / "notes.txt").write_text("no image")
    return path


def test_every_image_is_judged_under_its_name(folder, tmp_path):
    source, names = folder_source(folder, (4, 4, 1))
    assert names == ["a.png", "b.png", "more/c.png"]
    assert any("files left out: 1" in note for note in source.notes)
    judged = judge(Detector(), {}, source, batch_size=2)
    np.testing.assert_allclose(judged.ood_score, [0.8, 0.0, 0.4], atol=1e-6)
    assert judged.accepted.tolist() == [False, True, True]
    write_table(tmp_path / "new" / "table.csv", names, judged)
    rows = list(csv.reader((tmp_path / "new" / "table.csv").read_text().splitlines()))
    assert rows[0] == ["file", "ood_score", "accepted", "class", "probability"]
    assert [row[0] for row in rows[1:]] == names
    assert [row[2:4] for row in rows[1:]] == [["0", "0"], ["1", "1"], ["1", "1"]]
    assert float(rows[1][1]) == pytest.approx(0.8)
    assert float(rows[1][4]) == pytest.approx(0.8)


def test_without_a_threshold_nothing_is_said_of_acceptance(tmp_path):
    judged = Judged(np.array([1.5, -np.inf]))
    write_table(tmp_path / "table.csv", ["x,1", 'y"'], judged)
    rows = list(csv.reader((tmp_path / "table.csv").read_text().splitlines()))
    assert rows == [["file", "ood_score", "accepted"], ["x,1", "1.5", ""], ['y"', "-inf", ""]]


def test_a_threshold_from_images_of_its_own():
    judged, threshold = with_threshold(Judged(np.array([17.0, 18.0, 18.5])), np.arange(19.0), 0.95)
    assert threshold == 18.0
    assert judged.accepted.tolist() == [True, True, False]
    with pytest.raises(DataError, match="at least 19"):
        with_threshold(judged, np.arange(5.0), 0.95)


class Broken(Detector):
    def score(self, images):
        return {"ood_score": tf.reduce_mean(images, [1, 2, 3]) * float("nan")}


def test_models_that_give_no_score():
    source = Source("x", "all", {"images": np.full((2, 4, 4, 1), 7, np.uint8)})
    with pytest.raises(UserError, match="object gives images no score"):
        judge(object(), {}, source)
    with pytest.raises(DataError, match="the score of image 0 of x is NaN"):
        judge(Broken(), {}, source)
    with pytest.raises(UserError, match="images of 2 channels"):
        folder_source("nowhere", (4, 4, 2))
