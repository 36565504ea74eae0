"""The score of networks that learned to tell views of images apart."""

import keras
import numpy as np
import tensorflow as tf

from tfgen.ood.scores.transformed import TransformedScore
from tfgen.ops.checks import whole_number

_LEAST = 1e-6


@keras.saving.register_keras_serializable(package="tfgen")
class CSI(TransformedScore):
    """Minus the score of CSI (Tack et al., 2020): nearness to a training image, and sure levels.

    For each of the K copies, the largest product of its projection with the directions of those of
    in-distribution images, and the logit of its own level; both over their in-distribution means,
    the mean over copies. The published program also takes the mean of projections over ten crops.

    Args:
        task: string, the task's name, of a `tfgen.MultiTaskOOD` with `contrastive`.
        most: integer, in-distribution images that are kept, drawn at random. Defaults to `1000`.
        name: string, the score's name.
        shapes: dict of the shape of each statistic, which `fit` finds; None: not fitted.
    """

    fitted_to = ("directions", "nearness", "sureness")
    default_name = "csi"

    def __init__(self, task: str, most: int = 1000, name=None, shapes=None, **kwargs):
        super().__init__(task, name=name, shapes=shapes, **kwargs)
        self.most = whole_number("most", most, 2)
        self.needs = (f"projections_{task}", f"ssl_{task}")

    def statistics(self, projections, logits, *, labels, head):
        del labels, head
        self.check_levels(logits)
        lengths = np.linalg.norm(projections, axis=2)
        rows = np.random.default_rng(0).permutation(len(projections))[: self.most]
        kept = projections[rows] / np.maximum(lengths[rows, :, None], _LEAST)
        own = np.diagonal(logits, axis1=1, axis2=2)
        return {
            "directions": kept.transpose(1, 0, 2),
            "nearness": np.maximum(lengths.mean(axis=0), _LEAST),
            "sureness": np.maximum(own.mean(axis=0), _LEAST),
        }

    def compute(self, projections, logits):
        products = tf.matmul(
            tf.transpose(projections, [1, 0, 2]), self.statistic("directions"), transpose_b=True
        )
        nearest = tf.transpose(tf.reduce_max(products, axis=2))
        own = tf.reduce_sum(logits * tf.eye(logits.shape[1]), axis=2)
        near, sure = nearest / self.statistic("nearness"), own / self.statistic("sureness")
        return -tf.reduce_mean(near + sure, axis=1)

    def get_config(self):
        return {**super().get_config(), "most": self.most}
