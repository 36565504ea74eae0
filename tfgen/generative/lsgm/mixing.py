"""The mixed score: a Normal prior and a network's, channel by channel (LSGM, arXiv:2106.05931).

With alpha = sigmoid(logit) of a channel,

    eps(z, t) = (1 - alpha) c(t) z + alpha eps'(z, t),

where c(t) z is the exact prediction for latents whose z_0 is standard Normal. Near alpha = 0 the
prior is a VAE's.

Ours beside the paper's network of noise is one of velocity v, as Salimans & Ho (2022,
arXiv:2202.00512) have it: eps' = c(t) z + s(t) v, where s is the error that c leaves to Normal
latents. What it has to learn is of one size at all times and nothing for a Normal, so that it
learns from the first step on what makes the latents no Normal.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfgen.layers import LiveWeights
from tfgen.ops.diffusion import SDE
from tfgen.ops.near_zero import expm1

PREDICTIONS = ("noise", "velocity")


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
        velocity: whether the network predicts velocity instead of noise. Defaults to `False`.
    """

    sde: SDE
    apply: Callable
    weights: Any
    alpha: tf.Tensor | None = None
    active: tf.Tensor | None = None
    velocity: bool = False

    def __call__(self, z, t, seed=None) -> tf.Tensor:
        """The predicted noise, like `z`; the network itself computes in float32 at most.

        Args:
            z: `[B, ..., C]` float32, or float64 of solvers that need it.
            t: times in [0, 1], `[B]` or a scalar.
            seed: int32 `[2]` of the network's dropout; None drops nothing.
        """
        seen = tf.cast(z, tf.float32)
        seen = seen if self.active is None else seen * self.active
        t = tf.cast(t, z.dtype)
        times = tf.broadcast_to(tf.cast(t, tf.float32), [tf.shape(z)[0]])
        predicted = self.apply(self.weights, seen, times, seed)
        predicted, normal = tf.cast(predicted, z.dtype), self.normal(z, t)
        if self.velocity:
            predicted = normal + self._column(self.error_of_normal(t), z) * predicted
        if self.alpha is None and self.active is None:
            return predicted
        alpha = 1.0 if self.alpha is None else self.alpha
        alpha = alpha if self.active is None else alpha * self.active
        return normal + tf.cast(alpha, z.dtype) * (predicted - normal)

    def error_of_normal(self, t) -> tf.Tensor:
        """s(t): standard deviation of eps given z_t where z_0 is standard Normal."""
        return tf.sqrt(-expm1(self.sde.log_noise_share(t)))

    def normal(self, z, t) -> tf.Tensor:
        """c(t) z: the prediction where alpha is 0."""
        return self._column(self.sde.normal_coefficient(tf.cast(t, z.dtype)), z) * z

    def _column(self, values, z):
        return tf.reshape(values, [-1, *[1] * (z.shape.rank - 1)])


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
