"""Scores combined by their p-values, against float64 and against their distribution."""

import math

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from surprises import surprise

from tfgen.errors import ConfigError, DataError
from tfgen.ood.scores import KNN, ODIN, Combined, Mahalanobis, Score


class Given(Score):
    """A score that is an output itself."""

    def __init__(self, name):
        super().__init__(name=name)
        self.needs = (name,)

    def compute(self, values):
        return values


def combined(*columns):
    outputs = dict(zip("ab", columns))
    return Combined([Given(name) for name in outputs]).fit(outputs)


def of(score, *columns):
    outputs = dict(zip("ab", columns))
    return score({k: tf.constant(v, tf.float32) for k, v in outputs.items()}).numpy()


@pytest.mark.parametrize("count", [8, 500])
def test_it_is_the_sum_of_two_surprises(count):
    rng = np.random.default_rng(count)
    a, b = rng.standard_normal(count), rng.lognormal(size=count)
    new_a, new_b = 3.0 * rng.standard_normal(50), 3.0 * rng.lognormal(size=50)
    wanted = surprise(a, new_a) + surprise(b, new_b)
    np.testing.assert_allclose(of(combined(a, b), new_a, new_b), wanted, rtol=1e-4, atol=1e-4)


def test_in_distribution_it_follows_fishers_distribution():
    # Gamma(2, 1) whatever the parts. Kolmogorov's distance of 2,000 new draws, given 4,000 known
    # ones, exceeds the bound at a share of 1e-3 of all seeds.
    rng = np.random.default_rng(0)
    draw = {
        "a": lambda n: rng.standard_normal(n),
        "b": lambda n: rng.lognormal(0.0, 1.5, n),  # as skewed as losses are
    }
    score = combined(*(d(4000) for d in draw.values()))
    found = of(score, *(d(2000) for d in draw.values()))
    distance = scipy.stats.kstest(found, scipy.stats.gamma(2).cdf).statistic
    assert distance < 1.95 * math.sqrt(1 / 2000 + 1 / 4000)


def test_the_scale_and_shape_of_a_score_do_not_matter():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 1000))
    inside = np.clip(rng.standard_normal(200), -2.0, 1.5)
    plain = of(combined(a, b), inside, inside)
    np.testing.assert_allclose(
        of(combined(5.0 * a - 2.0, b), 5.0 * inside - 2.0, inside), plain, atol=1e-3
    )
    bent = of(combined(np.exp(2.0 * a), b), np.exp(2.0 * inside), inside)
    np.testing.assert_allclose(bent, plain, atol=0.05)


def test_further_is_never_less():
    rng = np.random.default_rng(2)
    known, other = rng.exponential(size=300), np.zeros(400)
    score = combined(known, rng.standard_normal(300))
    grid = np.linspace(-2.0, 60.0, 400)
    found = of(score, grid, other)
    assert np.all(np.diff(found) >= 0.0)
    assert np.all(np.diff(found[grid > known.max()]) > 0.0)
    # As the tail that it was: there the mean excess over any value is that of the exponential.
    slope = np.diff(found[grid > known.max()]) / np.diff(grid[grid > known.max()])
    assert 0.5 < slope.mean() < 2.0


def test_ties_and_constants():
    half = np.repeat([0.0, 1.0], 50)
    found = of(combined(half, np.arange(100.0)), [0.0, 1.0, 2.0], [50.0] * 3)
    assert np.all(np.isfinite(found))
    assert found[0] < found[1] < found[2]
    with pytest.raises(DataError, match="the score 'b' is the same for all"):
        combined(np.arange(9.0), np.ones(9))


def test_a_part_with_statistics_is_fitted_with_it():
    # 80 images of 40 features: those that a Gaussian was fitted to are nearer to it than the next.
    rng = np.random.default_rng(3)
    known, new = (
        {"features": rng.standard_normal((n, 40)), "a": rng.random(n)} for n in (80, 4000)
    )
    score = Combined([Given("a"), Mahalanobis(1)]).fit(known)
    alone = Mahalanobis(1).fit(known)
    distances, a = np.float64(alone(tensors(known))), known["a"]

    folds, unseen = np.random.default_rng(0).permutation(80) % 5, np.empty(80)
    for fold in range(5):  # a Gaussian of the rest, by its inverse
        rest, own = known["features"][folds != fold], known["features"][folds == fold]
        off = own - rest.mean(0)
        unseen[folds == fold] = np.sum(off @ np.linalg.inv(np.cov(rest.T, bias=True)) * off, axis=1)
    wanted = surprise(a, a) + surprise(unseen, distances)
    np.testing.assert_allclose(score(tensors(known)), wanted, rtol=1e-3, atol=1e-3)

    # By the distances of the known themselves, a threshold for 5 % refuses most of the next.
    further = np.float64(alone(tensors(new)))
    assert np.mean(further > np.quantile(distances, 0.95)) > 0.5
    refused = np.mean(Combined([Mahalanobis(1)]).fit(known)(tensors(new)) > -math.log(0.05))
    assert refused < 0.15


def tensors(arrays):
    return {name: tf.constant(array, tf.float32) for name, array in arrays.items()}


def test_few_images_and_labels_that_a_part_needs():
    features = np.eye(6)[:, :4] + np.arange(6)[:, None] ** 2
    found = Combined([KNN(1), Mahalanobis(1)]).fit({"features": features[:3]})
    assert np.all(np.isfinite(found({"features": tf.constant(features, tf.float32)})))
    with pytest.raises(DataError, match="2 images came to fit 'knn' in 'combined'"):
        Combined([KNN(1)]).fit({"features": features[:2]})
    with pytest.raises(DataError, match="'combined' needs the classes"):
        Combined([Mahalanobis()]).fit({"features": features})


def test_parts_that_cannot_be_combined():
    for parts, words in (
        ([ODIN(), KNN(1)], "'odin' computes gradients of images"),
        (["knn"], "'knn' came as a score; expected one that was made"),
        ([KNN], "KNN came as a score"),
        ([], "there are no scores to combine"),
    ):
        with pytest.raises(ConfigError, match=words):
            Combined(parts)
