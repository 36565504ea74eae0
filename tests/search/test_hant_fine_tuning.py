"""A student learns from labels and from its teacher, which stays as it is."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import ConfigError, DataError
from tfgen.search.hant.evaluation import MeanLoss
from tfgen.search.hant.fine_tuning import fine_tune

RNG = np.random.default_rng(0)
IMAGES = RNG.random((64, 8, 8, 3)).astype(np.float32)


def classifier(softmax, seed):
    keras.utils.set_random_seed(seed)
    x = keras.Input((8, 8, 3))
    y = keras.layers.Dense(3, "softmax" if softmax else None)(keras.layers.Flatten()(x))
    return keras.Model(x, y)


@pytest.mark.parametrize("softmax", [pytest.param(False, marks=pytest.mark.slow), True])
def test_it_comes_nearer_to_its_teacher(softmax):
    """Of labels that are the teacher's own."""
    teacher, student = classifier(softmax, 0), classifier(softmax, 1)
    before = [v.numpy().copy() for v in teacher.variables]
    labels = teacher.predict(IMAGES, verbose=0).argmax(1)
    history = fine_tune(
        teacher, student, IMAGES, labels, epochs=6, batch_size=16, learning_rate=0.04, verbose=0
    )
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]
    assert np.mean(student.predict(IMAGES, verbose=0).argmax(1) == labels) > 0.9
    assert teacher.trainable
    assert all(layer.trainable for layer in teacher.layers)
    for variable, value in zip(teacher.variables, before):
        np.testing.assert_array_equal(variable, value)


def test_labels_in_every_form():
    labels = np.arange(64) % 3
    forms = labels, labels[:, None], np.eye(3, dtype=np.float32)[labels]
    losses = [MeanLoss(classifier(False, 0), IMAGES, given, 16) for given in forms]
    found = [loss(classifier(False, 1)) for loss in losses]
    assert found[0] == found[1] == found[2]
    student = classifier(False, 1)
    fine_tune(classifier(False, 0), student, IMAGES, forms[2], epochs=1, verbose=0)
    with pytest.raises(DataError, match="expected 0 to 2"):
        fine_tune(student, student, IMAGES, labels + 1, epochs=1)
    with pytest.raises(DataError, match="need labels"):
        fine_tune(student, student, IMAGES, epochs=1)


def test_data_sets_and_refusals():
    teacher, student = classifier(False, 0), classifier(False, 1)
    data = tf.data.Dataset.from_tensor_slices((IMAGES, np.zeros(64, np.int32))).batch(32)
    assert len(fine_tune(teacher, student, data, epochs=2, verbose=0).history["loss"]) == 2
    with pytest.raises(ConfigError, match="temperature is 0"):
        fine_tune(teacher, student, data, temperature=0)
    with pytest.raises(ConfigError, match="student_loss_weight is 2"):
        fine_tune(teacher, student, data, student_loss_weight=2)
