"""The mixed score: a Normal prior and a network's, channel by channel (LSGM, arXiv:2106.05931).

With alpha = sigmoid(logit) of a channel,

    eps(z, t) = (1 - alpha) c(t) z + alpha eps'(z, t),

where c(t) z is the exact prediction for latents whose z_0 is standard Normal. Near alpha = 0 the
prior is a VAE's.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfgen.layers import LiveWeights
from tfgen.ops.diffusion import SDE


@dataclasses.dataclass(frozen=True)
class NoisePredictor:
    """eps(z, t) with given weights: what samplers, likelihoods and the objective call.

    Attributes:
        sde: an `SDE`, the diffusion.
        apply: function `(weights, z_t, t, seed)` of a `ScoreNetwork`: its `predict`.
        weights: the view of its weights, `LiveWeights` or `FoldedWeights`.
        alpha: `[C]` tensor, the network's share in every channel; None is all of it.
        active: `[C]` tensor of zeros and ones: the network neither sees nor touches channels of
            zero; None has none.
    """

    sde: SDE
    apply: Callable
    weights: Any
    alpha: tf.Tensor | None = None
    active: tf.Tensor | None = None

    def __call__(self, z, t, seed=None) -> tf.Tensor:
        """The predicted noise, like `z`; the network itself computes in float32 at most.

        Args:
            z: `[B, ..., C]` float32, or float64 of solvers that need it.
            t: times in [0, 1], `[B]` or a scalar.
            seed: int32 `[2]` of the network's dropout; None drops nothing.
        """
        t = tf.broadcast_to(tf.cast(t, z.dtype), [tf.shape(z)[0]])
        seen = tf.cast(z, tf.float32)
        seen = seen if self.active is None else seen * self.active
        predicted = self.apply(self.weights, seen, tf.cast(t, tf.float32), seed)
        predicted = tf.cast(predicted, z.dtype)
        if self.alpha is None:
            return predicted
        alpha = self.alpha if self.active is None else self.alpha * self.active
        normal = self.normal(z, t)
        return normal + tf.cast(alpha, z.dtype) * (predicted - normal)

    def normal(self, z, t) -> tf.Tensor:
        """c(t) z: the prediction where alpha is 0."""
        coefficient = self.sde.normal_coefficient(tf.cast(t, z.dtype))
        return tf.reshape(coefficient, [-1, *[1] * (z.shape.rank - 1)]) * z


class ConstantWeights(LiveWeights):
    """A view whose weights learn nothing, while gradients pass to what they are applied to.

    Args:
        source: the `LiveWeights` to look through.
    """

    def __init__(self, source: LiveWeights):
        super().__init__(source.bank, source.training, source.dtype, source.recompute)

    def effective(self, name: str) -> tf.Tensor:
        return tf.stop_gradient(super().effective(name))

    def _row(self, kind: str, name, row: int) -> tf.Tensor:
        return tf.stop_gradient(super()._row(kind, name, row))
