"""What numbers about a few images allow to say, and how surely.

A gradient leaks if its reconstructions are nearer to the originals than what the attacker gets
without the gradient, or if they can be told from other images. Either is measured on few images, so
a verdict carries a confidence, and "no leak found" holds for the attacks and the budget tried: the
failure of an attack is no proof. Only a privacy loss (epsilon) is one.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats

LEAKS, NOT_FOUND, INCONCLUSIVE = "leaks", "no leak found", "inconclusive"
_RESAMPLES = 2000
_SIGNIFICANCE = 0.01


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A judgement of one attack on one defence.

    Attributes:
        finding: "leaks", "no leak found" or "inconclusive".
        confidence: in [0, 1].
        reason: one sentence with the numbers behind it.
    """

    finding: str
    confidence: float
    reason: str


def bootstrap_interval(
    values: np.ndarray, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Interval of the mean over images, by the percentile bootstrap; equal ends for one image."""
    low, high = np.quantile(_resampled_means(values, seed), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def judge(
    margins_db: np.ndarray,
    identified: np.ndarray,
    pool_size: int,
    threshold_db: float = 1.0,
    seed: int = 0,
) -> Verdict:
    """Judges the images of one attack together.

    Args:
        margins_db: `[n]`, PSNR of each reconstruction above that of its best control.
        identified: bool `[n]`, whether the reconstruction's nearest neighbour in the pool is its
            source, and that of the control is not.
        pool_size: P; an unrelated picture hits with probability 1/P.
        threshold_db: margins up to here are no leak.
        seed: of the bootstrap.
    """
    means = _resampled_means(margins_db, seed)
    low, high = np.quantile(means, [0.025, 0.975])
    hits, count = int(np.sum(identified)), len(identified)
    chance = scipy.stats.binomtest(hits, count, 1.0 / pool_size, alternative="greater").pvalue
    reason = (
        f"{np.mean(margins_db):+.1f} dB over the best control (95 % interval {low:+.1f} to "
        f"{high:+.1f}), {hits} of {count} images identified among {pool_size}"
    )
    above = float(np.mean(means > threshold_db))
    if low > threshold_db or chance < _SIGNIFICANCE:
        return Verdict(LEAKS, max(above, 1.0 - float(chance)), reason)
    if high <= threshold_db and hits == 0:
        # Of an attack that succeeds on every second image, so many would all be failures with
        # probability 2**-count: few images are no evidence of safety.
        return Verdict(NOT_FOUND, min(1.0 - above, 1.0 - 0.5**count), reason)
    return Verdict(INCONCLUSIVE, max(above, 1.0 - above), reason)


def severity(cell: Mapping[str, Any]) -> tuple:
    """Order of cells of the grid from harmless to worst."""
    return (cell["finding"] == LEAKS, cell["iip"], cell["margin_db"])


def worst_by_defence(cells: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The worst cell of every defence and batch size."""
    worst: dict[tuple, Mapping] = {}
    for cell in cells:
        key = (cell["batch_size"], cell["defence"])
        if key not in worst or severity(cell) > severity(worst[key]):
            worst[key] = cell
    return list(worst.values())


def _resampled_means(values, seed):
    values = np.asarray(values, np.float64)
    rng = np.random.default_rng(seed)
    return values[rng.integers(0, len(values), (_RESAMPLES, len(values)))].mean(axis=1)
