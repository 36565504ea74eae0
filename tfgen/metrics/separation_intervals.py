"""How sure the numbers of `tfgen.metrics.separation` are: DeLong's variance, and the bootstrap."""

from typing import NamedTuple

import numpy as np

from tfgen.errors import DataError
from tfgen.metrics.separation import Separation, ordered, smallest_count
from tfgen.ops.checks import in_range, whole_number

_CHUNK = 2**17  # counts held at once, as many as caches hold


class Interval(NamedTuple):
    """A confidence interval of a number.

    Attributes:
        low: float, lower end.
        high: float, upper end.
    """

    low: float
    high: float


class AurocDifference(NamedTuple):
    """Two scores of the same examples compared.

    Attributes:
        difference: float, AUROC of the first minus that of the second.
        standard_error: float, of the difference.
        p_value: float, of no difference, two-sided.
    """

    difference: float
    standard_error: float
    p_value: float


def delong_interval(in_scores: np.ndarray, out_scores: np.ndarray, level: float = 0.95) -> Interval:
    """Confidence interval of the AUROC by DeLong et al. (1988), on the scale of log odds.

    The variance is estimated from as many examples as there are, so the quantile is Student's, with
    the degrees of freedom of Brunner & Munzel (2000): intervals hold for small sets too.

    Sets that are wholly apart, or of one and the same score, have no variance to estimate, and one
    or two examples tell too little of it. As many pairs in a row as the smaller set has examples
    then make likely that the share of pairs like these is at least
    `((1 - level) / 2)^(1 / count)`; the others may be of either kind.

    Args:
        in_scores: `[N]`, of in-distribution examples.
        out_scores: `[M]`, of others.
        level: float, in (0, 1). Defaults to `0.95`.

    Returns:
        An `Interval` in [0, 1].

    Raises:
        DataError: a set is empty, or a score is NaN.
    """
    from scipy import special

    in_range("level", level, 0.0, above=True, below=1.0)
    found = _delong([ordered(in_scores, out_scores)])
    area, variance = float(found.areas[0]), float(found.covariance[0, 0])
    smaller = min(np.size(in_scores), np.size(out_scores))
    if not variance > 0.0 or smaller < 3:
        share = float(((1.0 - level) / 2.0) ** (1.0 / smaller))
        return Interval(area * share, 1.0 - (1.0 - area) * share)
    quantile = special.stdtrit(found.degrees_of_freedom([1.0]), 0.5 + level / 2.0)
    reach = quantile * np.sqrt(variance) / (area * (1.0 - area))
    middle = special.logit(area)
    return Interval(*(float(x) for x in special.expit([middle - reach, middle + reach])))


def compare_auroc(
    in_scores: tuple[np.ndarray, np.ndarray], out_scores: tuple[np.ndarray, np.ndarray]
) -> AurocDifference:
    """Whether one score parts the same examples better than another (DeLong et al., 1988).

    The test is Student's, with degrees of freedom as in `delong_interval`. Where the difference has
    no variance, it is the sign test of as many pairs as the smaller set has examples.

    Args:
        in_scores: pair of `[N]`, both scores of the in-distribution examples, in one order.
        out_scores: pair of `[M]`, both scores of the others.

    Returns:
        An `AurocDifference`.

    Raises:
        DataError: a set has fewer than 2 examples, or a score is NaN.
    """
    from scipy import special

    found = _delong([ordered(*both) for both in zip(in_scores, out_scores)])
    smaller = min(np.size(in_scores[0]), np.size(out_scores[0]))
    if smaller < 2:
        raise DataError(
            "a set of 1 example does not tell whether one score is better than another; give at "
            "least 2 of each"
        )
    contrast = np.array([1.0, -1.0])
    difference = float(contrast @ found.areas)
    error = float(np.sqrt(max(contrast @ found.covariance @ contrast, 0.0)))
    if not error:
        return AurocDifference(difference, 0.0, 1.0 if difference == 0.0 else 0.5 ** (smaller - 1))
    freedom = found.degrees_of_freedom(contrast)
    p_value = 2.0 * special.stdtr(freedom, -abs(difference) / error)
    return AurocDifference(difference, error, float(p_value))


