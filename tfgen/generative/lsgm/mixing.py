"""The mixed score: a Normal prior and a network's, channel by channel (LSGM, arXiv:2106.05931).

With alpha = sigmoid(logit) of a channel,

    eps(z, t) = (1 - alpha) c(t) z + alpha eps'(z, t),

where c(t) z is the exact prediction for latents whose z_0 is standard Normal. Near alpha = 0 the
prior is a VAE's.
"""

import dataclasses
from typing import Any

import tensorflow as tf

from tfgen.ops.diffusion import SDE


@dataclasses.dataclass(frozen=True)
class NoisePredictor:
    """eps(z, t) with given weights: what samplers, likelihoods and the objective call.

    Attributes:
        sde: an `SDE`, the diffusion.
        network: a `ScoreNetwork`.
        weights: the view of its weights, `LiveWeights` or `FoldedWeights`.
        alpha: `[C]` tensor, the network's share in every channel; None is all of it.
        active: `[C]` tensor of zeros and ones: the network neither sees nor touches channels of
            zero; None has none.
    """

    sde: SDE
    network: Any
    weights: Any
    alpha: tf.Tensor | None = None
    active: tf.Tensor | None = None

    def __call__(self, z, t, seed=None) -> tf.Tensor:
        """The predicted noise, like `z`.

        Args:
            z: `[B, ..., C]` float32.
            t: times in [0, 1], `[B]` or a scalar.
            seed: int32 `[2]` of the network's dropout; None drops nothing.
        """
        t = tf.broadcast_to(tf.cast(t, tf.float32), [tf.shape(z)[0]])
        seen = z if self.active is None else z * self.active
        predicted = self.network.predict(self.weights, seen, t, seed)
        if self.alpha is None:
            return predicted
        alpha = self.alpha if self.active is None else self.alpha * self.active
        normal = self.normal(z, t)
        return normal + alpha * (predicted - normal)

    def normal(self, z, t) -> tf.Tensor:
        """c(t) z: the prediction where alpha is 0."""
        coefficient = self.sde.normal_coefficient(tf.cast(t, tf.float32))
        return tf.reshape(coefficient, [-1, *[1] * (z.shape.rank - 1)]) * z
