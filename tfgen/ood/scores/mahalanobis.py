"""Distance of features from the Gaussians that in-distribution features make."""

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import DataError
from tfgen.ood.scores.base import NoSpread, Score
from tfgen.ops.checks import whole_number

_NO_VARIANCE = 1e-10  # of the largest variance: less than float32 features can tell from none


@keras.saving.register_keras_serializable(package="tfgen")
class Mahalanobis(Score):
    """Squared Mahalanobis distance to the nearest cluster of features (Lee et al., 2018).

    All clusters share one covariance, the scatter within them over N. Directions in which
    in-distribution features do not vary count nothing. With `normalised=True` and one cluster it is
    the score of SSD (Sehwag et al., 2021).

    Args:
        clusters: integer, how many Gaussians k-means finds, 1 for a single one; None: one for each
            class, which needs labels.
        normalised: whether features are brought to unit length and then to mean 0 and standard
            deviation 1 of the in-distribution ones. Defaults to `False`.
        seed: integer, of k-means. Defaults to `0`.
        name: string, the score's name.
        shapes: dict of the shape of each statistic, which `fit` finds; None: not fitted.

    Raises:
        ConfigError: clusters is no whole number of at least 1.
    """

    needs = ("features",)
    fitted_to = ("origin", "inverse_scale", "whitening", "centres")
    default_name = "mahalanobis"

    def __init__(self, clusters=None, normalised=False, seed=0, name=None, shapes=None, **kwargs):
        super().__init__(shapes=shapes, name=name, **kwargs)
        if clusters is not None:
            clusters = whole_number("clusters", clusters, 1)
        self.clusters, self.normalised, self.seed = clusters, normalised, seed

    @property
    def needs_labels(self):
        return self.clusters is None

    @staticmethod
    def shapes_of(num_features: int, clusters: int) -> dict[str, list[int]]:
        """The shape of each statistic of so many features, a dict by name."""
        return {
            "origin": [num_features],
            "inverse_scale": [num_features],
            "whitening": [num_features, num_features],
            "centres": [clusters, num_features],
        }

    def statistics(self, features, *, labels, head):
        del head
        if self.normalised:
            features = _unit(features)
        origin, scale = features.mean(axis=0), np.ones(features.shape[1])
        if self.normalised:
            deviation = features.std(axis=0)
            scale = np.divide(1.0, deviation, out=np.zeros_like(scale), where=deviation > 0.0)
        features = (features - origin) * scale
        members = self._members(features, labels)
        means = np.stack([features[members == k].mean(axis=0) for k in np.unique(members)])
        within = features - means[np.searchsorted(np.unique(members), members)]
        whitening = _whitening(within.T @ within / len(within), self.name)
        return {
            "origin": origin,
            "inverse_scale": scale,
            "whitening": whitening,
            "centres": means @ whitening,
        }

    def _members(self, features, labels):
        if self.clusters is None:
            return labels
        if self.clusters == 1:
            return np.zeros(len(features), np.int64)
        if self.clusters > len(features):
            raise DataError(
                f"{self.clusters} clusters of {len(features)} images; expected at least as many "
                "images as clusters"
            )
        from sklearn.cluster import KMeans

        return KMeans(self.clusters, n_init=10, random_state=self.seed).fit_predict(features)

    def compute(self, features):
        if self.normalised:
            features = unit_length(features)
        features = (features - self.statistic("origin")) * self.statistic("inverse_scale")
        whitened, centres = features @ self.statistic("whitening"), self.statistic("centres")
        nearest = tf.argmin(
            tf.reduce_sum(centres**2, axis=1)
            - 2.0 * tf.matmul(whitened, centres, transpose_b=True),
            axis=1,
        )
        # The distance itself from a difference: squares of large norms would cancel.
        return tf.reduce_sum((whitened - tf.gather(centres, nearest)) ** 2, axis=1)

    def get_config(self):
        return {
            **super().get_config(),
            "clusters": self.clusters,
            "normalised": self.normalised,
            "seed": self.seed,
        }


def unit_length(features: tf.Tensor) -> tf.Tensor:
    """Rows `[B, D]` of unit length; one of zeros stays as it is."""
    return tf.math.divide_no_nan(features, tf.norm(features, axis=-1, keepdims=True))


def _unit(features):
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.divide(features, lengths, out=np.zeros_like(features), where=lengths > 0.0)


def _whitening(covariance, name):
    """`[D, D]` whose product with itself is the pseudo-inverse of a covariance; of rank R, D - R
    columns are 0."""
    variances, directions = np.linalg.eigh(covariance)
    kept = variances > _NO_VARIANCE * variances[-1]
    if not np.any(kept) or variances[-1] <= 0.0:
        raise NoSpread(
            f"the features do not vary within the clusters of the score {name!r}; give more "
            "images, of more than one appearance"
        )
    found = np.zeros_like(directions)
    found[:, kept] = directions[:, kept] / np.sqrt(variances[kept])
    return found
