"""What whole networks lose."""

import keras
import numpy as np
import tensorflow as tf

from tfgen.ops.labels import class_indices
from tfgen.search.hant.answers import gives_probabilities, log_probabilities
from tfgen.search.hant.chain import at_rest


class MeanLoss:
    """The mean loss of whole networks on the same images.

    Args:
        teacher: the `keras.Model` that was trained.
        images: array `[N, H, W, C]`.
        labels: `[N]` or `[N, 1]` integers or one-hot rows, for the cross-entropy; None is the
            divergence from the teacher.
        batch_size: integer, images at a time.

    Call arguments:
        network: `keras.Model` with outputs of the same kind.
    """

    def __init__(
        self, teacher: keras.Model, images: np.ndarray, labels: np.ndarray | None, batch_size: int
    ):
        starts = range(0, len(images), batch_size)
        self.images = [tf.constant(images[k : k + batch_size]) for k in starts]
        self.probabilities = gives_probabilities(teacher)
        if labels is None:
            run = at_rest(teacher)
            self.targets = [tf.exp(self._log_p(run(x))) for x in self.images]
            self.offset = sum(float(tf.reduce_sum(tf.math.xlogy(p, p))) for p in self.targets)
        else:
            classes = teacher.outputs[0].shape[-1]
            labels = class_indices(labels, classes).numpy()
            self.targets = [tf.one_hot(labels[k : k + batch_size], classes) for k in starts]
            self.offset = 0.0
        self.count = len(images)

    def __call__(self, network: keras.Model) -> float:
        run, total = at_rest(network), self.offset
        for x, target in zip(self.images, self.targets):
            total -= float(tf.reduce_sum(target * self._log_p(run(x))))
        return total / self.count

    def _log_p(self, outputs):
        return log_probabilities(outputs, self.probabilities)
