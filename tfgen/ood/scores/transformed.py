"""Scores of a head that tells how an image was transformed, from all its transformed copies."""

import keras
import numpy as np
import tensorflow as tf
from scipy import special

from tfgen.errors import DataError
from tfgen.ood.scores.base import Score

_MOST_STEPS = 1000
_ENOUGH = 1e-9  # relative change of the parameters at which they are found
_NEWTON_STEPS = 6  # of the inverse of digamma; each doubles the digits


class TransformedScore(Score):
    """Base of the scores of one task: logits `[B, K, K]` of its K levels for the K copies.

    Args:
        task: string, the task's name; the outputs are those called "ssl_" and this name, as
            `tfgen.MultiTaskOOD` gives them.
        name: string, the score's name.
        shapes: dict of the shape of each statistic, which `fit` finds; None: not fitted.
    """

    def __init__(self, task: str, name=None, shapes=None, **kwargs):
        super().__init__(shapes=shapes, name=name or f"{self.default_name}_{task}", **kwargs)
        self.task = task
        self.needs = (f"ssl_{task}",)

    def check_levels(self, logits) -> None:
        """Raises a DataError unless there is an output for every copy."""
        if len(logits.shape) != 3 or logits.shape[1] != logits.shape[2]:
            raise DataError(
                f"the score {self.name!r} takes logits [images, K, K] of a head that tells the "
                f"levels of K copies; those of {self.task!r} are of shape {tuple(logits.shape)}"
            )

    def get_config(self):
        return {**super().get_config(), "task": self.task}


@keras.saving.register_keras_serializable(package="tfgen")
class DirichletNormality(TransformedScore):
    """Minus the normality score of Golan & El-Yaniv (2018).

    The softmax of each copy is taken for a draw of a Dirichlet distribution of its own, whose
    parameters are those that make the in-distribution ones most likely. The score is minus the mean
    over copies of `sum_j (alpha_j - 1) log p_j`.

    Args:
        task: string, the task's name; the outputs are those called "ssl_" and this name, as
            `tfgen.MultiTaskOOD` gives them.
        name: string, the score's name.
        shapes: dict of the shape of each statistic, which `fit` finds; None: not fitted.
    """

    fitted_to = ("concentration",)
    default_name = "dirichlet"

    def statistics(self, logits, *, labels, head):
        del labels, head
        self.check_levels(logits)
        log_p = special.log_softmax(logits, axis=-1)
        return {"concentration": dirichlet_of(log_p, self.name)}

    def compute(self, logits):
        log_p = tf.nn.log_softmax(logits)
        terms = (self.statistic("concentration") - 1.0) * log_p
        return -tf.reduce_mean(tf.reduce_sum(terms, axis=-1), axis=-1)


@keras.saving.register_keras_serializable(package="tfgen")
class TransformationDistance(TransformedScore):
    """How far the outputs of each copy are from their own level's centre (GOAD, Bergman & Hoshen,
    2020).

    With the centres of in-distribution outputs, a copy is of level k with probability in proportion
    to `exp(-|z - c_k|^2)`. The score is minus the sum of the logarithms of those of the right
    levels.

    Args:
        task: string, the task's name; the outputs are those called "ssl_" and this name, as
            `tfgen.MultiTaskOOD` gives them.
        name: string, the score's name.
        shapes: dict of the shape of each statistic, which `fit` finds; None: not fitted.
    """

    fitted_to = ("centres",)
    default_name = "distance"

    def statistics(self, logits, *, labels, head):
        del labels, head
        self.check_levels(logits)
        return {"centres": logits.mean(axis=0)}

    def compute(self, logits):
        centres = self.statistic("centres")
        apart = tf.expand_dims(logits, 2) - tf.expand_dims(tf.expand_dims(centres, 0), 0)
        log_p = tf.nn.log_softmax(-tf.reduce_sum(apart**2, axis=-1))  # [B, copy, level]
        own = tf.eye(logits.shape[1])
        return -tf.reduce_sum(log_p * own, axis=[1, 2])


def dirichlet_of(log_p: np.ndarray, name: str = "dirichlet") -> np.ndarray:
    """The most likely parameters `[..., J]` of draws, by fixed-point iteration (Minka, 2000).

    Args:
        log_p: `[N, ..., J]`, logarithms of probabilities.
        name: string, for whom, for the message. Defaults to `"dirichlet"`.

    Raises:
        DataError: the draws do not vary, so that no parameters are the most likely.
    """
    mean_log = log_p.mean(axis=0)
    if np.any(np.exp(log_p).std(axis=0).max(axis=-1) < 1e-9):
        raise DataError(
            f"the probabilities that the score {name!r} is fitted to are the same for all images; "
            "give more images, or train the head"
        )
    alpha = _from_moments(np.exp(log_p))
    for _ in range(_MOST_STEPS):
        before = alpha
        alpha = _inverse_digamma(special.digamma(alpha.sum(axis=-1, keepdims=True)) + mean_log)
        if np.max(np.abs(alpha - before) / before) < _ENOUGH:
            break
    return alpha


def _from_moments(p):
    """Where the iteration starts: the mean, and the total by the variance of the first entry."""
    mean, variance = p.mean(axis=0), np.maximum(p.var(axis=0), 1e-12)
    total = np.maximum(mean * (1.0 - mean) / variance - 1.0, 1e-3).mean(axis=-1, keepdims=True)
    return np.maximum(mean, 1e-6) * total


def _inverse_digamma(values):
    found = np.where(values >= -2.22, np.exp(values) + 0.5, -1.0 / (values - special.digamma(1.0)))
    for _ in range(_NEWTON_STEPS):
        found = found - (special.digamma(found) - values) / special.polygamma(1, found)
    return found
