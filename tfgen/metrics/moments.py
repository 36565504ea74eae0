"""Mean and covariance of features that arrive in batches and on several devices."""

import dataclasses

import numpy as np

from tfgen.errors import DataError


@dataclasses.dataclass(frozen=True)
class Moments:
    """Count, mean and scatter in float64; merging two is exact whatever the order.

    (The authors of NVAE and LSGM average the means and covariances of their GPUs, which leaves out
    the scatter between the means.)

    Args:
        count: integer, how many vectors there were.
        mean: float64 array `[D]`.
        scatter: float64 array `[D, D]`, sum of outer products of deviations from the mean.
    """

    count: int
    mean: np.ndarray  # [D]
    scatter: np.ndarray  # [D, D], sum of outer products of deviations from the mean

    @classmethod
    def empty(cls, num_features: int) -> "Moments":
        """Of no features yet."""
        return cls(0, np.zeros(num_features), np.zeros((num_features, num_features)))

    @classmethod
    def of(cls, features: np.ndarray) -> "Moments":
        """Of one batch `[N, D]`.

        Raises:
            DataError: another shape, or NaN.
        """
        check_features(features)
        features = np.asarray(features, np.float64)
        mean = features.mean(axis=0)
        deviations = features - mean
        return cls(len(features), mean, deviations.T @ deviations)

    def merge(self, other: "Moments") -> "Moments":
        """Of both samples together (Chan et al., 1983)."""
        if not self.count or not other.count:
            return self if self.count else other
        count = self.count + other.count
        difference = other.mean - self.mean
        between = np.outer(difference, difference) * (self.count * other.count / count)
        return Moments(
            count,
            self.mean + difference * (other.count / count),
            self.scatter + other.scatter + between,
        )

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased covariance `[D, D]`; needs at least two samples."""
        return self.scatter / (self.count - 1)


def check_features(*sides: np.ndarray) -> None:
    """Raises a DataError unless the features of both sides, `[N, D]` each, can be compared."""
    shapes = [np.shape(side) for side in sides]
    if any(len(shape) != 2 for shape in shapes) or len({shape[1] for shape in shapes}) > 1:
        raise DataError(
            f"features have shapes {' and '.join(map(str, shapes))}; expected [N, D] and [M, D] of "
            "one extractor"
        )
    if not all(np.all(np.isfinite(side)) for side in sides):
        raise DataError("features contain NaN or infinity; look at the extractor's weights")