def bootstrap_intervals(
    in_scores: np.ndarray,
    out_scores: np.ndarray,
    level: float = 0.95,
    num_resamples: int = 500,
    seed: int = 0,
) -> Separation:
    """Percentile intervals of all numbers of `Separation`, both sets drawn anew each time.

    They are too narrow for sets of fewer than some 30 examples, and have no width for one.

    Args:
        in_scores: `[N]`, of in-distribution examples.
        out_scores: `[M]`, of others.
        level: float, in (0, 1). Defaults to `0.95`.
        num_resamples: integer, at least 10. Defaults to `500`.
        seed: integer, of the draws. Defaults to `0`.

    Returns:
        A `Separation` whose entries are `Interval`s.

    Raises:
        DataError: a set is empty, or a score is NaN.
    """
    in_range("level", level, 0.0, above=True, below=1.0)
    whole_number("num_resamples", num_resamples, 10)
    inside, outside = ordered(in_scores, out_scores)
    places = int(max(inside.max(), outside.max())) + 1
    rng, found = np.random.default_rng(seed), []
    step = max(1, _CHUNK // places)
    for first in range(0, num_resamples, step):
        count = min(step, num_resamples - first)
        found.append(
            np.stack(
                separation_of_counts(*(_drawn(x, places, count, rng) for x in (inside, outside)))
            )
        )
    tails = (1.0 - level) / 2.0
    low, high = np.quantile(np.concatenate(found, axis=1), [tails, 1.0 - tails], axis=1)
    return Separation(*(Interval(float(a), float(b)) for a, b in zip(low, high)))


def separation_of_counts(in_counts: np.ndarray, out_counts: np.ndarray) -> Separation:
    """`measure_separation` of many pairs of sets at once, given as histograms over ordered places.

    Args:
        in_counts: `[R, K]`, how many inliers of set r have the k-th smallest score.
        out_counts: `[R, K]`, likewise of outliers.

    Returns:
        A `Separation` whose entries are `[R]`.
    """
    return Separation(
        _auroc_of_counts(in_counts, out_counts),
        _precision_of_counts(in_counts[:, ::-1], out_counts[:, ::-1]),
        _precision_of_counts(out_counts, in_counts),
        _fpr_of_counts(in_counts, out_counts),
        _fpr_of_counts(out_counts[:, ::-1], in_counts[:, ::-1]),
    )


def _drawn(places, num_places, count, rng):
    """Histograms `[count, num_places]` of resamples with replacement."""
    chosen = places[rng.integers(0, len(places), (count, len(places)))]
    chosen += num_places * np.arange(count)[:, None]
    return np.bincount(chosen.ravel(), minlength=count * num_places).reshape(count, num_places)


def _auroc_of_counts(in_counts, out_counts):
    below = np.cumsum(in_counts, axis=1) - 0.5 * in_counts
    pairs = in_counts.sum(axis=1) * out_counts.sum(axis=1)
    return np.sum(out_counts * below, axis=1) / pairs


def _precision_of_counts(others, wanted):
    """Average precision of what is wanted, which is looked for from the first place on."""
    hits = np.cumsum(wanted, axis=1)
    seen = hits + np.cumsum(others, axis=1)
    precision = np.divide(hits, seen, out=np.zeros(hits.shape), where=seen > 0)
    return np.sum(precision * wanted, axis=1) / hits[:, -1]


def _fpr_of_counts(positive, negative, rate=0.95):
    """Share of the negative up to the place where the positive are complete to 95 %."""
    needed = smallest_count(rate, int(positive[0].sum()))
    place = np.argmax(np.cumsum(positive, axis=1) >= needed, axis=1)
    accepted = np.cumsum(negative, axis=1)
    return accepted[np.arange(len(place)), place] / accepted[:, -1]


class _Areas(NamedTuple):
    """AUROCs `[K]` of K scores of the same examples, and the two parts of their covariance."""

    areas: np.ndarray
    parts: tuple[np.ndarray, np.ndarray]  # of outliers and of inliers, [K, K] each
    counts: tuple[int, int]

    @property
    def covariance(self) -> np.ndarray:
        """`[K, K]`."""
        return self.parts[0] + self.parts[1]

    def degrees_of_freedom(self, contrast) -> float:
        """Of the variance of a weighted sum of the areas (Welch and Satterthwaite)."""
        contrast = np.asarray(contrast)
        own = [float(contrast @ part @ contrast) for part in self.parts]
        return sum(own) ** 2 / sum(v**2 / (n - 1) for v, n in zip(own, self.counts))


def _delong(pairs) -> _Areas:
    from scipy.stats import rankdata

    areas, above, below = [], [], []
    for inside, outside in pairs:
        n, m = len(inside), len(outside)
        ranks = rankdata(np.r_[inside, outside])
        above.append((ranks[n:] - rankdata(outside)) / n)  # share of inliers below each outlier
        below.append(1.0 - (ranks[:n] - rankdata(inside)) / m)
        areas.append(np.mean(above[-1]))
    counts = len(above[0]), len(below[0])
    parts = tuple(_covariance(each) / n for each, n in zip((above, below), counts))
    return _Areas(np.array(areas), parts, counts)


def _covariance(components):
    components = np.stack(components)
    if components.shape[1] < 2:  # of one example there is no variance to see
        return np.zeros((len(components), len(components)))
    return np.atleast_2d(np.cov(components))
