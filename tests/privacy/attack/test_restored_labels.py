"""Labels from gradients: hand-made batches, and measured accuracy."""

import numpy as np
import pytest

from tfgen.errors import UserError
from tfgen.privacy.attack.labels import (
    label_accuracy,
    present_classes,
    restore_labels,
    round_to_total,
)


def head_gradients(features, outputs, labels):
    """G and b of the mean cross-entropy, float64, by definition."""
    features, residuals = np.asarray(features, float), np.array(outputs, float)
    residuals[np.arange(len(labels)), labels] -= 1.0
    return features.T @ residuals / len(labels), residuals.mean(axis=0)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


class TestByHand:
    # Features [[1,0,2],[0,3,1]], zero weights, labels [2, 0].
    G, B = head_gradients([[1, 0, 2], [0, 3, 1]], np.full((2, 4), 0.25), [2, 0])

    def test_gradients_are_those_worked_by_hand(self):
        np.testing.assert_array_equal(self.G[:, 0], [0.125, -1.125, -0.125])
        np.testing.assert_array_equal(self.G[:, 1], [0.125, 0.375, 0.375])
        np.testing.assert_array_equal(self.G[:, 2], [-0.375, 0.375, -0.625])
        np.testing.assert_array_equal(self.B, [-0.25, 0.25, -0.25, 0.25])

    @pytest.mark.parametrize("method", ["min", "sum", "bias", "uniform"])
    def test_rules(self, method):
        assert restore_labels(self.G, self.B, 2, method).tolist() == [0, 2]

    def test_instances(self):
        found = restore_labels(self.G, self.B, 2, "instance", kernel=np.zeros((3, 4)))
        assert found.tolist() == [0, 2]

    def test_presence(self):
        assert present_classes(self.G, self.B).tolist() == [0, 2]
        assert present_classes(self.G).tolist() == [0, 2]

    def test_where_only_the_minimum_is_right(self):
        g, b = head_gradients(
            [[1, 0, 0], [0, 10, 10]], [[0.9, 0.05, 0.05], [0.3, 0.6, 0.1]], [0, 1]
        )
        np.testing.assert_allclose(g.min(axis=0), [-0.05, -2, 0.025], atol=1e-15)
        np.testing.assert_allclose(g.sum(axis=0), [2.95, -3.975, 1.025], atol=1e-12)
        assert restore_labels(g, b, 2, "min").tolist() == [0, 1]
        assert restore_labels(g, b, 2, "sum").tolist() == [1, 2]
        np.testing.assert_allclose(b, [0.1, -0.175, 0.075], atol=1e-15)


def random_batch(rng, batch_size, num_classes, num_features, confidence, repeats=False):
    """Non-negative features, a head, and outputs as confident as it makes them."""
    if repeats:
        labels = rng.integers(0, num_classes, batch_size)
    else:
        labels = rng.permutation(num_classes)[:batch_size]
    kernel = rng.standard_normal((num_features, num_classes)) / np.sqrt(num_features)
    bias = 0.1 * rng.standard_normal(num_classes)
    features = np.maximum(rng.standard_normal((batch_size, num_features)), 0)
    # Features lean towards the class, as those of a trained network do.
    features = np.maximum(features + confidence * kernel.T[labels], 0)
    outputs = softmax(features @ kernel + bias)
    return labels, kernel, bias, *head_gradients(features, outputs, labels)


class TestAccuracy:
    @pytest.mark.parametrize("batch_size", [1, 8, 64])
    def test_untrained_networks_hide_no_label(self, batch_size):
        rng = np.random.default_rng(0)
        for _ in range(3):
            labels, kernel, bias, g, b = random_batch(rng, batch_size, 1000, 512, 0.0)
            for method in ("min", "instance", "bias"):
                found = restore_labels(g, b, batch_size, method, kernel=kernel, bias=bias)
                np.testing.assert_array_equal(found, np.sort(labels), err_msg=method)

    def test_minimum_beats_sum_on_confident_networks(self):
        rng = np.random.default_rng(1)
        scores = {"min": [], "sum": []}
        for _ in range(40):
            labels, _, _, g, b = random_batch(rng, 32, 100, 256, 30.0)
            for method in scores:
                scores[method].append(label_accuracy(labels, restore_labels(g, b, 32, method)))
        assert np.mean(scores["min"]) >= np.mean(scores["sum"])
        assert np.mean(scores["min"]) > 0.75

    @pytest.mark.parametrize("method", ["uniform", "instance"])
    def test_counts_repeated_labels_of_untrained_networks(self, method):
        # More images than classes; outputs within a few percent of uniform.
        rng = np.random.default_rng(2)
        for batch_size in (4, 16, 40):
            labels = rng.integers(0, 10, batch_size)
            kernel = 1e-3 * rng.standard_normal((64, 10))
            features = np.maximum(rng.standard_normal((batch_size, 64)), 0)
            g, b = head_gradients(features, softmax(features @ kernel), labels)
            found = restore_labels(g, b, batch_size, method, kernel=kernel)
            np.testing.assert_array_equal(found, np.sort(labels))

    @pytest.mark.parametrize(
        ("batch_size", "num_classes", "confidence", "least"),
        [(8, 10, 2.0, 0.98), (16, 10, 2.0, 0.92), (32, 100, 4.0, 0.99), (32, 100, 8.0, 0.95)],
    )
    def test_instances_count_best(self, batch_size, num_classes, confidence, least):
        rng = np.random.default_rng(3)
        scores = {"instance": [], "bias": [], "uniform": []}
        for _ in range(40):
            labels, kernel, bias, g, b = random_batch(
                rng, batch_size, num_classes, 256, confidence, repeats=True
            )
            for method in scores:
                found = restore_labels(g, b, batch_size, method, kernel=kernel, bias=bias)
                assert len(found) == batch_size
                scores[method].append(label_accuracy(labels, found))
        means = {k: np.mean(v) for k, v in scores.items()}
        assert means["instance"] > max(means["bias"], means["uniform"]), means
        assert means["instance"] >= least, means


def test_accuracy_counts_repetitions():
    assert label_accuracy(np.array([1, 1, 2, 3]), np.array([1, 2, 2, 3])) == 0.75
    assert label_accuracy(np.array([5]), np.array([5])) == 1.0
    assert label_accuracy(np.array([5]), np.array([4])) == 0.0


def test_rounding_keeps_the_total():
    assert round_to_total(np.array([0.6, 1.4, -3.0, 2.0]), 4).tolist() == [1, 1, 0, 2]
    assert round_to_total(np.zeros(3), 3).sum() == 3
    rng = np.random.default_rng(0)
    for _ in range(50):
        values, total = rng.random(7) * 5, int(rng.integers(0, 30))
        counts = round_to_total(values, total)
        assert counts.sum() == total
        assert counts.min() >= 0


class TestMistakes:
    G, B = np.ones((3, 4)), np.ones(4)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((G, B, 2, "max"), "expected one of 'min'"),
            ((G, B, 5, "min"), "5 images were asked for and there are 4 classes"),
            ((G, None, 2, "bias"), "this head has none"),
            ((G, B, 2, "instance"), "needs the head's kernel"),
            ((G[0], B, 2, "min"), "expected \\[features, classes\\]"),
            ((G, B[:2], 2, "min"), "one number a class"),
            ((G * np.nan, B, 2, "min"), "NaN or infinity"),
            ((G, B * np.inf, 2, "bias"), "NaN or infinity"),
            ((G, B, 0, "min"), "at least 1"),
        ],
    )
    def test_one_clear_sentence(self, arguments, message):
        with pytest.raises(UserError, match=message):
            restore_labels(*arguments)
