"""A distribution over architectures, and draws of it that gradients pass through.

An architecture is one choice in each of many independent factors. A draw comes twice from the same
noise: as one-hot vectors z, and relaxed as zeta = softmax(g / tau) of the perturbed logits g, whose
largest entry is the choice (UNAS, arXiv:1912.07651, and the Gumbel-Softmax that it builds on).

The relaxed copy carries UNAS's correction: its derivative is that of zeta minus that of the same
value with the noise that led to z held fixed. Both differ in one factor only: of a perturbed logit
g_i the correction leaves the share exp(g_i - max_j g_j). So no second softmax and no recovered
noise is needed, and nothing is divided by a probability.
"""

from collections.abc import Mapping
from typing import NamedTuple

import keras
import tensorflow as tf

from tfgen.ops.checks import in_range, whole_number
from tfgen.ops.random_streams import fold_in

_SMALLEST = 1e-7  # of uniform numbers: float32 has no larger one below 1 than 1 - 6e-8


class Architectures(NamedTuple):
    """Architectures that were drawn together.

    Attributes:
        discrete: dict of group name -> `[B, factors, choices]` one-hot.
        relaxed: dict of the same shapes, whose rows sum to 1.
        log_prob: `[B]` nats, log p of the discrete ones.
    """

    discrete: dict[str, tf.Tensor]
    relaxed: dict[str, tf.Tensor]
    log_prob: tf.Tensor


def log_probabilities(logits, softening: float = 0.0) -> tf.Tensor:
    """Log-probabilities of the choices of every factor.

    Args:
        logits: `[..., choices]` float.
        softening: float, what is added to every probability before all are divided by their sum,
            so that none vanishes. Defaults to `0.0`.

    Returns:
        Tensor like `logits`.
    """
    log_p = tf.nn.log_softmax(logits)
    return tf.nn.log_softmax(tf.math.log(tf.exp(log_p) + softening)) if softening else log_p


def draw(log_p, uniforms, temperature: float = 0.4, corrected: bool = True):
    """One-hot and relaxed draws from the same noise.

    Args:
        log_p: `[..., choices]` log-probabilities.
        uniforms: numbers in [0, 1), of the shape of the draws; `log_p` is broadcast over it.
        temperature: float tau of the relaxed draws. Defaults to `0.4`.
        corrected: whether the relaxed draws' derivative has UNAS's correction; otherwise it is
            that of the Gumbel-Softmax. Defaults to `True`.

    Returns:
        Pair of tensors like `uniforms`: one-hot, without gradient, and relaxed.
    """
    inside = tf.clip_by_value(uniforms, _SMALLEST, 1.0 - _SMALLEST)
    perturbed = log_p - tf.math.log(-tf.math.log(inside))
    one_hot = tf.one_hot(tf.argmax(perturbed, axis=-1), perturbed.shape[-1], dtype=perturbed.dtype)
    relaxed = tf.nn.softmax((_corrected(perturbed) if corrected else perturbed) / temperature)
    return tf.stop_gradient(one_hot), relaxed


@tf.custom_gradient
def _corrected(perturbed):
    """The perturbed logits themselves; their gradient is what the correction leaves of it."""
    largest = tf.reduce_max(perturbed, axis=-1, keepdims=True)
    share = tf.exp(perturbed - largest)
    return tf.identity(perturbed), lambda cotangent: cotangent * share


