"""Distance to the k-th nearest in-distribution feature."""

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import DataError
from tfgen.ood.scores.base import Score
from tfgen.ood.scores.mahalanobis import unit_length
from tfgen.ops.checks import whole_number


@keras.saving.register_keras_serializable(package="tfgen")
class KNN(Score):
    """Euclidean distance of unit-length features to the k-th nearest (Sun et al., 2022).

    The features it was fitted to are its statistics, so a limit on them bounds its size and cost.

    Args:
        k: integer, at least 1. Defaults to `50`.
        most: integer, how many in-distribution features are kept, drawn at random where there are
            more; None keeps all.
        seed: integer, of that draw. Defaults to `0`.
        name: string, the score's name.
        shapes: dict of the shape of each statistic, which `fit` finds; None: not fitted.

    Raises:
        ConfigError: k, or most, is no whole number of at least 1 and k.
    """

    needs = ("features",)
    fitted_to = ("bank",)
    default_name = "knn"

    def __init__(self, k=50, most=None, seed=0, name=None, shapes=None, **kwargs):
        super().__init__(shapes=shapes, name=name, **kwargs)
        self.k = whole_number("k", k, 1)
        self.most = None if most is None else whole_number("most", most, self.k)
        self.seed = seed

    def statistics(self, features, *, labels, head):
        del labels, head
        if self.most is not None and len(features) > self.most:
            rng = np.random.default_rng(self.seed)
            features = features[np.sort(rng.permutation(len(features))[: self.most])]
        if len(features) < self.k:
            raise DataError(
                f"the score {self.name!r} looks for the {self.k}th neighbour among "
                f"{len(features)} images; give more images, or a smaller k"
            )
        return {"bank": unit_length(tf.constant(features)).numpy()}

    def compute(self, features):
        features, bank = unit_length(features), self.statistic("bank")
        # Of unit vectors the nearest have the largest products. The distance itself comes from a
        # difference: 2 - 2 times a product near 1 would keep no digit.
        _, order = tf.math.top_k(tf.matmul(features, bank, transpose_b=True), self.k)
        return tf.norm(features - tf.gather(bank, order[:, self.k - 1]), axis=1)

    def get_config(self):
        return {**super().get_config(), "k": self.k, "most": self.most, "seed": self.seed}
