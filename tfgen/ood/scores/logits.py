"""Scores of a classifier's logits alone: nothing to fit, one forward pass."""

import math

import keras
import tensorflow as tf

from tfgen.errors import DataError
from tfgen.ood.scores.base import Score
from tfgen.ops.checks import in_range


class LogitScore(Score):
    """Base of the scores of logits `[B, C]`, C at least 2.

    Args:
        name: string, the score's name.
    """

    def __init__(self, name=None, **kwargs):
        super().__init__(name=name, **kwargs)

    def compute(self, logits):
        if logits.shape[-1] == 1:
            raise DataError(
                f"the score {self.name!r} compares classes, and the logits are of 1 class; use a "
                "score of features, or of self-supervised heads"
            )
        return self.of_logits(logits)

    def of_logits(self, logits: tf.Tensor) -> tf.Tensor:
        """`[B]` of float32 `[B, C]`."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="tfgen")
class MaxSoftmax(LogitScore):
    """1 - max softmax, the baseline of Hendrycks & Gimpel (2017).

    The rest of the probability is added up instead of subtracting from 1: in float32 the largest
    softmax of a confident network rounds to 1, and all its images would tie.

    Args:
        name: string, the score's name.
    """

    default_name = "msp"

    def of_logits(self, logits):
        ordered, _ = tf.math.top_k(logits, logits.shape[-1])
        rest = tf.reduce_logsumexp(ordered[:, 1:], axis=-1)
        return tf.exp(rest - tf.reduce_logsumexp(logits, axis=-1))


@keras.saving.register_keras_serializable(package="tfgen")
class MaxLogit(LogitScore):
    """Minus the largest logit (Hendrycks et al., 2022).

    Args:
        name: string, the score's name.
    """

    default_name = "max_logit"

    def of_logits(self, logits):
        return -tf.reduce_max(logits, axis=-1)


@keras.saving.register_keras_serializable(package="tfgen")
class Energy(LogitScore):
    """The free energy `-T log sum exp(logits / T)` (Liu et al., 2020).

    Args:
        temperature: float T, above 0. Defaults to `1.0`.
        name: string, the score's name.

    Raises:
        ConfigError: the temperature is not above 0.
    """

    default_name = "energy"

    def __init__(self, temperature=1.0, name=None, **kwargs):
        super().__init__(name=name, **kwargs)
        in_range("temperature", temperature, 0.0, above=True)
        self.temperature = temperature

    def of_logits(self, logits):
        return -self.temperature * tf.reduce_logsumexp(logits / self.temperature, axis=-1)

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}


@keras.saving.register_keras_serializable(package="tfgen")
class KLToUniform(LogitScore):
    """Minus KL(U || softmax) from the uniform distribution, in nats: 0 where nothing is known.

    Args:
        name: string, the score's name.
    """

    default_name = "kl_to_uniform"

    def of_logits(self, logits):
        mean = tf.reduce_mean(tf.nn.log_softmax(logits), axis=-1)
        return mean + math.log(logits.shape[-1])


@keras.saving.register_keras_serializable(package="tfgen")
class Entropy(LogitScore):
    """Entropy of the softmax, in nats.

    Args:
        name: string, the score's name.
    """

    default_name = "entropy"

    def of_logits(self, logits):
        log_p = tf.nn.log_softmax(logits)
        return -tf.reduce_sum(tf.exp(log_p) * log_p, axis=-1)
