"""Defences that bound and blur: noise, clipping, and both together as DP-SGD."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import tensorflow as tf

from tfgen.errors import UserError
from tfgen.privacy.defence.accounting import gaussian_epsilon
from tfgen.privacy.defence.base import NoDefence, above_zero, at_least_zero


@dataclasses.dataclass(frozen=True)
class GaussianNoise(NoDefence):
    """Noise on every coordinate, without clipping: no guarantee.

    Attributes:
        relative_std: float, standard deviation in units of the root mean square of the whole
            gradient. Defaults to `1.0`.
    """

    relative_std: float = 1.0
    name: ClassVar[str] = "noise"

    def __post_init__(self):
        at_least_zero(self, "relative_std")

    def transform(self, gradients, seed=0):
        size = sum(g.shape.num_elements() for g in gradients)
        rms = _global_norm(gradients) / float(size) ** 0.5
        return _add_noise(gradients, self.relative_std * rms, seed)

    def explain(self):
        return (
            f"Gaussian noise of {self.relative_std:g} times the root mean square of the gradient "
            "is added to it; nothing is clipped, so nothing is guaranteed."
        )


@dataclasses.dataclass(frozen=True)
class GradientClipping(NoDefence):
    """The mean gradient scaled down to a largest norm: hides nothing but that one number.

    Attributes:
        max_norm: float, largest norm of the whole gradient. Defaults to `1.0`.
    """

    max_norm: float = 1.0
    name: ClassVar[str] = "clipping"

    def __post_init__(self):
        above_zero(self, "max_norm")

    def transform(self, gradients, seed=0):
        factor = tf.minimum(1.0, self.max_norm / tf.maximum(_global_norm(gradients), 1e-30))
        return [g * factor for g in gradients]

    def explain(self):
        return (
            f"The mean gradient is scaled down to length {self.max_norm:g} if it is longer; its "
            "direction stays."
        )

    def adapt(self, settings):
        return dataclasses.replace(settings, fit_scale=True)


@dataclasses.dataclass(frozen=True)
class DPSGD(NoDefence):
    """DP-SGD (Abadi et al., 2016): every example's gradient clipped, noise on their sum.

    The only defence here with a guarantee. The released mean of K examples has noise of standard
    deviation `noise_multiplier * clip_norm / K` on every coordinate.

    Attributes:
        clip_norm: float C, largest norm of one example's gradient. Defaults to `1.0`.
        noise_multiplier: float sigma, noise on the sum in units of C. Defaults to `1.0`.
    """

    clip_norm: float = 1.0
    noise_multiplier: float = 1.0
    name: ClassVar[str] = "dp_sgd"

    def __post_init__(self):
        above_zero(self, "clip_norm")
        at_least_zero(self, "noise_multiplier")

    def check(self, network):
        if network.mixes_images:
            raise UserError(
                "DP-SGD bounds the gradient of every example alone, which batch norm in train mode "
                "does not have: images of a batch change each other's gradients; audit it with "
                "threat_model.batch_norm_mode 'eval', or a model whose batch norm is frozen"
            )

    def release(self, network, images, labels, seed=0):
        self.check(network)
        examples = network.per_example_gradients(images, labels, seed)
        clipped = [self.clip(example) for example in examples]
        total = [tf.add_n(parts) for parts in zip(*clipped)]
        noisy = _add_noise(total, self.noise_multiplier * self.clip_norm, seed)
        return [g / len(images) for g in noisy]

    def clip(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """One example's gradient, at most `clip_norm` long."""
        return GradientClipping(self.clip_norm).transform(gradients)

    def adapt(self, settings):
        return dataclasses.replace(settings, fit_scale=True)

    def explain(self):
        return (
            f"The gradient of every example is clipped to length {self.clip_norm:g}, Gaussian "
            f"noise of {self.noise_multiplier:g} times that is added to their sum, and the mean is "
            "shared."
        )

    def epsilon(self, delta=1e-5):
        return gaussian_epsilon(self.noise_multiplier, delta)


def _global_norm(gradients):
    return tf.linalg.global_norm(gradients)


def _add_noise(gradients, std, seed):
    return [
        g + std * tf.random.stateless_normal(g.shape, [seed, index], dtype=g.dtype)
        for index, g in enumerate(gradients)
    ]
