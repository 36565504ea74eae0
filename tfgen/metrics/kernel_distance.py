"""Kernel inception distance: unbiased at any sample size (Binkowski et al., 2018)."""

import numpy as np

from tfgen.errors import DataError


def kernel_distance(
    real: np.ndarray,
    fake: np.ndarray,
    num_subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """KID: squared maximum mean discrepancy under k(x, y) = (x.y / D + 1)^3, averaged over subsets.

    Args:
        real: features `[N, D]`.
        fake: features `[M, D]`.
        num_subsets: random subsets to average over.
        subset_size: images of each side in a subset, at most N and M.
        seed: of the subsets.

    Returns:
        The mean over subsets, which may be slightly negative, and its standard error. Subsets of
        one sample overlap: the error is that of the subsampling, not of drawing other images.

    Raises:
        DataError: if a side has fewer than two images.
    """
    size = min(subset_size, len(real), len(fake))
    if size < 2 or num_subsets < 1:
        raise DataError(
            f"a kernel distance needs two images on each side and one subset; got {len(real)} and "
            f"{len(fake)} images, {num_subsets} subsets."
        )
    rng = np.random.default_rng(seed)
    values = [
        _unbiased_mmd(
            real[rng.choice(len(real), size, replace=False)].astype(np.float64),
            fake[rng.choice(len(fake), size, replace=False)].astype(np.float64),
        )
        for _ in range(num_subsets)
    ]
    spread = np.std(values, ddof=1) if num_subsets > 1 else np.nan
    return float(np.mean(values)), float(spread / np.sqrt(num_subsets))


def _unbiased_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """Mean of k(x, x') + k(y, y') - 2 k(x, y) over pairs of different samples; equal sizes."""
    n, dimension = x.shape

    def kernel(a, b):
        return (a @ b.T / dimension + 1.0) ** 3

    within = sum(k.sum() - np.trace(k) for k in (kernel(x, x), kernel(y, y)))
    return within / (n * (n - 1)) - 2.0 * kernel(x, y).mean()