@keras.saving.register_keras_serializable(package="tfgen")
class ArchitectureDistribution(keras.layers.Layer):
    """Independent categorical factors with learned logits, which start uniform.

    Args:
        groups: mapping of a name to a pair of integers, how many factors and how many choices each
            of them has. Factors of one group have their logits in one variable.
        temperature: float tau of relaxed draws. Defaults to `0.4`.
        softening: float epsilon that is added to every probability; 0.08 in UNAS's searches on
            ImageNet. Defaults to `0.0`.
        name: string, the layer's name. Defaults to `"architecture"`.

    Raises:
        ConfigError: there is no group, or a number is out of range.

    Example:

    >>> import tfgen.search.unas as unas
    >>> cells = unas.ArchitectureDistribution({"input": (2, 3), "op": (2, 7)})
    >>> drawn = cells.sample(5, seed=(0, 1))
    >>> drawn.discrete["op"].shape
    TensorShape([5, 2, 7])
    """

    def __init__(
        self,
        groups: Mapping[str, tuple[int, int]],
        temperature=0.4,
        softening=0.0,
        name="architecture",
        **kwargs,
    ):
        # Rounded logits or noise would bias the choices.
        super().__init__(name=name, autocast=False, **kwargs)
        whole_number("the number of groups", len(groups), 1)
        self.groups = {str(key): (int(count), int(size)) for key, (count, size) in groups.items()}
        for key, (count, size) in self.groups.items():
            whole_number(f"factors of group {key!r}", count, 1)
            whole_number(f"choices of group {key!r}", size, 1)
        in_range("temperature", temperature, 0.0, above=True)
        in_range("softening", softening, 0.0)
        self.temperature, self.softening = temperature, softening

    def build(self, input_shape=None):
        del input_shape
        self.logits = {
            key: self.add_weight(
                shape=shape, initializer="zeros", dtype="float32", name=key.replace("/", "_")
            )
            for key, shape in self.groups.items()
        }
        self.built = True

    @property
    def num_factors(self) -> int:
        """Factors of all groups."""
        return sum(count for count, _ in self.groups.values())

    def log_probabilities(self) -> dict[str, tf.Tensor]:
        """`{group: [factors, choices]}` nats."""
        if not self.built:
            self.build()
        return {
            key: log_probabilities(tf.convert_to_tensor(value), self.softening)
            for key, value in self.logits.items()
        }

    def sample(self, num_draws: int, seed, corrected: bool = True) -> Architectures:
        """New architectures.

        Args:
            num_draws: integer B.
            seed: int32 `[2]`.
            corrected: whether gradients of relaxed draws have UNAS's correction. Defaults to
                `True`.
        """
        seed = tf.convert_to_tensor(seed, tf.int32)
        uniforms = {
            key: tf.random.stateless_uniform((num_draws, *shape), fold_in(seed, number))
            for number, (key, shape) in enumerate(self.groups.items())
        }
        return self.draw(uniforms, corrected)

    def draw(self, uniforms: Mapping[str, tf.Tensor], corrected: bool = True) -> Architectures:
        """Architectures of given noise.

        Args:
            uniforms: dict of group name -> `[B, factors, choices]` floats in [0, 1).
            corrected: whether gradients of relaxed draws have UNAS's correction. Defaults to
                `True`.
        """
        log_p, discrete, relaxed = self.log_probabilities(), {}, {}
        for key, noise in uniforms.items():
            discrete[key], relaxed[key] = draw(log_p[key], noise, self.temperature, corrected)
        return Architectures(discrete, relaxed, self.log_prob(discrete))

    def log_prob(self, discrete: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """log p of architectures, `[B]` nats.

        Args:
            discrete: dict of group name -> `[B, factors, choices]` one-hot floats.
        """
        log_p = self.log_probabilities()
        parts = [tf.reduce_sum(z * log_p[key], axis=[1, 2]) for key, z in discrete.items()]
        return tf.add_n(parts)

    def entropy(self) -> tf.Tensor:
        """Entropy of an architecture in nats, a scalar: the sum of those of its factors."""
        return -tf.add_n(
            [tf.reduce_sum(tf.exp(row) * row) for row in self.log_probabilities().values()]
        )

    def most_probable(self) -> dict[str, tf.Tensor]:
        """`{group: [factors]}` int32: the best choice of every factor, the first of equal ones."""
        return {
            key: tf.argmax(row, axis=-1, output_type=tf.int32)
            for key, row in self.log_probabilities().items()
        }

    def get_config(self):
        return {
            **super().get_config(),
            "groups": {key: list(shape) for key, shape in self.groups.items()},
            "temperature": self.temperature,
            "softening": self.softening,
        }
