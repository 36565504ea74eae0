"""The randomisation test: other batches, their scores, and the correction over cells."""

import numpy as np
import pytest
from tiny import digits

from tfgen.privacy.audit.batches import Protocol
from tfgen.privacy.audit.chance import Comparison, Gallery, Pool, p_values


def protocol(unique=True, seed=0):
    return Protocol(unique, seed)


class TestOtherBatches:
    @pytest.mark.parametrize("unique", [True, False])
    def test_keep_the_labels(self, unique):
        images, labels = digits()
        batch = protocol(unique).draw(images, labels, 4, 0)
        others = protocol(unique).other_batches(labels, batch, 50)
        assert others.shape == (50, 4)
        assert all(len(np.unique(row)) == 4 for row in others)
        np.testing.assert_array_equal(np.sort(labels[others], axis=1), [np.sort(batch.labels)] * 50)
        assert len(np.unique(others)) > 50

    def test_are_drawn_anew_where_classes_are_small(self):
        images, labels = digits()
        images, labels = images[:40], labels[:40]
        batch = protocol().draw(images, labels, 2, 0)
        others = protocol().other_batches(labels, batch, 400)
        assert not protocol().keeps_labels(labels, 2)
        drawn = labels[others]
        assert np.all(drawn[:, 0] != drawn[:, 1])
        assert len(np.unique(drawn)) == 10
        # With repetitions, every image is drawn as often: 800 of 40, 20 +- 5 standard deviations.
        loose = protocol(unique=False).other_batches(labels, batch, 400)
        counts = np.bincount(loose.ravel(), minlength=40)
        assert counts.min() > 0
        assert counts.max() < 45

    @pytest.mark.parametrize("unique", [True, False])
    def test_label_overlaps(self, unique):
        # Of two classes out of ten, and of two labels of any image: both right by chance.
        labels = np.repeat(np.arange(10), 20)
        batch = protocol(unique).draw(np.zeros((200, 2, 2, 1)), labels, 2, 0)
        restored = np.array([3, 7])
        found = protocol(unique).other_label_overlaps(labels, batch, restored, 20_000)
        chance = 1 / 45 if unique else 2 * (20 / 200) * (20 / 199)
        deviation = np.sqrt(chance / 20_000)
        assert abs(np.mean(found == 2) - chance) < 5 * deviation


class TestPool:
    def test_holds_the_batch_once(self):
        pool = Pool(np.random.default_rng(0).permutation(100), 30)
        for indices in (np.array([3, 50]), np.arange(10)):
            found = pool.around(indices)
            assert len(np.unique(found)) == len(found) == 30
            np.testing.assert_array_equal(found[: len(indices)], indices)

    def test_is_no_larger_than_the_data(self):
        found = Pool(np.arange(12), 256).around(np.array([5, 7]))
        assert sorted(found) == list(range(12))


class TestGallery:
    def test_errors_and_correlations(self):
        images, vectors = digits()[0][:30], digits()[0][30:34].reshape(4, -1).astype(np.float64)
        errors, similarity = Gallery(images).compare(vectors)
        flat = images.reshape(30, -1).astype(np.float64)
        np.testing.assert_allclose(errors, np.mean((vectors[:, None] - flat) ** 2, axis=2))
        want = np.corrcoef(vectors, flat)[:4, 4:]
        np.testing.assert_allclose(similarity, want, atol=1e-12)

    def test_constants_have_no_direction(self):
        images = np.concatenate([digits()[0][:3], np.full((1, 8, 8, 1), np.float32(0.1))])
        noise = np.random.default_rng(0).random((2, 64))
        for value in (0.0, 0.1, 0.5, 1.0):
            grey = np.full((1, 64), np.float32(value), np.float64)
            np.testing.assert_array_equal(Gallery(images).compare(grey)[1], 0)
        np.testing.assert_array_equal(Gallery(images).compare(noise)[1][:, 3], 0)


class TestComparison:
    def test_scores_of_the_originals(self):
        images, labels = digits()
        batch = protocol().draw(images, labels, 4, 0)
        others = protocol().other_batches(labels, batch, 99)
        shuffled = batch.images[[2, 0, 3, 1]]
        comparison = Comparison(shuffled, Gallery(images), 4)
        scores = comparison.scores(batch.indices, others, Pool(np.arange(len(images)), 256))
        np.testing.assert_allclose(scores.pixels[0], 4 * 120)
        assert scores.identified[0] == 4
        assert scores.pixels[1:].max() < 300
        assert scores.chance < 0.1
        assert comparison.copies(batch.indices) == (4, 1 / len(images))

    def test_fillers_identify_nothing(self):
        images = digits()[0]
        indices = np.arange(3)
        restored = np.concatenate([images[:1], images[1:3]])
        comparison = Comparison(restored, Gallery(images), num_restored=1)
        scores = comparison.scores(indices, np.zeros((0, 3), int), Pool(np.arange(100), 50))
        assert scores.identified[0] == 1
        assert comparison.copies(indices)[0] == 1

    def test_twins_are_no_copies_where_they_are_common(self):
        images = np.concatenate([digits()[0][:20], digits()[0][:1]])
        found = Comparison(images[:2], Gallery(images), 2).copies(np.array([0, 1]))
        assert found == (1, 1 / 21)

    def test_a_rare_twin_that_comes_back_is_a_copy(self):
        images = np.concatenate([digits()[0][:199], digits()[0][:1]])
        for batch, copies in (([0], (1, 0.01)), ([199], (1, 0.01)), (range(6), (5, 0.005))):
            batch = np.array(batch)
            assert Comparison(images[batch], Gallery(images), len(batch)).copies(batch) == copies
        images[[0, 199]] = 0.5  # anybody might guess it
        assert Comparison(images[:1], Gallery(images), 1).copies(np.array([0])) == (0, 1.0)


class TestPValues:
    def test_by_hand(self):
        # Standardised, the cells are 0, -1.4, 0, 1.4 and 1.7, -0.7, -0.4, -0.7: the highest of
        # both are 1.7, -0.7, 0 and 1.4.
        alone, together = p_values([[2.0, 1.0, 2.0, 3.0], [9.0, 0.0, 1.0, 0.0]])
        np.testing.assert_allclose(alone, [0.75, 0.25])
        np.testing.assert_allclose(together, [0.75, 0.25])

    def test_many_cells_of_noise(self):
        # Of 40 cells of noise some are below 5 % alone; together seldom. 400 trials at 5 %: more
        # than 35 have a probability below 0.1 %.
        rng = np.random.default_rng(0)
        alone, together = zip(*(p_values(rng.standard_normal((40, 100))) for _ in range(400)))
        assert np.mean(np.min(alone, axis=1) <= 0.05) > 0.5
        assert np.sum(np.min(together, axis=1) <= 0.05) <= 35

    def test_scores_without_spread(self):
        alone, together = p_values([np.zeros(100)])
        assert (alone[0], together[0]) == (1.0, 1.0)
