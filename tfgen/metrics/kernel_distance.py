"""Kernel inception distance: unbiased at any sample size (Binkowski et al., 2018)."""

import dataclasses
from typing import NamedTuple

import numpy as np

from tfgen.errors import DataError
from tfgen.metrics.moments import check_features


def kernel_distance(
    real: np.ndarray,
    fake: np.ndarray,
    num_subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """KID: squared maximum mean discrepancy under k(x, y) = (x.y / D + 1)^3, averaged over subsets.

    Args:
        real: array `[N, D]`, features of real images.
        fake: array `[M, D]`, features of samples.
        num_subsets: integer, random subsets to average over; where a subset would be all of both
            sides, one is enough and one is taken. Defaults to `100`.
        subset_size: integer, images of each side in a subset, at most N and M. Defaults to `1000`.
        seed: integer, seed of the subsets. Defaults to `0`.

    Returns:
        The mean over subsets, which may be slightly negative, and its standard error: how far it
        would vary if other images were drawn on both sides.

    Raises:
        DataError: if a side has fewer than two images, or features do not fit or are not finite.
    """
    size = min(subset_size, len(real), len(fake))
    if size < 2 or num_subsets < 1:
        raise DataError(
            f"a kernel distance needs two images on each side and one subset; got {len(real)} and "
            f"{len(fake)} images, {num_subsets} subsets."
        )
    check_features(real, fake)
    if size == len(real) == len(fake):
        num_subsets = 1
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(num_subsets):
        x = real[rng.choice(len(real), size, replace=False)].astype(np.float64)
        y = fake[rng.choice(len(fake), size, replace=False)].astype(np.float64)
        found.append(_Subset.of(x, y))
    value, *variances = np.mean([dataclasses.astuple(subset) for subset in found], axis=0)
    error = _standard_error(_Subset(value, *variances), size, num_subsets, len(real), len(fake))
    return float(value), error


@dataclasses.dataclass(frozen=True)
class _Subset:
    """The distance of two subsets of n images, and the parts of its variance (Hoeffding, 1948).

    With P and Q the laws of the two sides, and every kernel centred by its means,

        MMD^2 = const + mean_i g(x_i) + mean_j g'(y_j) + second-order terms in pairs,
        g(x) = 2 E_P k(x, X) - 2 E_Q k(x, Y),

    whose terms are all uncorrelated. Under P = Q the first order vanishes.
    """

    distance: float
    first_real: float  # variance of g
    first_fake: float
    pair_real: float  # mean square of the centred kernel
    pair_fake: float
    pair_mixed: float

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray) -> "_Subset":
        real, fake = _Means.of(_kernel(x, x), True), _Means.of(_kernel(y, y), True)
        mixed = _Means.of(_kernel(x, y), False)
        distance = real.mean + fake.mean - 2.0 * mixed.mean
        firsts = []
        for own, others in ((real, mixed.rows), (fake, mixed.columns)):
            # Of g, the means over the other images vary by themselves.
            noise = 4.0 * (own.pair / (len(x) - 1) + mixed.pair / len(x))
            firsts.append(np.var(2.0 * (own.rows - others), ddof=1) - noise)
        return cls(distance, *firsts, real.pair, fake.pair, mixed.pair)


class _Means(NamedTuple):
    """Means of a kernel matrix, and the mean square of what is left when they are taken away."""

    mean: float
    rows: np.ndarray
    columns: np.ndarray
    pair: float

    @classmethod
    def of(cls, k: np.ndarray, same_side: bool) -> "_Means":
        """Of one side with itself, where no image meets itself, or of both sides."""
        if same_side:
            np.fill_diagonal(k, 0.0)
        rows, columns = (k.sum(axis=axis) / (len(k) - same_side) for axis in (1, 0))
        mean = rows.mean()
        centred = k - rows[:, None] - columns + mean
        if same_side:
            np.fill_diagonal(centred, 0.0)
        pair = np.vdot(centred, centred) / (len(k) * (len(k) - same_side))
        return cls(mean, rows, columns, pair)


def _standard_error(mean: _Subset, size: int, num_subsets: int, num_real: int, num_fake: int):
    """Of the mean over random subsets of both sides, from variances averaged over them.

    Two subsets share an image with probability n / N, a pair with n (n - 1) / (N (N - 1)).
    """

    def share(own, all_of_it):
        """The mean of squared weights that single images, or pairs, have in the average."""
        return 1.0 / (num_subsets * own) + (1.0 - 1.0 / num_subsets) / all_of_it

    n, real, fake = size, num_real, num_fake
    variance = (
        max(mean.first_real, 0.0) * share(n, real)
        + max(mean.first_fake, 0.0) * share(n, fake)
        + 2.0 * mean.pair_real * share(n * (n - 1), real * (real - 1))
        + 2.0 * mean.pair_fake * share(n * (n - 1), fake * (fake - 1))
        + 4.0 * mean.pair_mixed * share(n * n, real * fake)
    )
    return float(np.sqrt(variance))


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a @ b.T / a.shape[1] + 1.0) ** 3
