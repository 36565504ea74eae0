"""Compressions of a gradient, which hide some of it by the way: pruning, signs, few bits."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.privacy.defence.base import NoDefence


@dataclasses.dataclass(frozen=True)
class TopKPruning(NoDefence):
    """All but the largest magnitudes of every tensor set to zero.

    Attributes:
        keep_fraction: float, share of the entries of each tensor that stay, at least one. Defaults
            to `0.1`.
    """

    keep_fraction: float = 0.1
    name: ClassVar[str] = "pruning"

    def __post_init__(self):
        if not 0 < self.keep_fraction <= 1:
            raise ConfigError(f"keep_fraction is {self.keep_fraction}; expected in (0, 1]")

    def transform(self, gradients, seed=0):
        return [self._prune(g) for g in gradients]

    def _prune(self, gradient):
        magnitude = tf.reshape(tf.abs(gradient), [-1])
        kept = max(1, round(self.keep_fraction * magnitude.shape[0]))
        threshold = tf.math.top_k(magnitude, kept, sorted=True).values[-1]
        return tf.where(tf.abs(gradient) >= threshold, gradient, tf.zeros_like(gradient))

    def explain(self):
        return f"Of every tensor the largest {self.keep_fraction:.3g} of the entries are shared."

    def masks(self, released):
        return [tf.cast(g != 0, g.dtype) for g in released]


@dataclasses.dataclass(frozen=True)
class SignCompression(NoDefence):
    """The sign of every entry times the mean magnitude of its tensor."""

    name: ClassVar[str] = "sign"

    def transform(self, gradients, seed=0):
        return [tf.sign(g) * tf.reduce_mean(tf.abs(g)) for g in gradients]

    def explain(self):
        return "Of every tensor the signs and the mean magnitude are shared."

    def adapt(self, settings):
        # Only directions are left.
        form = settings.gradient_form
        fits = form in ("cosine", "layerwise", "sign")
        weight = settings.gradient_weight if fits else 1.0
        form = form if fits else "cosine"
        return dataclasses.replace(
            settings, gradient_form=form, gradient_weight=weight if settings.gradient_weight else 0
        )


@dataclasses.dataclass(frozen=True)
class Quantization(NoDefence):
    """Stochastic rounding of every tensor to evenly spaced levels; right on average.

    Attributes:
        num_bits: integer; levels are `-2**(num_bits-1) + 1 ... 2**(num_bits-1) - 1` between the
            extremes. Defaults to `8`.
    """

    num_bits: int = 8
    name: ClassVar[str] = "quantization"

    def __post_init__(self):
        if not 2 <= self.num_bits <= 16:
            raise ConfigError(f"num_bits is {self.num_bits}; expected 2 to 16")

    def explain(self):
        return f"Every entry is rounded at random to {self.num_bits} bits, right on average."

    def transform(self, gradients, seed=0):
        levels = 2.0 ** (self.num_bits - 1) - 1.0
        result = []
        for index, gradient in enumerate(gradients):
            step = tf.reduce_max(tf.abs(gradient)) / levels
            step = tf.where(step > 0, step, 1.0)
            dither = tf.random.stateless_uniform(
                gradient.shape, [seed, index], dtype=gradient.dtype
            )
            result.append(tf.floor(gradient / step + dither) * step)
        return result
