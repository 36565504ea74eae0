"""Outliers that are moved against a score: as far as they may, and no farther."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen import metrics
from tfgen.errors import ConfigError
from tfgen.ood import Evaluator
from tfgen.ood.evaluation import measure_attack
from tfgen.ood.evaluation.attack import attacked
from tfgen.ood.scores import KNN, ODIN, Energy, Mahalanobis, MaxLogit

RNG = np.random.default_rng(0)
SHAPE = (5, 5, 1)
INSIDE = RNG.random((60, *SHAPE), np.float32)
OUTSIDE = np.clip(INSIDE[:40] + 0.05, 0.0, 1.0)
EPSILON = 0.03


@pytest.fixture(scope="module")
def evaluator():
    keras.utils.set_random_seed(0)
    layers = [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(6, "tanh")]
    model = keras.Sequential([*layers, keras.layers.Dense(3)])
    chosen = [MaxLogit(), Energy(), Mahalanobis(1), KNN(2), ODIN(10.0, 0.01)]

    class Other:
        image_shape = SHAPE

        def ood_score(self, images):
            return np.asarray(images).mean(axis=(1, 2, 3))

    models = {"net": model, "other": Other()}
    found = Evaluator(models, INSIDE, {"out": OUTSIDE}, fit_data=INSIDE, scores=chosen)
    found.fit()
    return found


@pytest.mark.parametrize("score", ["max_logit", "energy", "mahalanobis", "knn", "odin"])
def test_attacked_images_stay_near_and_score_lower(evaluator, score):
    subject = evaluator.subjects["net"]
    moved = attacked(subject, score, OUTSIDE, EPSILON, 10)
    assert moved.min() >= 0.0
    assert moved.max() <= 1.0
    assert np.max(np.abs(moved - OUTSIDE)) <= EPSILON + 1e-6
    before, after = (subject.score_of(score, tf.constant(x)).numpy() for x in (OUTSIDE, moved))
    assert np.mean(after < before) > 0.95
    rng = np.random.default_rng(0)
    signs = OUTSIDE + EPSILON * rng.choice([-1.0, 1.0], OUTSIDE.shape).astype(np.float32)
    drawn = subject.score_of(score, tf.constant(np.clip(signs, 0.0, 1.0))).numpy()
    assert np.mean(after < drawn) > 0.95  # better than a step of the same size to anywhere


def test_a_linear_score_falls_as_far_as_it_can(evaluator):
    # Minus one logit of a linear network: the steepest way is to a corner of the box at once.
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(2)])
    kernel = np.stack([RNG.standard_normal(25), np.zeros(25)], axis=1)
    model.layers[-1].set_weights([kernel, np.array([100.0, 0.0])])
    linear = Evaluator(model, INSIDE, {"out": OUTSIDE}, scores=[MaxLogit()])
    (subject,) = linear.subjects.values()
    moved = attacked(subject, "max_logit", OUTSIDE, EPSILON, 5)
    wanted = np.clip(OUTSIDE + EPSILON * np.sign(kernel[:, 0]).reshape(SHAPE), 0.0, 1.0)
    np.testing.assert_allclose(moved, wanted, atol=1e-6)


def test_what_is_left_of_the_auroc(evaluator):
    found = measure_attack(evaluator, 255 * EPSILON, num_steps=4, num_images=30)
    assert [(one.model, one.score, one.out_name) for one in found] == [
        ("net", name, "out") for name in ("max_logit", "energy", "mahalanobis", "knn", "odin")
    ]
    assert all(one.auroc_attacked < one.auroc for one in found)
    some = evaluator.out_sets[0].at_most(30, 0)
    both = (evaluator.scored("net", x).scores["knn"] for x in (evaluator.in_set, some))
    assert found[3].auroc == metrics.auroc(*both)


def test_numbers_out_of_range(evaluator):
    with pytest.raises(ConfigError, match="levels"):
        measure_attack(evaluator, 0.0)
    with pytest.raises(ConfigError, match="num_steps"):
        measure_attack(evaluator, num_steps=0)
