"""Defences: what a client shares in place of its gradient, and what an informed attacker does then.

A defence is judged against an attacker who knows it (`adapt`, `masks`): pruned entries are left out
of the comparison, clipped gradients are compared up to a factor, signs by their signs. Otherwise a
mere change of scale would look like protection.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError, UserError
from tfgen.privacy.accounting import gaussian_epsilon
from tfgen.privacy.network import SharedNetwork
from tfgen.privacy.settings import AttackSettings


@dataclasses.dataclass(frozen=True)
class NoDefence:
    """The gradient as it is; base of all defences.

    `release` is what crosses the border. Its randomness depends on `seed` alone.
    """

    name: ClassVar[str] = "none"

    @property
    def batch_factor(self) -> int:
        """How many batches one released gradient is the mean of."""
        return 1

    def release(
        self, network: SharedNetwork, images: np.ndarray, labels: np.ndarray, seed: int = 0
    ) -> list[tf.Tensor]:
        """What the client shares.

        Args:
            network: whose gradient.
            images: `[K, H, W, C]` in [0, 1].
            labels: `[K]`.
            seed: of the defence's noise.

        Returns:
            One tensor for each trainable variable.
        """
        return self.transform(network.gradients(images, labels), seed)

    def transform(self, gradients: Sequence[tf.Tensor], seed: int = 0) -> list[tf.Tensor]:
        """The defence of an already averaged gradient."""
        del seed
        return list(gradients)

    def adapt(self, settings: AttackSettings) -> AttackSettings:
        """The settings of an attacker who knows of this defence."""
        return settings

    def masks(self, released: Sequence[tf.Tensor]) -> list[tf.Tensor] | None:
        """Where a released gradient says something; None: everywhere."""
        del released
        return None

    def epsilon(self, delta: float = 1e-5) -> float | None:
        """The privacy loss of one release at `delta`; None where nothing is guaranteed."""
        del delta
        return None

    def describe(self) -> str:
        """The defence with its numbers, in a few words."""
        numbers = ", ".join(f"{k}={v:g}" for k, v in dataclasses.asdict(self).items())
        return f"{self.name} ({numbers})" if numbers else self.name

    def get_config(self) -> dict[str, Any]:
        """Name and numbers, as `defence_from_config` takes them."""
        return {"name": self.name, **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True)
class GaussianNoise(NoDefence):
    """Noise on every coordinate, without clipping: no guarantee.

    Attributes:
        relative_std: standard deviation in units of the root mean square of the whole gradient.
    """

    relative_std: float = 1.0
    name: ClassVar[str] = "noise"

    def __post_init__(self):
        _at_least_zero(self, "relative_std")

    def transform(self, gradients, seed=0):
        size = sum(g.shape.num_elements() for g in gradients)
        rms = _global_norm(gradients) / float(size) ** 0.5
        return _add_noise(gradients, self.relative_std * rms, seed)


@dataclasses.dataclass(frozen=True)
class GradientClipping(NoDefence):
    """The mean gradient scaled down to a largest norm: hides nothing but that one number.

    Attributes:
        max_norm: largest norm of the whole gradient.
    """

    max_norm: float = 1.0
    name: ClassVar[str] = "clipping"

    def __post_init__(self):
        _above_zero(self, "max_norm")

    def transform(self, gradients, seed=0):
        factor = tf.minimum(1.0, self.max_norm / tf.maximum(_global_norm(gradients), 1e-30))
        return [g * factor for g in gradients]

    def adapt(self, settings):
        return dataclasses.replace(settings, fit_scale=True)


@dataclasses.dataclass(frozen=True)
class DPSGD(NoDefence):
    """DP-SGD (Abadi et al., 2016): every example's gradient clipped, noise on their sum.

    The only defence here with a guarantee. The released mean of K examples has noise of standard
    deviation `noise_multiplier * clip_norm / K` on every coordinate.

    Attributes:
        clip_norm: C, largest norm of one example's gradient.
        noise_multiplier: sigma, noise on the sum in units of C.
    """

    clip_norm: float = 1.0
    noise_multiplier: float = 1.0
    name: ClassVar[str] = "dp_sgd"

    def __post_init__(self):
        _above_zero(self, "clip_norm")
        _at_least_zero(self, "noise_multiplier")

    def release(self, network, images, labels, seed=0):
        if network.training and network.batch_norms:
            raise UserError(
                "DP-SGD bounds the gradient of every example alone, which batch norm in train mode "
                "does not have: images of a batch change each other's gradients; audit it with "
                "threat_model.batch_norm_mode 'eval', or a model without batch norm"
            )
        clipped = [self.clip(example) for example in network.per_example_gradients(images, labels)]
        total = [tf.add_n(parts) for parts in zip(*clipped)]
        noisy = _add_noise(total, self.noise_multiplier * self.clip_norm, seed)
        return [g / len(images) for g in noisy]

    def clip(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """One example's gradient, at most `clip_norm` long."""
        return GradientClipping(self.clip_norm).transform(gradients)

    def adapt(self, settings):
        return dataclasses.replace(settings, fit_scale=True)

    def epsilon(self, delta=1e-5):
        return gaussian_epsilon(self.noise_multiplier, delta)


