"""What is chosen: hypergradients by hand and by differences, subsets, and truths that are known."""

import itertools
import json
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import ConfigError, DataError, UserError
from tfgen.files.locking import locked
from tfgen.ood import MultiTaskOOD
from tfgen.ood.selection import (
    Difficulty,
    Trainings,
    hypergradient,
    learn_weights,
    measure_difficulty,
    parted,
    search,
    select_transformations,
)
from tfgen.ood.transformations import build

RNG = np.random.default_rng(0)


# -- hypergradients --------------------------------------------------------------------------------


def toy(theta):
    """Train theta^2 / 2 + lambda (theta - 2)^2 / 2; judge by (theta - 1)^2 / 2."""
    value = lambda: tf.convert_to_tensor(theta)  # noqa: E731
    return (
        lambda: (0.5 * value() ** 2, [0.5 * (value() - 2.0) ** 2]),
        lambda: 0.5 * (value() - 1.0) ** 2,
    )


def test_hypergradient_by_hand():
    theta = keras.Variable(0.0, dtype="float64")
    losses, judged = toy(theta)
    found = hypergradient(losses, judged, [theta], tf.constant([0.5], tf.float64), 0.1)
    np.testing.assert_allclose(found.gradient, [-0.18], atol=1e-12)
    np.testing.assert_allclose(found.validation_loss, 0.5 * 0.9**2, atol=1e-12)  # at theta' = 0.1
    assert theta.numpy() == 0.0


def test_alternating_updates_find_both():
    theta, weight = keras.Variable(0.0, dtype="float64"), keras.Variable(0.5, dtype="float64")
    losses, judged = toy(theta)

    @tf.function(autograph=False)
    def both():
        found = hypergradient(losses, judged, [theta], weight.value[None], 0.1)
        weight.assign_sub(0.5 * found.gradient[0])
        value = tf.convert_to_tensor(theta)
        theta.assign(value - 0.1 * (value + weight * (value - 2.0)))

    for _ in range(1000):
        both()
    np.testing.assert_allclose([weight.numpy(), theta.numpy()], [1.0, 1.0], atol=1e-3)


def test_hypergradient_of_a_network_matches_central_differences():
    layers = [
        keras.layers.Dense(5, "tanh", dtype="float64"),
        keras.layers.Dense(2, dtype="float64"),
    ]
    x, goals = RNG.standard_normal((7, 3)), RNG.standard_normal((4, 7, 2))
    variables = []
    for layer, size in zip(layers, (3, 5)):
        layer.build((None, size))
        variables += layer.trainable_variables

    def loss(k):
        return tf.reduce_mean((layers[1](layers[0](x)) - goals[k]) ** 2)

    weights, step = np.array([0.7, 1.3]), 0.05
    found = hypergradient(
        lambda: (loss(0), [loss(1), loss(2)]),
        lambda: loss(3),
        variables,
        tf.constant(weights),
        step,
    )
    start = [v.numpy() for v in variables]

    def behind(weights):
        with tf.GradientTape() as tape:
            total = loss(0) + weights[0] * loss(1) + weights[1] * loss(2)
        gradients = tape.gradient(total, [v.value for v in variables])
        for variable, value, gradient in zip(variables, start, gradients):
            variable.assign(value - step * gradient)
        value = float(loss(3))
        for variable, first in zip(variables, start):
            variable.assign(first)
        return value

    for k, unit in enumerate(np.eye(2)):
        difference = (behind(weights + 1e-4 * unit) - behind(weights - 1e-4 * unit)) / 2e-4
        np.testing.assert_allclose(found.gradient[k], difference, rtol=1e-5)


# -- subsets ---------------------------------------------------------------------------------------


def test_few_subsets_are_all_tried():
    found = search(lambda bits: sum((b - 0.6) ** 2 for b in bits), 6, num_trials=3)
    assert list(found) == list(itertools.product((0, 1), repeat=6))
    assert min(found, key=found.get) == (1,) * 6


def test_many_subsets_are_guessed():
    pytest.importorskip("keras_tuner")
    goal = (1, 0, 0, 1, 1, 0, 1)

    def objective(bits):
        return float(sum(a != b for a, b in zip(bits, goal)))

    found = search(objective, 7, num_trials=4, seed=1)
    assert 1 < len(found) <= 4
    assert all(objective(bits) == value for bits, value in found.items())


