"""Fréchet distance between Normals fitted to features (Heusel et al., 2017)."""

import numpy as np
import scipy.linalg

from tfgen.errors import DataError
from tfgen.metrics.moments import Moments


def frechet_distance(a: Moments, b: Moments) -> float:
    """FID of two feature samples: |mean_a - mean_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)).

    The trace of the root is that of the symmetric (C_a^(1/2) C_b C_a^(1/2))^(1/2), so two symmetric
    eigenvalue problems replace the root of a non-symmetric product: no imaginary parts and no
    jitter on the diagonal, also for fewer images than features. The estimate is biased upwards by
    small samples: compare only at equal numbers of images.

    Args:
        a: `Moments` of the features of one side.
        b: `Moments` of the features of the other.

    Returns:
        Float, at least 0.

    Raises:
        DataError: if a sample has fewer than two images or another number of features.
    """
    if min(a.count, b.count) < 2:
        raise DataError(
            f"a Fréchet distance needs two images on each side; got {a.count} and {b.count}."
        )
    if a.mean.shape != b.mean.shape:
        raise DataError(
            f"features of {len(a.mean)} and {len(b.mean)} numbers cannot be compared; use one "
            "extractor for both sides."
        )
    root = _symmetric_root(a.covariance)
    eigenvalues = scipy.linalg.eigvalsh(root @ b.covariance @ root)
    trace_of_root = np.sqrt(np.maximum(eigenvalues, 0.0)).sum()
    distance = (
        np.square(a.mean - b.mean).sum()
        + np.trace(a.covariance)
        + np.trace(b.covariance)
        - 2.0 * trace_of_root
    )
    return float(max(distance, 0.0))


def _symmetric_root(matrix: np.ndarray) -> np.ndarray:
    """Square root of a positive semi-definite matrix; rounding below zero is cut off."""
    eigenvalues, vectors = scipy.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(eigenvalues, 0.0))) @ vectors.T
