"""Contrastive losses and the score on what they learn, against loops in float64."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_detector import CNN, DATA, IMAGES, LABELS, make

from tfgen.errors import ConfigError
from tfgen.ood import MultiTaskOOD
from tfgen.ood.augmentation import augment
from tfgen.ood.multi_task import Contrast, contrastive_losses
from tfgen.ood.scores import CSI

RNG = np.random.default_rng(0)


def by_loops(embeddings, groups, temperature):
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    found = []
    for i, own in enumerate(groups):
        others = [a for a in range(len(groups)) if a != i]
        below = sum(math.exp(unit[i] @ unit[a] / temperature) for a in others)
        same = [p for p in others if groups[p] == own]
        terms = [unit[i] @ unit[p] / temperature - math.log(below) for p in same]
        found.append(-np.mean(terms) if terms else 0.0)
    return found


def test_losses_are_those_of_loops():
    embeddings, groups = RNG.standard_normal((9, 4)), np.array([0, 1, 1, 0, 2, 3, 0, 2, 1])
    for temperature in (0.07, 0.5):
        found = contrastive_losses(tf.constant(embeddings), tf.constant(groups), temperature)
        np.testing.assert_allclose(found, by_loops(embeddings, groups, temperature), rtol=1e-9)
    assert found[5] == 0.0  # alone in its group


def test_nt_xent_in_closed_form():
    """N pairs, equal within and orthogonal between: log(1 + (2 N - 2) exp(-1 / t))."""
    embeddings = tf.constant(np.tile(3.0 * np.eye(5), (2, 1)))
    found = contrastive_losses(embeddings, tf.constant(np.tile(np.arange(5), 2)), 0.5)
    np.testing.assert_allclose(found, math.log(1.0 + 8.0 * math.exp(-2.0)), rtol=1e-12)


def test_gradients_are_finite_differences():
    embeddings, groups = RNG.standard_normal((6, 3)), tf.constant([0, 1, 2, 0, 1, 2])
    analytic, numeric = tf.test.compute_gradient(
        lambda x: contrastive_losses(x, groups, 0.3), [tf.constant(embeddings)], delta=1e-5
    )
    np.testing.assert_allclose(analytic[0], numeric[0], atol=1e-7)


@pytest.mark.parametrize("labels", [None, [0, 1, 0]])
def test_groups_are_copies_of_an_image_or_of_a_class(labels):
    count, projections = 2, RNG.standard_normal((2 * 6, 4)).astype(np.float32)
    contrast = Contrast(temperature=0.4)
    tiled = None if labels is None else tf.constant(labels * 2)
    found = contrast.losses(tf.constant(projections), count, tiled)
    names = [(copy, (labels or range(3))[i % 3]) for copy in range(2) for i in range(6)]
    groups = [sorted(set(names)).index(name) for name in names]
    np.testing.assert_allclose(found, by_loops(projections, groups, 0.4), rtol=1e-5)


def test_views_differ_image_by_image():
    images = tf.constant(RNG.random((4, 8, 8, 3)), tf.float32)
    first, second = (augment(images, tf.constant([n, 0]), jitter=0.4) for n in (0, 1))
    assert np.all(np.abs(first - second).max((1, 2, 3)) > 0.01)
    assert np.min(first) >= 0.0
    assert np.max(first) <= 1.0
    np.testing.assert_array_equal(first, augment(images, tf.constant([0, 0]), jitter=0.4))


def contrastive(num_classes, **options):
    return make(("rotation",), num_classes, contrastive={"width": 5, **options})


@pytest.mark.parametrize("num_classes", [4, None])
def test_a_step_learns_both_views(num_classes):
    model = contrastive(num_classes, weight=2.0)
    assert model.contrast.temperature == (0.07 if num_classes else 0.5)
    losses, _ = model.training_losses(DATA)
    assert losses["contrastive"].shape == (4 * 2 * 8,)  # copies, views, images
    assert losses["ssl_rotation"].shape == (2 * 8,)
    output = model.training_loss(DATA)
    plain, logs = model.total({k: v for k, v in losses.items() if k in model.coefficients()})
    wanted = float(plain) + 2.0 * np.mean(losses["contrastive"])
    np.testing.assert_allclose(output.loss, wanted, rtol=1e-5)
    assert set(output.logs) - set(logs) <= {"contrastive", "accuracy"}

    before = float(np.mean(losses["contrastive"]))
    model.compile(keras.optimizers.SGD(0.05), run_eagerly=True)
    for _ in range(5):
        model.train_on_batch(IMAGES, LABELS if num_classes else None)
    assert float(np.mean(model.training_losses(DATA)[0]["contrastive"])) < before


def test_files_hold_the_projection(tmp_path):
    model = contrastive(4)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.get_config() == json.loads(json.dumps(model.get_config()))
    for name, value in model.outputs(DATA["images"]).items():
        np.testing.assert_array_equal(again.outputs(DATA["images"])[name], value)


def test_csi_matches_float64():
    model = contrastive(4)
    outputs = {name: np.float64(v) for name, v in model.outputs(DATA["images"]).items()}
    score = CSI("rotation", most=6).fit(outputs)
    projections, logits = outputs["projections_rotation"], outputs["ssl_rotation"]
    lengths = np.linalg.norm(projections, axis=2)
    kept = np.random.default_rng(0).permutation(8)[:6]
    directions = projections[kept] / lengths[kept, :, None]
    nearest = np.einsum("nkp,mkp->nmk", projections, directions).max(1) / lengths.mean(0)
    own = np.diagonal(logits, axis1=1, axis2=2)
    sure = own / np.maximum(own.mean(0), 1e-6)
    found = score({name: tf.constant(value, tf.float32) for name, value in outputs.items()})
    np.testing.assert_allclose(found, -(nearest + sure).mean(1), rtol=1e-4)
    served = make(("rotation",), 4, contrastive={"width": 5}, other_scores=[CSI("rotation", 6)])
    served.fit_scores(IMAGES, LABELS)
    assert served.ood_score(IMAGES, "csi_rotation").shape == (8,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(contrastive={"heat": 1}), "expected a dict of some of weight, temperature"),
        (dict(contrastive={"weight": 0.0}), r"contrastive\.weight is 0\.0"),
        (dict(contrastive={"temperature": -1.0}), r"contrastive\.temperature is -1\.0"),
        (dict(contrastive={"jitter": 0.0}), "views of contrastive are the same image"),
        (dict(contrastive={}, share_identity=False), "leave one of the two out"),
        (dict(contrastive={}, transformations=("color_jitter",)), "asks whether they are changed"),
    ],
)
def test_mistakes(options, message):
    arguments = dict(transformations=("flip",), image_shape=(8, 8, 1), num_classes=4)
    with pytest.raises(ConfigError, match=message):
        MultiTaskOOD(CNN, **{**arguments, **options})
