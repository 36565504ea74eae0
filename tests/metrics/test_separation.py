"""Numbers of how far scores lie apart, their intervals, thresholds and calibration."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from tfgen import metrics
from tfgen.errors import ConfigError, DataError
from tfgen.metrics.separation_intervals import separation_of_counts

CASES = (
    *("spec_fixture", "continuous", "integers_with_ties", "two_values", "constant", "separated"),
    *("reversed", "few_outliers", "logits_far_from_zero", "one_each", "tie_at_95", "twenty"),
)


@pytest.fixture(scope="module")
def cases(reference_values):
    """Scores, outlier-positive, and the numbers they have."""
    file = reference_values("ood_scores")
    return {
        name: (
            -file[f"metrics/{name}/id_scores"],
            -file[f"metrics/{name}/ood_scores"],
            metrics.Separation(*(file[f"metrics/{name}/{k}"] for k in metrics.Separation._fields)),
        )
        for name in file["names"]
    }


def test_there_are_no_other_cases(cases):
    assert set(cases) == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_reference_numbers(cases, name):
    inside, outside, wanted = cases[name]
    np.testing.assert_allclose(
        metrics.measure_separation(inside, outside), wanted, rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("name", CASES)
def test_counts_have_the_same_numbers(cases, name):
    inside, outside, wanted = cases[name]
    values = np.unique(np.r_[inside, outside])
    counts = [np.sum(x[:, None] == values, axis=0)[None] for x in (inside, outside)]
    found = np.concatenate(separation_of_counts(*counts))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("levels", [1, 2, 7, 10**6])
def test_auroc_is_that_of_the_library_and_of_pairs(levels):
    rng = np.random.default_rng(levels)
    inside, outside = rng.integers(0, levels, 70), rng.integers(levels // 9, levels, 50)
    found = metrics.auroc(inside, outside)
    labels = np.r_[np.zeros(70), np.ones(50)]
    wanted = sklearn_metrics.roc_auc_score(labels, np.r_[inside, outside])
    assert abs(found - wanted) < 1e-12
    pairs = outside[:, None] > inside
    ties = outside[:, None] == inside
    assert abs(found - np.mean(pairs + 0.5 * ties)) < 1e-12
    assert abs(found + metrics.auroc(-inside, -outside) - 1.0) < 1e-12
    for grown in (np.exp, np.arctan, lambda x: x**3):
        scaled = grown(inside / levels), grown(outside / levels)
        assert abs(metrics.auroc(*scaled) - found) < 1e-12
    if levels == 1:
        assert found == 0.5


def test_infinite_scores_have_their_place():
    assert metrics.auroc([-np.inf, 0.0, 1.0], [0.5, np.inf]) == 5 / 6


def test_the_roc_curve_has_the_area():
    rng = np.random.default_rng(0)
    inside, outside = rng.integers(0, 9, 70), rng.integers(2, 12, 50)
    false, true = metrics.roc_curve(inside, outside)
    assert abs(np.trapezoid(true, false) - metrics.auroc(inside, outside)) < 1e-12
    assert (false[0], true[0], false[-1], true[-1]) == (0.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("inside", "outside", "words"),
    [
        ([], [1.0], "the in-distribution set has scores of shape \\(0,\\)"),
        ([1.0], [], "the set of outliers has scores of shape \\(0,\\)"),
        ([1.0], [[1.0]], "one score an image"),
        ([1.0, np.nan, np.nan], [1.0], "2 scores that are NaN, first of image 1"),
    ],
)
def test_scores_that_are_none(inside, outside, words):
    for function in (
        metrics.measure_separation,
        metrics.auroc,
        metrics.average_precision_in,
        metrics.fpr_id_positive,
        metrics.fpr_ood_positive,
        metrics.delong_interval,
        metrics.bootstrap_intervals,
        metrics.roc_curve,
    ):
        with pytest.raises(DataError, match=words):
            function(inside, outside)


def binomial_bounds(count, share, error_rate=4e-4):
    """Between which a count lies with a chance of at least 1 - error_rate."""
    return stats.binom.ppf([error_rate / 2, 1 - error_rate / 2], count, share)


@pytest.mark.parametrize(("shift", "size"), [(0.0, 30), (2.2, 60)])
def test_delong_covers_as_often_as_it_says(shift, size):
    # AUROC of two unit normals is Phi(shift / sqrt 2). Nominal 90 % of 500 sets: the bounds are
    # those of a coverage of 88 to 92.5 %, as 60 examples allow; 1 false alarm in 5,000.
    rng, exact, count = np.random.default_rng(1), stats.norm.cdf(shift / np.sqrt(2)), 500
    hits = 0
    for _ in range(count):
        inside, outside = rng.standard_normal(size), rng.standard_normal(size) + shift
        low, high = metrics.delong_interval(inside, outside, 0.9)
        hits += low <= exact <= high
    assert binomial_bounds(count, 0.88)[0] <= hits <= binomial_bounds(count, 0.925)[1]


def test_delong_is_the_variance_of_the_mann_whitney_statistic():
    rng = np.random.default_rng(2)
    inside, outside = rng.integers(0, 9, 30), rng.integers(2, 12, 20)
    wins = (outside[:, None] > inside) + 0.5 * (outside[:, None] == inside)
    parts = wins.mean(axis=1).var(ddof=1) / 20, wins.mean(axis=0).var(ddof=1) / 30
    variance, freedom = sum(parts), sum(parts) ** 2 / (parts[0] ** 2 / 19 + parts[1] ** 2 / 29)
    found = metrics.delong_interval(inside, outside, 0.9)
    area = wins.mean()
    reach = stats.t.ppf(0.95, freedom) * np.sqrt(variance) / (area * (1 - area))
    odds = np.log(area / (1 - area))
    wanted = 1 / (1 + np.exp(-(odds + np.array([-reach, reach]))))
    np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_sets_that_are_apart_leave_doubt():
    low, high = metrics.delong_interval(np.arange(20), np.arange(30) + 50.0)
    assert (round(low, 4), high) == (round(0.025 ** (1 / 20), 4), 1.0)
    low, high = metrics.delong_interval([1.0], [0.0])
    assert (low, round(high, 4)) == (0.0, 0.975)
    both = metrics.delong_interval(np.ones(20), np.ones(30))  # a constant score
    np.testing.assert_allclose(both, [0.5 * 0.025 ** (1 / 20), 1 - 0.5 * 0.025 ** (1 / 20)])


@pytest.mark.parametrize(("num_in", "num_out"), [(200, 1), (100, 2), (100, 3), (5, 100), (4, 4)])
def test_delong_covers_small_sets_too(num_in, num_out):
    # Nominal 95 % of 400 sets: at most 1 false alarm in 5,000 if the coverage is at least 93 %.
    rng, exact, hits = np.random.default_rng(6), stats.norm.cdf(1.0 / np.sqrt(2)), 0
    for _ in range(400):
        both = rng.standard_normal(num_in), rng.standard_normal(num_out) + 1.0
        low, high = metrics.delong_interval(*both)
        hits += low <= exact <= high
    assert hits >= binomial_bounds(400, 0.93)[0]


def test_comparisons_of_few_examples_are_never_sure():
    apart, constant = (np.arange(3.0), np.zeros(3)), (np.arange(3) + 9.0, np.zeros(3))
    assert metrics.compare_auroc(apart, constant) == (0.5, 0.0, 0.25)
    with pytest.raises(DataError, match="a set of 1 example does not tell"):
        metrics.compare_auroc((np.arange(3), np.arange(3)), ([1.0], [2.0]))


def test_comparisons_of_scores_keep_their_error_rate():
    # Two scores of equal worth, made from one: 5 % of 500 comparisons are significant.
    rng, count = np.random.default_rng(3), 500
    hits = 0
    for _ in range(count):
        common = rng.standard_normal(80) + np.repeat([0.0, 1.0], 40)
        first, second = (common + rng.standard_normal(80) for _ in range(2))
        compared = metrics.compare_auroc((first[:40], second[:40]), (first[40:], second[40:]))
        hits += compared.p_value < 0.05
    low, high = binomial_bounds(count, 0.05)
    assert low <= hits <= high


def test_a_score_does_not_differ_from_itself():
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal(30), rng.standard_normal(20) + 1.0
    assert metrics.compare_auroc((a, a), (b, b)) == (0.0, 0.0, 1.0)
    other = rng.standard_normal(30)
    better = metrics.compare_auroc((a, other), (b + 3.0, b))
    assert better.difference > 0.2
    wins = (b[:, None] + 3.0 > a).astype(float) - (b[:, None] > other)
    parts = wins.mean(axis=1).var(ddof=1) / 20, wins.mean(axis=0).var(ddof=1) / 30
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 19 + parts[1] ** 2 / 29)
    exact = 2.0 * stats.t.sf(wins.mean() / np.sqrt(sum(parts)), freedom)
    np.testing.assert_allclose(better.p_value, exact, rtol=1e-9)
    assert exact < 2e-3


def test_bootstrap_covers_as_often_as_it_says():
    # All five numbers, at 300 examples a set; nominal 90 % of 100 sets.
    rng, count, size, shift = np.random.default_rng(5), 100, 300, 1.0
    large = np.sort(rng.standard_normal(200_000)), np.sort(rng.standard_normal(200_000) + shift)
    exact = metrics.measure_separation(*large)
    hits = np.zeros(5)
    for seed in range(count):
        both = rng.standard_normal(size), rng.standard_normal(size) + shift
        intervals = metrics.bootstrap_intervals(*both, 0.9, 150, seed)
        hits += [low <= value <= high for (low, high), value in zip(intervals, exact, strict=True)]
    # At most a false alarm in 500, if the coverage is 87 to 93 %.
    assert np.all(hits >= binomial_bounds(count, 0.87)[0])
    assert np.all(hits <= binomial_bounds(count, 0.93)[1])


def test_bootstrap_is_the_same_for_a_seed():
    both = np.arange(20) % 7, np.arange(15) % 9
    first, again = (metrics.bootstrap_intervals(*both, num_resamples=50) for _ in range(2))
    assert first == again
    assert metrics.bootstrap_intervals(*both, num_resamples=50, seed=1) != first


@pytest.mark.parametrize("size", [19, 20, 137])
def test_thresholds_accept_as_often_as_they_say(size):
    # Uniform scores: a threshold t accepts a share t. Ties and other laws only accept more.
    rng, count = np.random.default_rng(size), 4000
    drawn = rng.random((count, size))
    thresholds = [metrics.acceptance_threshold(row, 0.95) for row in drawn]
    place = int(np.ceil((size + 1) * 0.95))
    error = np.std(thresholds) / np.sqrt(count)
    assert abs(np.mean(thresholds) - place / (size + 1)) < 4 * error  # 1 false alarm in 15,000
    assert place / (size + 1) >= 0.95


def test_thresholds_with_confidence_hold_for_nearly_all_sets():
    rng, count = np.random.default_rng(0), 2000
    thresholds = [
        metrics.acceptance_threshold(row, 0.9, confidence=0.95) for row in rng.random((count, 100))
    ]
    share = np.mean(np.array(thresholds) >= 0.9)
    exact = stats.binom.cdf(int(stats.binom.ppf(0.95, 100, 0.9)), 100, 0.9)
    assert exact >= 0.95
    assert abs(share - exact) < 4 * np.sqrt(exact * (1 - exact) / count)


def test_p_values_are_honest_and_agree_with_the_threshold():
    rng = np.random.default_rng(1)
    known, new = rng.standard_normal((400, 39)), rng.standard_normal((400, 50))
    p_values = np.stack([metrics.conformal_p_values(a, b) for a, b in zip(known, new)])
    for a in (0.05, 0.25, 0.5):  # exact at whole fortieths; 50 share a set: errors between sets
        shares = np.mean(p_values <= a, axis=1)
        assert abs(np.mean(shares) - a) < 4 * np.std(shares) / np.sqrt(400)
    threshold = metrics.acceptance_threshold(known[0], 0.95)
    np.testing.assert_array_equal(new[0] <= threshold, p_values[0] > 0.05)
    np.testing.assert_array_equal(metrics.conformal_p_values([1, 2, 2], [0, 2, 3]), [1, 0.75, 0.25])


def test_too_few_calibration_images():
    assert metrics.fewest_images(0.95) == 19
    assert metrics.fewest_images(0.95, 0.95) == 59  # Wilks: 0.95^59 < 0.05
    assert metrics.acceptance_threshold(np.arange(19), 0.95) == 18.0
    with pytest.raises(DataError, match=r"18 calibration images .* at least 19"):
        metrics.acceptance_threshold(np.arange(18), 0.95)
    with pytest.raises(DataError, match=r"58 calibration images .* at least 59"):
        metrics.acceptance_threshold(np.arange(58), 0.95, 0.95)
    assert metrics.acceptance_threshold(np.arange(59), 0.95, 0.95) == 58.0
    with pytest.raises(ConfigError):
        metrics.acceptance_threshold(np.arange(50), 1.0)


def test_calibration_error_by_hand():
    # Bins of a half: confidences 0.6 and 0.8 (one right), and 1.0 in the last with them.
    probabilities = np.array([[0.6, 0.4], [0.8, 0.2], [0.0, 1.0]])
    found = metrics.expected_calibration_error(probabilities, np.array([0, 1, 1]), num_bins=2)
    assert abs(found - abs((0.6 - 1) + (0.8 - 0) + (1.0 - 1)) / 3) < 1e-12
    found = metrics.expected_calibration_error(probabilities, np.array([0, 1, 1]), num_bins=10)
    assert abs(found - (0.4 + 0.8 + 0.0) / 3) < 1e-12


def test_the_temperature_that_made_the_labels_is_found():
    rng = np.random.default_rng(0)
    logits = 2.0 * rng.standard_normal((20_000, 4))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (rng.random((20_000, 1)) > np.cumsum(p, axis=1)).sum(axis=1)
    assert abs(metrics.fit_temperature(3.0 * logits, labels) - 3.0) < 0.12  # 4 standard errors
    assert metrics.expected_calibration_error(p, labels) < 0.02
    sharp = p**3 / np.sum(p**3, axis=1, keepdims=True)
    assert metrics.expected_calibration_error(sharp, labels) > 0.1


def test_temperatures_end_where_there_is_no_best():
    logits = np.array([[2.0, 0.0], [0.0, 2.0]])
    assert metrics.fit_temperature(logits, np.array([0, 1])) == 0.01
    assert metrics.fit_temperature(logits, np.array([1, 0])) == 100.0


@pytest.mark.parametrize(
    ("values", "labels", "words"),
    [
        (np.ones((2, 2)), np.zeros(2, int), "do not sum to 1"),
        (np.full((2, 2), 0.5), np.array([0.0, 1.0]), "integers"),
        (np.full((2, 2), 0.5), np.array([0, 2]), "from 0 to 2"),
        (np.full((2, 2), np.nan), np.zeros(2, int), "NaN"),
        (np.zeros((0, 2)), np.zeros(0, int), "are none"),
    ],
)
def test_probabilities_that_are_none(values, labels, words):
    with pytest.raises(DataError, match=words):
        metrics.expected_calibration_error(values, labels)
