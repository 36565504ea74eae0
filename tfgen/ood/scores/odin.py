"""ODIN: a small step of the image towards more confidence, and a high temperature."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError, UserError
from tfgen.ood.scores.base import Score
from tfgen.ood.scores.logits import MaxSoftmax
from tfgen.ops.checks import in_range


@keras.saving.register_keras_serializable(package="tfgen")
class ODIN(Score):
    """1 - max softmax at temperature T of images moved to look more familiar (Liang et al., 2018).

    The image moves by epsilon against the sign of the gradient of the cross-entropy of the class
    that the network names. Costs a forward pass, a backward pass and another forward pass.

    Args:
        temperature: float T, above 0. Defaults to `1000.0`.
        epsilon: float, at least 0, step in units of the pixels' range [0, 1]. Defaults to `0.0014`.
        std: sequence of floats, one for each channel, that divide the step, as for networks whose
            images are standardised by the caller; None: 1.
        name: string, the score's name.

    Raises:
        ConfigError: a number is out of range.
    """

    needs = ("images",)
    default_name = "odin"

    def __init__(self, temperature=1000.0, epsilon=0.0014, std=None, name=None, **kwargs):
        super().__init__(name=name, **kwargs)
        in_range("temperature", temperature, 0.0, above=True)
        in_range("epsilon", epsilon, 0.0)
        if std is not None and not (np.ndim(std) == 1 and np.all(np.asarray(std) > 0.0)):
            raise ConfigError(f"std is {std}; expected a positive number for each channel")
        self.temperature, self.epsilon = temperature, epsilon
        self.std = None if std is None else [float(x) for x in std]
        self._softmax = MaxSoftmax()
        self._logits_of = None

    def bind(self, logits_of: Callable[[tf.Tensor], tf.Tensor]) -> "ODIN":
        """Says which network the images go through.

        Args:
            logits_of: function from images `[B, H, W, C]` to logits `[B, C]`, differentiable.

        Returns:
            The score itself. A network is no part of it: bind it again where it was loaded.
        """
        # In a closure, or Keras would take the network for a part of the score.
        self._logits_of = lambda images: tf.cast(logits_of(images), tf.float32)
        return self

    def perturbed(self, images: tf.Tensor) -> tf.Tensor:
        """The moved images, which may leave [0, 1] by epsilon."""
        return images - self._step(images)

    def compute(self, images):
        # The step is no part of the gradient: its sign has none.
        logits = self._logits(images - tf.stop_gradient(self._step(images)))
        return self._softmax.of_logits(logits / self.temperature)

    def _step(self, images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            log_p = tf.nn.log_softmax(self._logits(images) / self.temperature)
            surprise = -tf.reduce_sum(tf.reduce_max(log_p, axis=-1))
        step = self.epsilon * tf.sign(tape.gradient(surprise, images))
        return step if self.std is None else step / tf.constant(self.std, tf.float32)

    def _logits(self, images):
        if self._logits_of is None:
            raise UserError(
                f"the score {self.name!r} needs the network itself; bind(function from images to "
                "logits) gives it"
            )
        return self._logits_of(images)

    def get_config(self):
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "epsilon": self.epsilon,
            "std": self.std,
        }
