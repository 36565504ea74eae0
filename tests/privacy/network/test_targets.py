"""Labels in every form, images of every range."""

import keras
import numpy as np
import pytest
from tiny import digits, relu_net

from tfgen.errors import UserError
from tfgen.privacy.network.inputs import as_images
from tfgen.privacy.network.labels import as_targets, likeliest
from tfgen.privacy.network.shared import SharedNetwork

LABELS = np.array([2, 0, 1])
ONE_HOT = np.eye(3)[LABELS]


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        LABELS[:, None].astype(np.uint8),
        LABELS.astype(np.float32),
        [2, 0, 1],
        ONE_HOT,
        ONE_HOT.astype(bool),
    ],
)
def test_forms(labels):
    np.testing.assert_array_equal(as_targets(labels, 3, 3), ONE_HOT)


def test_soft_labels_stay():
    soft = 0.7 * ONE_HOT + 0.1
    np.testing.assert_array_equal(as_targets(soft, 3), soft)
    np.testing.assert_array_equal(likeliest(soft), LABELS)


def test_one_output_takes_what_it_is_trained_towards():
    for labels in ([0.5, 1.0], [[0.5], [1.0]]):
        np.testing.assert_array_equal(as_targets(labels, 1), [[0.5], [1.0]])
    np.testing.assert_array_equal(likeliest([[0.5], [1.0]]), [0.5, 1.0])


def test_an_ignored_index_is_a_row_of_zeros():
    np.testing.assert_array_equal(as_targets([0, -1], 2, ignored=-1), [[1, 0], [0, 0]])
    np.testing.assert_array_equal(as_targets([0, 1], 2, ignored=1), np.eye(2))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 3], r"label 3 is outside 0\.\.2"),
        ([0, 1, -1], "label -1 is outside"),
        ([0, 1, 1.5], r"label 1\.5 is no whole number"),
        ([0, 1, np.nan], "NaN or infinity"),
        (["cat", "dog", "cat"], "number words first"),
        ([0, 1], "came for 3 images"),
        (np.eye(3)[:, :2], r"rows \[K, 3\]"),
        (np.eye(4), "came for 3 images"),
        (2, "expected indices"),
    ],
)
def test_mistakes(labels, message):
    with pytest.raises(UserError, match=message):
        as_targets(labels, 3, 3)


def test_images():
    images = np.float32([[[[0.0], [1.0]]]])
    np.testing.assert_array_equal(as_images(images, (1, 2, 1)), images)
    np.testing.assert_array_equal(as_images(np.uint8(255 * images), (1, 2, 1)), images)
    with pytest.raises(UserError, match=r"expected \[B, 8, 8, 1\]"):
        as_images(images, (8, 8, 1))
    for wrong in (255 * images, 2 * images - 1, images * np.nan):
        with pytest.raises(UserError, match=r"the batch of images (holds|has)"):
            as_images(wrong, (1, 2, 1))


def test_networks_take_them_all():
    images, labels = digits()
    images, labels = np.uint8(16 * images[:3]) * 15, labels[:3]
    network = SharedNetwork(relu_net())
    want = network.gradients(images / np.float32(255), labels)
    for forms in ((images, labels[:, None]), (images, np.eye(10)[labels])):
        for a, b in zip(network.gradients(*forms), want, strict=True):
            np.testing.assert_array_equal(a, b)


def test_soft_labels_need_a_loss_that_sees_them():
    images = digits()[0][:2]
    soft = np.full((2, 10), 0.03) + 0.7 * np.eye(10)[[3, 4]]
    indices = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with pytest.raises(UserError, match="labels are soft"):
        SharedNetwork(relu_net(), indices).gradients(images, soft)
    rows = keras.losses.CategoricalCrossentropy(from_logits=True)
    for loss in (rows, None):  # the loss of a model that names none sees them as well
        network = SharedNetwork(relu_net(), loss)
        logits = network.model(images).numpy()
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        found = network.gradients(images, soft)[-1]  # of the last bias
        np.testing.assert_allclose(found, (p - soft).mean(axis=0), atol=1e-6)


def test_a_loss_of_numpy_is_refused():
    with pytest.raises(UserError, match="no graph of operations"):
        SharedNetwork(relu_net(), lambda y, p: np.mean((np.asarray(y) - np.asarray(p)) ** 2))
