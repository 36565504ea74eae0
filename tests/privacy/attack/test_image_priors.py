"""Priors, registration and gradient distances against closed forms."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.privacy.attack import gradient_distance as distances
from tfgen.privacy.attack import image_priors, registration
from tfgen.privacy.attack.gradient_metric import metric_of
from tfgen.privacy.attack.norms import safe_norm


def gradient_of(function, x):
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    return tape.gradient(value, x).numpy()


def central_differences(function, x, step=1e-6):
    result = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        shift = np.zeros_like(x)
        shift[index] = step
        result[index] = (float(function(x + shift)) - float(function(x - shift))) / (2 * step)
    return result


class TestTotalVariation:
    def test_by_hand(self):
        image = np.array([[0.0, 1.0], [2.0, 3.0]])[None, :, :, None]
        want = np.sqrt(2) + 2 * np.sqrt(2) + 3 + 1  # columns, rows, diagonals
        np.testing.assert_allclose(image_priors.total_variation(image), want, rtol=1e-12)
        np.testing.assert_allclose(want, 8.24264069, rtol=1e-8)

    def test_constant_images_have_none_and_a_finite_gradient(self):
        image = np.full((2, 4, 4, 3), 0.5)
        assert float(image_priors.total_variation(image)) == 0
        np.testing.assert_array_equal(gradient_of(image_priors.total_variation, image), 0)

    def test_gradient(self):
        x = np.random.default_rng(0).random((2, 3, 4, 2))
        np.testing.assert_allclose(
            gradient_of(image_priors.total_variation, x),
            central_differences(image_priors.total_variation, x),
            rtol=1e-6,
            atol=1e-8,
        )


def test_mean_norm():
    x = np.stack([np.full((2, 2, 1), 3.0), np.full((2, 2, 1), 1.0)])
    np.testing.assert_allclose(image_priors.mean_norm(x), (6 + 2) / 2)


def test_batch_norm_distance_by_hand():
    x = np.array([[1.0, 0.0], [3.0, 4.0]])
    ours = tf.nn.moments(tf.constant(x), [0])
    known = (np.array([0.0, 2.0]), np.array([1.0, 1.0]))
    # Batch mean (2, 2), biased variance (1, 4).
    np.testing.assert_allclose(image_priors.batch_norm_distance([ours], [known]), 2 + 3)
    twice = image_priors.batch_norm_distance([ours, ours], [known, known], first_weight=10.0)
    np.testing.assert_allclose(twice, 55)


def test_relative_batch_norm_distance_is_in_standard_deviations():
    known = (np.array([0.0, 2.0]), np.array([4.0, 1.0]))
    ours = (np.array([2.0, 2.0]), np.array([4.0, np.exp(2.0)]))
    # A mean that is off by one deviation, and a deviation that is e times as large.
    want = np.sqrt((1 + 2) / 2)
    found = image_priors.batch_norm_distance([ours], [known], form="relative")
    np.testing.assert_allclose(found, want, rtol=1e-4)
    with pytest.raises(UserError, match="expected one of 'norm'"):
        image_priors.batch_norm_distance([ours], [known], form="l1")


class TestGroup:
    def test_by_hand(self):
        seeds = tf.constant([[0.0, 2.0], [2.0, 2.0]])[:, None, None, :, None]
        consensus = registration.consensus_of(seeds, registered=False)
        np.testing.assert_array_equal(np.ravel(consensus), [1, 2])
        for g in range(2):
            np.testing.assert_allclose(image_priors.group_distance(seeds[g], consensus), 1.0)

    def test_consensus_is_a_constant(self):
        seeds = tf.constant([[0.0, 2.0], [2.0, 2.0]])[:, None, None, :, None]

        def total(x):
            consensus = registration.consensus_of(x, registered=False)
            return sum(image_priors.group_distance(x[g], consensus) for g in range(2))

        # Unit vectors: a consensus that moved along would halve them.
        np.testing.assert_allclose(np.reshape(gradient_of(total, seeds), (2, 2)), [[-1, 0], [1, 0]])

    def test_mean_image_is_better_than_the_mean_seed(self):
        rng = np.random.default_rng(0)
        truth = rng.random((1, 8, 8, 1))
        seeds = truth + 0.2 * rng.standard_normal((4, 1, 8, 8, 1))
        mean = registration.consensus_of(tf.constant(seeds), registered=False)
        assert np.mean((mean - truth) ** 2) < np.mean((seeds - truth) ** 2)


class TestRegistration:
    IMAGE = np.random.default_rng(0).random((1, 32, 32, 3)).astype(np.float32)

    def test_peak_says_the_shift(self):
        rolled = np.roll(self.IMAGE, (3, -5), (1, 2))
        correlation = registration.phase_correlation(self.IMAGE, rolled)[0].numpy()
        assert np.unravel_index(correlation.argmax(), (32, 32)) == (3, 27)
        np.testing.assert_allclose(correlation.max(), 1.0, atol=1e-4)

    @pytest.mark.parametrize("shift", [(0, 0), (3, -5), (16, 31)])
    @pytest.mark.parametrize("mirrored", [False, True])
    def test_undoes_shifts_and_mirrors(self, shift, mirrored):
        moved = np.roll(self.IMAGE, shift, (1, 2))
        moved = moved[:, :, ::-1] if mirrored else moved
        np.testing.assert_array_equal(registration.register(moved, self.IMAGE), self.IMAGE)

    def test_every_image_has_its_own_shift(self):
        images = np.random.default_rng(1).random((3, 16, 12, 1)).astype(np.float32)
        moved = np.stack([np.roll(x, s, (0, 1)) for x, s in zip(images, [(1, 2), (0, 5), (7, 0)])])
        np.testing.assert_array_equal(registration.register(moved, images), images)

    def test_consensus_of_shifted_seeds_is_the_image(self):
        # Most seeds agree, so that the mean points to their place.
        seeds = np.stack([self.IMAGE] * 3 + [np.roll(self.IMAGE, (0, 7), (1, 2))])
        lazy = registration.consensus_of(tf.constant(seeds), registered=False)
        assert np.abs(lazy - self.IMAGE).max() > 0.1
        found = registration.consensus_of(tf.constant(seeds), registered=True)
        np.testing.assert_allclose(found, self.IMAGE, atol=1e-6)

    def test_what_fits_nowhere_stays(self):
        rng = np.random.default_rng(2)
        bright, dark = 0.9 + 0 * self.IMAGE, rng.random(self.IMAGE.shape).astype(np.float32)
        np.testing.assert_array_equal(registration.register(bright, dark), bright)
        np.testing.assert_array_equal(registration.register(dark, bright), dark)

    def test_noise_around_the_image_does_not_matter(self):
        rng = np.random.default_rng(3)
        moved = np.roll(self.IMAGE, (5, 5), (1, 2))
        noisy = (moved + 0.1 * rng.standard_normal(moved.shape)).astype(np.float32)
        found = registration.register(noisy, self.IMAGE)
        np.testing.assert_allclose(np.roll(found, (5, 5), (1, 2)), noisy)


class TestGradientDistance:
    OURS = (np.array([3.0, 4.0]), np.array([0.0, 5.0]))
    ZERO = (np.zeros(2), np.zeros(2))

    def test_by_hand(self):
        assert float(distances.gradient_distance(self.OURS, self.ZERO)) == 10
        assert float(distances.gradient_distance(self.OURS, self.ZERO, "squared")) == 50
        weighted = distances.gradient_distance(self.OURS, self.ZERO, weights=[2.0, 0.5])
        assert float(weighted) == 12.5
        masks = [np.array([0.0, 1.0]), np.array([1.0, 0.0])]
        assert float(distances.gradient_distance(self.OURS, self.ZERO, masks=masks)) == 4

    def test_cosine(self):
        target = [np.array([1.0, 0.0]), np.array([0.0, 1.0])]
        want = 1 - 8 / (np.sqrt(50) * np.sqrt(2))
        found = distances.gradient_distance(self.OURS, target, "cosine")
        np.testing.assert_allclose(found, want)
        scaled = [1e-3 * x for x in self.OURS]
        np.testing.assert_allclose(
            distances.gradient_distance(scaled, target, "cosine"), want, rtol=1e-9
        )

    def test_sign(self):
        same = [np.sign(x) for x in self.OURS]
        assert float(distances.gradient_distance(self.OURS, same, "sign")) == 0
        opposite = [-x for x in same]
        assert float(distances.gradient_distance(self.OURS, opposite, "sign")) == 2

    def test_fitted_scale_forgives_clipping(self):
        clipped = [0.01 * x for x in self.OURS]
        assert float(distances.gradient_distance(self.OURS, clipped)) > 9
        fitted = distances.gradient_distance(self.OURS, clipped, fit_scale=True)
        np.testing.assert_allclose(fitted, 0, atol=1e-12)

    @pytest.mark.parametrize("form", distances.GRADIENT_FORMS)
    def test_derivatives(self, form):
        rng = np.random.default_rng(0)
        target = [rng.standard_normal(4), rng.standard_normal((2, 3))]
        other, x = rng.standard_normal((2, 3)), rng.standard_normal(4)

        references = [[rng.standard_normal(x.shape) for x in target] for _ in range(6)]
        metric = metric_of(references, damping=1e-2, power=0.5) if form == "whitened" else None

        def distance(value):
            return distances.gradient_distance([value, other], target, form, metric=metric)

        np.testing.assert_allclose(
            gradient_of(distance, x), central_differences(distance, x), rtol=1e-5, atol=1e-8
        )
        at_zero = gradient_of(
            lambda v: distances.gradient_distance([v, target[1]], target, form, metric=metric),
            target[0],
        )
        assert np.all(np.isfinite(at_zero))

    def test_layers_by_themselves_and_in_units_of_the_target(self):
        target = [np.array([1.0, 0.0]), np.array([0.0, 1.0])]
        found = distances.gradient_distance(self.OURS, target, "layerwise", [2.0, 1.0])
        np.testing.assert_allclose(found, 2 * (1 - 3 / 5) + (1 - 1))
        found = distances.gradient_distance(self.OURS, target, "relative", [2.0, 1.0])
        np.testing.assert_allclose(found, 2 * (4 + 16) + 16)
        # Of a tensor of zeros nothing is known but that.
        assert float(distances.gradient_distance(self.OURS, self.ZERO, "relative")) == 0

    def test_a_metric_is_asked_for(self):
        with pytest.raises(UserError, match="needs a metric"):
            distances.gradient_distance(self.OURS, self.ZERO, "whitened")

    def test_unknown_form(self):
        with pytest.raises(UserError, match="expected one of 'norm'"):
            distances.gradient_distance(self.OURS, self.ZERO, "l1")


def test_norm_has_derivative_zero_at_zero():
    np.testing.assert_array_equal(gradient_of(safe_norm, np.zeros(3)), 0)
    np.testing.assert_allclose(gradient_of(safe_norm, np.array([3.0, 4.0])), [0.6, 0.8])
