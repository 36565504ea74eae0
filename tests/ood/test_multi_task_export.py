"""The signature `score` in every runtime, on images of its own data and on noise."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.export import export_all
from tfgen.ood import MultiTaskOOD

CNN = {"name": "small_cnn", "widths": [4, 8], "strides": [1, 2]}
EVERY = ("rotation", "translation", "blur", "sharpen", "color_jitter", "noise", "cutout", "perm")


def detector(transformations, num_classes):
    model = MultiTaskOOD(CNN, [*transformations, "flip"], (8, 8, 3), num_classes)
    images = np.random.default_rng(0).random((40, 8, 8, 3)).astype(np.float32)
    model.fit_scores(images)
    model.calibrate(images, acceptance=0.5)
    return model


@pytest.mark.parametrize(
    ("transformations", "num_classes"),
    [
        (("cutout",), 3),
        pytest.param(("translation",), None, marks=pytest.mark.slow),
        pytest.param(EVERY, 3, marks=pytest.mark.slow),
    ],
)
def test_every_runtime_scores_and_accepts_alike(transformations, num_classes, tmp_path):
    model = detector(transformations, num_classes)
    formats = ("saved_model", "litert_float32", "onnx")
    reports = export_all(model, str(tmp_path), "ood", formats=formats, num_examples=2)
    paths = {report.target: report.path for report in reports}
    images = np.random.default_rng(1).random((5, 8, 8, 3)).astype(np.float32)
    served = tf.saved_model.load(paths["saved_model"]).signatures["serving_default"]
    answers = {key: value.numpy() for key, value in served(images=tf.constant(images)).items()}
    assert set(answers) == {"ood_score", "accepted"} | ({"probabilities"} if num_classes else set())
    np.testing.assert_allclose(answers["ood_score"], model.ood_score(images), atol=1e-4)
    np.testing.assert_array_equal(answers["accepted"], model.accepts(images))
    assert answers["accepted"].dtype == bool
    if num_classes:
        np.testing.assert_allclose(answers["probabilities"].sum(1), 1.0, atol=1e-5)


def test_no_threshold_no_export(tmp_path):
    model = MultiTaskOOD(CNN, ["flip"], (8, 8, 3), 3)
    with pytest.raises(UserError, match="has no threshold yet; call calibrate"):
        export_all(model, str(tmp_path), "ood", formats=("saved_model",))
    assert not list(tmp_path.iterdir())
