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

from tfgen.privacy.audit.leakage import CONSTANT, PSNR_CAP_DB, TIE

NUM_BATCHES = 999  # other batches against which images are scored
NUM_LABEL_BATCHES = 19_999  # the same for labels, which are cheap
_RARE = 0.05  # chance of a picture's being in a batch by itself, above which it tells nothing
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
        order: integer array, a permutation of the audited images.
        size: integer, images of the pool.
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


class Gallery:
    """The audited images as vectors, with what every comparison needs of them.

    Args:
        images: `[N, H, W, C]`.
    """

    def __init__(self, images: np.ndarray):
        self._rows = np.reshape(images, (len(images), -1))
        self.sums, self.squares = _moments(self._rows)

    def compare(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean squared errors and correlations of vectors `[R, D]` with all images, `[R, N]` each.

        A constant has no direction: its correlations are 0.
        """
        size = vectors.shape[1]
        products = np.concatenate([vectors @ rows.T for rows in _parts(self._rows)], axis=1)
        sums, squares = _moments(vectors)
        # The expanded square loses only what lies below the cap of the PSNR.
        errors = np.maximum(squares[:, None] + self.squares - 2.0 * products, 0.0) / size
        lengths = _lengths(sums, squares, size)[:, None] * _lengths(self.sums, self.squares, size)
        covariances = products - sums[:, None] * self.sums / size
        directed = lengths > 0
        return errors, np.where(directed, covariances / np.where(directed, lengths, 1.0), 0.0)


class Comparison:
    """Reconstructions beside every audited image.

    Args:
        reconstructions: `[R, H, W, C]`, R at least the size of the batch.
        gallery: the `Gallery` of all audited images.
        num_restored: integer; the first so many are reconstructions; fillers after them identify
            nothing.
    """

    def __init__(self, reconstructions: np.ndarray, gallery: Gallery, num_restored: int):
        self.num_restored = num_restored
        vectors = np.reshape(reconstructions, (len(reconstructions), -1)).astype(np.float64)
        self.errors, self.similarity = gallery.compare(vectors)

    def scores(self, batch: np.ndarray, others: np.ndarray, pool: Pool) -> Scores:
        """Scores of the reconstructions against a batch and against others.

        Args:
            batch: int `[K]`, indices of the client's images.
            others: int `[B, K]`, see `Protocol.other_batches`.
            pool: the `Pool` among which sources are looked for.
        """
        drawn = np.concatenate([batch[None], others])
        pixels, nearest = (np.array(c) for c in zip(*(self._score(row, pool) for row in drawn)))
        foreign = ~np.isin(drawn, batch)
        chance = np.sum(nearest & foreign) / max(np.sum(foreign), 1)
        return Scores(pixels, nearest.sum(axis=1), float(chance))

    def copies(self, batch: np.ndarray) -> tuple[int, float]:
        """How many images came back to within one of 255 grey levels, and the chance of one.

        No other image is as near, or so few are, all alike, that chance would hardly put one of
        them into the batch; one that is constant anybody might guess.
        """
        slots, count = self._assign(batch), self.errors.shape[1]
        own = self.errors[slots, batch]
        exact = (own <= (1 / 255) ** 2) & (slots < self.num_restored)
        as_near = np.sum(self.errors[slots] <= own[:, None], axis=1)
        # Of N images one is the nearest, whichever it is.
        chance = np.where(as_near == 1, 1, len(batch) * as_near) / count
        shown = self.similarity[slots, batch] > 0
        copied = exact & ((as_near == 1) | (shown & (chance <= _RARE)))
        return int(np.sum(copied)), float(np.min(chance, where=copied, initial=1.0))

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


def _parts(rows):
    """Rows as float64, some at a time."""
    for start in range(0, len(rows), _ROWS):
        yield rows[start : start + _ROWS].astype(np.float64)


def _moments(rows):
    """Sums and sums of squares of every row."""
    found = [(part.sum(axis=1), np.einsum("nd,nd->n", part, part)) for part in _parts(rows)]
    return tuple(np.concatenate(column) for column in zip(*found))


def _lengths(sums, squares, size):
    """Of rows without their mean; 0 of constant ones, of which nothing but rounding is left."""
    left = squares - sums**2 / size
    return np.where(left > (CONSTANT**2) * squares, np.sqrt(np.maximum(left, 0.0)), 0.0)