@pytest.mark.slow
def test_guesses_are_good_and_repeat():
    pytest.importorskip("keras_tuner")
    goal = (1, 0, 0, 1, 1, 0, 1)

    def objective(bits):
        return float(sum(a != b for a, b in zip(bits, goal)))

    found = search(objective, 7, num_trials=14, seed=1)
    assert list(search(objective, 7, num_trials=14, seed=1)) == list(found)
    # Of 128 subsets 8 are as good: 14 blind draws miss all of them with probability 0.4.
    assert min(found.values()) <= 1.0


def test_without_keras_tuner(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_tuner", None)
    with pytest.raises(ConfigError, match=r"128 subsets are too many.*pip install"):
        search(len, 7, num_trials=3)


# -- truths that are known -------------------------------------------------------------------------


def rings(count, size=12):
    """Discs and rings about the centre: quarter turns change nothing."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    radius = np.hypot(x, y)
    waves = RNG.uniform(0.5, 1.5, (count, 1, 1)), RNG.uniform(0, 6, (count, 1, 1))
    return (0.5 + 0.5 * np.sin(waves[0] * radius + waves[1]))[..., None].astype(np.float32)


def slopes(count, size=12):
    """Brighter to the right."""
    slope = np.linspace(0.1, 0.8, size) * RNG.uniform(0.7, 1.0, (count, 1, 1))
    noise = 0.1 * RNG.random((count, size, size))
    return (np.broadcast_to(slope, (count, size, size)) + noise)[..., None].astype(np.float32)


def trainings(images, labels=None, epochs=8, **options):
    train, validation = parted(images, labels, 0.2, 0)
    common = dict(
        backbone={"name": "small_cnn", "widths": [8, 8], "strides": [2, 2]},
        image_shape=images.shape[1:],
        num_classes=None if labels is None else int(max(labels)) + 1,
    )
    return Trainings(train, validation, {**common, **options}, epochs, 32, 0.05, 5e-4)


def test_what_looks_the_same_from_all_sides_is_not_rotated():
    found = measure_difficulty(trainings(rings(200)), build("rotation"))
    assert found.loss == pytest.approx(1.386294, abs=0.03)
    assert not found.is_kept
    assert "cannot be learned" in found.reason


@pytest.mark.slow
def test_what_has_a_direction_is_rotated():
    found = measure_difficulty(trainings(slopes(200), epochs=4), build("rotation"))
    assert found.is_kept
    assert found.ratio < 0.8


def test_the_band():
    for loss, kept, word in ((0.0, False, "trivial"), (0.5, True, "kept"), (1.38, False, "cannot")):
        found = Difficulty("rotation", loss, np.log(4))
        assert (found.is_kept, word in found.reason) == (kept, True)
    assert not Difficulty("rotation", np.nan, np.log(4)).is_kept


def shades(count):
    """Images of two classes, dark and light, with a slope to the right."""
    labels = np.arange(count) % 2
    return np.clip(0.5 * slopes(count) + 0.4 * labels[:, None, None, None], 0, 1), labels


def test_weights_move_and_are_told():
    images, labels = shades(100)
    lines, names = [], ["ssl_flip", "supervised_flip"]
    options = dict(transformations=["flip"])
    found = learn_weights(trainings(images, labels, 3), options, every=2, report=lines.append)
    assert list(found.weights) == names
    assert len(found.trajectory) == 3  # of six steps
    assert len(lines) == 3
    values = np.array([[row[name] for name in names] for row in found.trajectory])
    assert np.all(values > 0)
    assert np.all(np.abs(values - 1.0) < 0.01 * np.arange(1, 4)[:, None])  # Adam's steps of 3e-3
    assert np.all(values[0] != 1.0)


SMALL = dict(
    backbone={"name": "small_cnn", "widths": [4], "strides": [2]},
    epochs=1,
    batch_size=40,
    validation_share=0.2,
)


class Outcomes:
    """In the place of trainings: what each would have found."""

    def __init__(self, monkeypatch, stop_at=None):
        self.trained, self._stop_at = [], stop_at
        monkeypatch.setattr(Trainings, "trained", lambda _, seed, **options: self._train(options))
        monkeypatch.setattr(Trainings, "judged", lambda _, options: self._judge(options))

    def _train(self, options):
        if len(self.trained) == self._stop_at:
            self._stop_at = None
            raise KeyboardInterrupt
        self.trained.append(options)
        return options

    def _judge(self, options):
        """Levels of rotations and classes of blurred images help; all else costs."""
        ssl, supervised = (
            [*options[k]] if k in options and options[k] != 1.0 else [] for k in ROLES
        )
        main = 0.5 - 0.1 * ("rotation" in ssl) - 0.1 * ("blur" in supervised)
        main += 0.01 * len([*ssl, *supervised])
        return {"main": main, "ssl_rotation": 0.5, "ssl_blur": 1e-5, "ssl_flip": 0.69}


ROLES = ("ssl_weights", "supervised_weights")
CHOICE = dict(pool=["rotation", "blur", "flip"], learn=False, validation_share=0.2)


def test_the_whole_choice_and_where_it_was_stopped(tmp_path, monkeypatch):
    outcomes, lines = Outcomes(monkeypatch, stop_at=5), []
    images, labels = shades(100)
    options = dict(CHOICE, directory=tmp_path, report=lines.append)
    with pytest.raises(KeyboardInterrupt):
        select_transformations(images, labels, **options)
    assert "budget: at most 70 trainings of 15 steps (3 of one task each, 64 of sets" in lines[0]
    found = select_transformations(images, labels, **options)
    # Three tasks alone, of which one is worth it; sixteen sets, the best three again.
    assert len(outcomes.trained) == 3 + 16 + 3
    assert found.options() == {
        "transformations": [{"name": "rotation"}, {"name": "blur", "stddevs": None}],
        "ssl_weights": {"rotation": 1.0},
        "supervised_weights": {"blur": 1.0},
    }
    assert len(found.trials) == 16
    assert [trial["seeds"] for trial in found.trials[:4]] == [2, 2, 2, 1]
    assert found.trials[0]["objective"] == pytest.approx(0.32)
    assert found.reasons["ssl blur"].startswith("dropped: loss 0.0000 of 1.0986 nats")
    assert found.reasons["ssl flip"].endswith("cannot be learned")
    told = "kept: best validation losses 0.3200 nats with, 0.4100 nats without"
    assert found.reasons["supervised blur"].startswith(told)
    assert lines[-2] == "chosen: blur, lambda 0.000, lambda' 1.000"
    written = json.loads((tmp_path / "selection.json").read_text())
    assert written["reasons"] == found.reasons
    assert written["budget"]["trainings"] == 70
    with pytest.raises(UserError, match="other images or settings"):
        select_transformations(images[::-1], labels, **options)
    with locked(tmp_path / ".lock"), pytest.raises(UserError, match="in use"):
        select_transformations(images, labels, **options)


def test_unlabelled_and_nothing_worth_learning(monkeypatch):
    Outcomes(monkeypatch)
    images, _ = shades(100)
    options = dict(CHOICE, report=len)
    found = select_transformations(images, **options)
    assert found.options() == {
        "transformations": [{"name": "rotation"}],
        "ssl_weights": {"rotation": 1.0},
        "supervised_weights": {},
    }
    assert not found.trials
    with pytest.raises(ConfigError, match="no transformation is worth learning"):
        select_transformations(images, band=(0.9, 0.95), **options)
    with pytest.raises(DataError, match="at least 10 on either side"):
        select_transformations(images[:20], **options)
    with pytest.raises(ConfigError, match="band is"):
        select_transformations(images, band=(0.9, 0.1), **options)


@pytest.mark.slow
def test_what_is_chosen_makes_a_model():
    images, _ = shades(60)
    small = {"name": "small_cnn", "widths": [4], "strides": [2]}
    options = dict(backbone=small, epochs=1, batch_size=40, validation_share=0.2, report=len)
    found = select_transformations(images, pool=["flip"], band=(1e-9, 5.0), learn=False, **options)
    model = MultiTaskOOD(small, image_shape=(12, 12, 1), **found.options())
    assert list(model.scores) == ["ssl"]


def test_every_training_begins_where_the_backbone_was_left():
    inputs = keras.Input((12, 12, 1))
    backbone = keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs))
    before = backbone.get_weights()
    trains = trainings(shades(60)[0], backbone=backbone)
    model = trains.model(transformations=["flip"])
    for a, b in zip(model.backbone.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    model.backbone.layers[1].kernel.assign(0.0 * model.backbone.layers[1].kernel)
    np.testing.assert_array_equal(backbone.get_weights()[0], before[0])


def test_parts_hold_every_class_alike():
    labels = np.repeat([3, 1, 2], [60, 30, 10])
    train, validation = parted(RNG.random((100, 4, 4, 1)), labels, 0.2, 0)
    assert np.bincount(validation.labels).tolist() == [0, 6, 2, 12]
    assert len(train) == 80
    both = np.concatenate([train.images, validation.images])
    assert len(np.unique(both.reshape(100, -1), axis=0)) == 100
