"""Energies of features that are cut or pruned first: ReAct and ASH."""

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import DataError
from tfgen.ood.scores.base import Score
from tfgen.ops.checks import in_range, one_of


class ShapedFeatures(Score):
    """Base: the energy `-log sum exp` of the logits of changed features."""

    needs = ("features",)
    needs_head = True
    fitted_to = ("kernel", "bias")

    def statistics(self, features, *, labels, head):
        del labels
        kernel, bias = map(np.asarray, head)
        if kernel.ndim != 2 or kernel.shape[0] != features.shape[1]:
            raise DataError(
                f"the last dense layer has a kernel of shape {kernel.shape}, which does not fit "
                f"{features.shape[1]} features; give the layer that takes them"
            )
        return {"kernel": kernel, "bias": bias}

    def shaped(self, features: tf.Tensor) -> tf.Tensor:
        """The changed features, `[B, D]`."""
        raise NotImplementedError

    def compute(self, features):
        logits = self.shaped(features) @ self.statistic("kernel") + self.statistic("bias")
        return -tf.reduce_logsumexp(logits, axis=1)


@keras.saving.register_keras_serializable(package="tfgen")
class ReAct(ShapedFeatures):
    """Energy of features cut off above a percentile of in-distribution ones (Sun et al., 2021).

    Args:
        percentile: float, in [0, 100], of all features of all images it is fitted to. Defaults to
            `90.0`.
        name: string, the score's name.
        shapes: dict of the shape of each statistic, which `fit` finds; None: not fitted.

    Raises:
        ConfigError: the percentile is out of range.
    """

    fitted_to = ("kernel", "bias", "most")
    default_name = "react"

    def __init__(self, percentile=90.0, name=None, shapes=None, **kwargs):
        super().__init__(shapes=shapes, name=name, **kwargs)
        in_range("percentile", percentile, 0.0, most=100.0)
        self.percentile = percentile

    def statistics(self, features, *, labels, head):
        most = np.percentile(features, self.percentile)
        return {**super().statistics(features, labels=labels, head=head), "most": most}

    def shaped(self, features):
        return tf.minimum(features, self.statistic("most"))

    def get_config(self):
        return {**super().get_config(), "percentile": self.percentile}


@keras.saving.register_keras_serializable(package="tfgen")
class ASH(ShapedFeatures):
    """Energy of the largest features of each image alone (Djurisic et al., 2023).

    Args:
        percentile: float, in [0, 100), of an image's features that are set to 0. Defaults to
            `65.0`.
        kind: string, what becomes of the others: "prune" leaves them, "binarize" shares the sum of
            all features equally among them, "scale" multiplies them by the exponential of the sum
            before over the sum after (for features that are not negative). Defaults to `"scale"`.
        name: string, the score's name.
        shapes: dict of the shape of each statistic, which `fit` finds; None: not fitted.

    Raises:
        ConfigError: the percentile is out of range, or there is no such kind.
    """

    KINDS = ("prune", "binarize", "scale")
    default_name = "ash"

    def __init__(self, percentile=65.0, kind="scale", name=None, shapes=None, **kwargs):
        super().__init__(shapes=shapes, name=name, **kwargs)
        in_range("percentile", percentile, 0.0, below=100.0)
        self.percentile, self.kind = percentile, one_of("kind", kind, self.KINDS)

    def statistics(self, features, *, labels, head):
        if self.kind == "scale" and np.min(features) < 0.0:
            raise DataError(
                f"the score {self.name!r} scales features by ratios of their sums, and these are "
                'negative in part; use the features after a ReLU, or ASH(kind="prune")'
            )
        return super().statistics(features, labels=labels, head=head)

    def shaped(self, features):
        width = features.shape[-1]
        count = width - int(np.round(width * self.percentile / 100.0))
        largest, order = tf.math.top_k(features, max(count, 1))
        total = tf.reduce_sum(features, axis=1, keepdims=True)
        kept = tf.reduce_sum(largest, axis=1, keepdims=True)
        if self.kind == "binarize":
            largest = tf.ones_like(largest) * total / max(count, 1)
        elif self.kind == "scale":
            largest = largest * tf.exp(tf.math.divide_no_nan(total, kept))
        rows = tf.broadcast_to(tf.expand_dims(tf.range(tf.shape(order)[0]), 1), tf.shape(order))
        return tf.tensor_scatter_nd_update(
            tf.zeros_like(features), tf.stack([rows, order], axis=2), largest
        )

    def get_config(self):
        return {**super().get_config(), "percentile": self.percentile, "kind": self.kind}
