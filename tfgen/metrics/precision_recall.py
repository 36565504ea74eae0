"""Precision and recall of samples by nearest-neighbour manifolds (Kynkäänniemi et al., 2019)."""

import numpy as np

from tfgen.errors import DataError
from tfgen.metrics.moments import check_features


def precision_recall(
    real: np.ndarray, fake: np.ndarray, num_neighbours: int = 3, chunk_size: int = 1024
) -> tuple[float, float]:
    """Shares of samples inside the other side's manifold.

    A side's manifold is the union of balls around its features, each reaching to its k-th nearest
    neighbour on the same side. Precision is the share of `fake` in the manifold of `real` (are
    samples plausible?), recall the share of `real` in that of `fake` (is everything covered?).

    Args:
        real: array `[N, D]`, features of real images.
        fake: array `[M, D]`, features of samples. Use N = M: both numbers depend on the sizes.
        num_neighbours: integer k, at least 1. Defaults to `3`.
        chunk_size: integer, rows of the distance matrix held at once, `chunk_size * max(N, M)`
            numbers. Defaults to `1024`.

    Returns:
        `(precision, recall)` in [0, 1].

    Raises:
        DataError: if a side has no k-th neighbour, or features do not fit or are not finite.
    """
    if not 1 <= num_neighbours < min(len(real), len(fake)):
        raise DataError(
            f"{num_neighbours} neighbours need at least {num_neighbours + 1} images on each side; "
            f"got {len(real)} and {len(fake)}."
        )
    check_features(real, fake)
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    centre = real.mean(axis=0)  # distances do not change, and cancel less around the origin
    real, fake = real - centre, fake - centre
    real_radii = _radii(real, num_neighbours, chunk_size)
    fake_radii = _radii(fake, num_neighbours, chunk_size)
    precision = _share_inside(fake, real, real_radii, chunk_size)
    recall = _share_inside(real, fake, fake_radii, chunk_size)
    return precision, recall


def _squared_distances(rows: np.ndarray, points: np.ndarray) -> np.ndarray:
    norms = np.square(points).sum(axis=1)
    return np.maximum(np.square(rows).sum(axis=1)[:, None] + norms - 2.0 * rows @ points.T, 0.0)


def _radii(points: np.ndarray, num_neighbours: int, chunk_size: int) -> np.ndarray:
    """Squared distance of every point to its k-th neighbour, itself not counted."""
    radii = np.empty(len(points))
    for start in range(0, len(points), chunk_size):
        rows = slice(start, start + chunk_size)
        distances = _squared_distances(points[rows], points)
        own = np.arange(len(distances))
        distances[own, start + own] = -1.0  # ahead of any duplicate
        radii[rows] = np.partition(distances, num_neighbours, axis=1)[:, num_neighbours]
    return radii


def _share_inside(
    queries: np.ndarray, centres: np.ndarray, radii: np.ndarray, chunk_size: int
) -> float:
    inside = 0
    for start in range(0, len(queries), chunk_size):
        distances = _squared_distances(queries[start : start + chunk_size], centres)
        inside += np.count_nonzero((distances <= radii).any(axis=1))
    return inside / len(queries)
