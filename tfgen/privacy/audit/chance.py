"""What chance explains: reconstructions scored against batches that were not attacked.

Of a reconstruction that knows nothing of the client's batch, that batch is nothing but one more
draw. So its score is compared with the scores of the same reconstructions against other batches,
drawn in the same way: a randomisation test, whose error rate is exact whatever the images are, how
many they are, and however lucky the assignment of reconstructions to originals is.

A report asks many such questions. The largest score of all its cells is compared with the largest
that another batch reaches in any of them (Westfall & Young, 1993), so that the whole report raises
a false alarm as rarely as a single test would.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.optimize

from tfgen.privacy.audit.leakage import PSNR_CAP_DB, TIE, unit_vectors

NUM_BATCHES = 999  # other batches against which images are scored
NUM_LABEL_BATCHES = 19_999  # the same for labels, which are cheap
_ROWS = 1_000  # images compared at once


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """Scores against the client's batch, and after it against every other batch.

    Attributes:
        pixels: `[1 + B]`, PSNR added over the images, in decibel.
        identified: `[1 + B]`, how many images are nearest to their reconstruction in the pool.
        chance: share of the images of other batches, without those of the client's, that are.
    """

    pixels: np.ndarray
    identified: np.ndarray
    chance: float


class Pool:
    """The images among which sources are looked for: a batch and images drawn at random.

    Args:
        order: a permutation of the audited images.
        size: of the pool.
    """

    def __init__(self, order: np.ndarray, size: int):
        self.order, self.size = order, min(size, len(order))

    def around(self, indices: np.ndarray) -> np.ndarray:
        """The pool of one batch: its images first, then the first of all others."""
        taken = np.zeros(len(self.order), bool)
        taken[indices] = True
        others = self.order[: self.size]
        others = others[~taken[others]]
        return np.concatenate([indices, others[: max(0, self.size - len(indices))]])


class Comparison:
    """Reconstructions beside every audited image.

    Args:
        reconstructions: `[R, H, W, C]`, R at least the size of the batch.
        images: all audited ones, `[N, H, W, C]`.
        num_restored: the first so many are reconstructions; fillers after them identify nothing.
    """

    def __init__(self, reconstructions: np.ndarray, images: np.ndarray, num_restored: int):
        self.num_restored = num_restored
        flat = np.reshape(reconstructions, (len(reconstructions), -1)).astype(np.float64)
        errors, similarities = [], []
        for start in range(0, len(images), _ROWS):
            rows = np.reshape(images[start : start + _ROWS], (-1, flat.shape[1]))
            rows = rows.astype(np.float64)
            errors.append(_mean_squared_errors(flat, rows))
            similarities.append(unit_vectors(flat) @ unit_vectors(rows).T)
        self.errors = np.concatenate(errors, axis=1)
        self.similarity = np.concatenate(similarities, axis=1)

    def scores(self, batch: np.ndarray, others: np.ndarray, pool: Pool) -> Scores:
        """Scores of the reconstructions against a batch and against others.

        Args:
            batch: int `[K]`, indices of the client's images.
            others: int `[B, K]`, see `Protocol.other_batches`.
            pool: among which sources are looked for.
        """
        drawn = np.concatenate([batch[None], others])
        pixels, nearest = (np.array(c) for c in zip(*(self._score(row, pool) for row in drawn)))
        foreign = ~np.isin(drawn, batch)
        chance = np.sum(nearest & foreign) / max(np.sum(foreign), 1)
        return Scores(pixels, nearest.sum(axis=1), float(chance))

    def copies(self, batch: np.ndarray) -> int:
        """How many images came back to within one of 255 grey levels, and nearer than any other."""
        slots = self._assign(batch)
        own = self.errors[slots, batch]
        rivals = np.sum(self.errors[slots] <= own[:, None], axis=1)
        return int(np.sum((own <= (1 / 255) ** 2) & (rivals == 1) & (slots < self.num_restored)))

    def _score(self, indices, pool):
        slots = self._assign(indices)
        psnr = -10.0 * np.log10(np.maximum(self.errors[slots, indices], 10 ** (-PSNR_CAP_DB / 10)))
        similarity = self.similarity[slots[:, None], pool.around(indices)]
        nearest = np.sum(similarity >= self.similarity[slots, indices][:, None] - TIE, axis=1) == 1
        return psnr.sum(), nearest & (slots < self.num_restored)

    def _assign(self, indices):
        return scipy.optimize.linear_sum_assignment(self.errors[:, indices].T)[1]


def p_values(scores: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The chance of scores at least as high without knowledge, for the cells of a report.

    Args:
        scores: for each cell `[1 + B]`: against the client's batch, then against others; the b-th
            other batches of all cells were drawn together.

    Returns:
        `[M]` for every cell alone, and `[M]` with regard to all of them: the chance that any cell
        scores as high.
    """
    scores = np.stack([np.asarray(row, np.float64) for row in scores])
    alone = np.mean(scores >= scores[:, :1] - TIE, axis=1)
    spread = scores.std(axis=1, keepdims=True)
    standardised = (scores - scores.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1.0)
    highest = standardised.max(axis=0)
    together = np.mean(highest[None] >= standardised[:, :1] - TIE, axis=1)
    return alone, together


def _mean_squared_errors(a, b):
    """`[len(a), len(b)]`; the expanded square loses only what lies below the cap of the PSNR."""
    squares = np.sum(a * a, axis=1)[:, None] + np.sum(b * b, axis=1)[None] - 2.0 * (a @ b.T)
    return np.maximum(squares, 0.0) / a.shape[1]