@dataclasses.dataclass(frozen=True)
class TopKPruning(NoDefence):
    """All but the largest magnitudes of every tensor set to zero.

    Attributes:
        keep_fraction: of the entries of each tensor, at least one.
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

    def masks(self, released):
        return [tf.cast(g != 0, tf.float32) for g in released]


@dataclasses.dataclass(frozen=True)
class SignCompression(NoDefence):
    """The sign of every entry times the mean magnitude of its tensor."""

    name: ClassVar[str] = "sign"

    def transform(self, gradients, seed=0):
        return [tf.sign(g) * tf.reduce_mean(tf.abs(g)) for g in gradients]

    def adapt(self, settings):
        # Only directions are left.
        form = settings.gradient_form
        weight = settings.gradient_weight if form in ("cosine", "sign") else 1.0
        form = form if form in ("cosine", "sign") else "cosine"
        return dataclasses.replace(
            settings, gradient_form=form, gradient_weight=weight if settings.gradient_weight else 0
        )


@dataclasses.dataclass(frozen=True)
class Quantization(NoDefence):
    """Stochastic rounding of every tensor to evenly spaced levels; right on average.

    Attributes:
        num_bits: levels `-2**(num_bits-1) + 1 ... 2**(num_bits-1) - 1` between the extremes.
    """

    num_bits: int = 8
    name: ClassVar[str] = "quantization"

    def __post_init__(self):
        if not 2 <= self.num_bits <= 16:
            raise ConfigError(f"num_bits is {self.num_bits}; expected 2 to 16")

    def transform(self, gradients, seed=0):
        levels = 2.0 ** (self.num_bits - 1) - 1.0
        result = []
        for index, gradient in enumerate(gradients):
            step = tf.reduce_max(tf.abs(gradient)) / levels
            step = tf.where(step > 0, step, 1.0)
            dither = tf.random.stateless_uniform(gradient.shape, [seed, index])
            result.append(tf.floor(gradient / step + dither) * step)
        return result


@dataclasses.dataclass(frozen=True)
class Aggregation(NoDefence):
    """Secure aggregation: only the mean over several clients is seen.

    Attributes:
        num_clients: U; the effective batch is U K.
    """

    num_clients: int = 4
    name: ClassVar[str] = "aggregation"

    def __post_init__(self):
        if self.num_clients < 1:
            raise ConfigError(f"num_clients is {self.num_clients}; expected at least 1")

    @property
    def batch_factor(self):
        return self.num_clients


DEFENCES: dict[str, type[NoDefence]] = {
    defence.name: defence
    for defence in (
        NoDefence,
        GaussianNoise,
        GradientClipping,
        DPSGD,
        TopKPruning,
        SignCompression,
        Quantization,
        Aggregation,
    )
}


def defence_from_config(config: Mapping[str, Any]) -> NoDefence:
    """A defence from its name and numbers.

    Raises:
        ConfigError: no such defence, or a number it does not have.
    """
    options = dict(config)
    name = options.pop("name", None)
    if name not in DEFENCES:
        raise ConfigError(f"defence is {name!r}; expected one of {', '.join(DEFENCES)}")
    known = [field.name for field in dataclasses.fields(DEFENCES[name])]
    for option in options:
        if option not in known:
            raise ConfigError(
                f"defence {name!r} has no number {option!r}; it has {', '.join(known) or 'none'}"
            )
    return DEFENCES[name](**options)


def _global_norm(gradients):
    return tf.linalg.global_norm(gradients)


def _add_noise(gradients, std, seed):
    return [
        g + std * tf.random.stateless_normal(g.shape, [seed, index])
        for index, g in enumerate(gradients)
    ]


def _at_least_zero(defence, field):
    value = getattr(defence, field)
    if not 0 <= value < float("inf"):
        raise ConfigError(f"{field} is {value}; expected at least 0")


def _above_zero(defence, field):
    value = getattr(defence, field)
    if not 0 < value < float("inf"):
        raise ConfigError(f"{field} is {value}; expected above 0")
