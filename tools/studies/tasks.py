"""What an optimizer study trains: plain networks and the examples they learn from."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfgen import data
from tfgen.errors import ConfigError, DataError

# Of MNIST's and CIFAR-10's training images, scaled to [0, 1].
_STATISTICS = {
    "mnist": (0.1307, 0.3081),
    "cifar10": ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
}


@dataclasses.dataclass(frozen=True)
class Examples:
    """One split: `num` examples, `get(indices) -> (inputs, targets)` within a graph."""

    num: int
    get: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

    def dataset(self, batch_size: int, steps: int, seed: int) -> tf.data.Dataset:
        """`steps` batches, shuffled anew in every pass; the same for every optimizer."""
        rng = np.random.default_rng(seed)
        passes = math.ceil(steps * batch_size / self.num)
        order = np.concatenate([rng.permutation(self.num) for _ in range(passes)])
        order = order[: steps * batch_size].reshape(steps, batch_size).astype(np.int32)
        return tf.data.Dataset.from_tensor_slices(order).map(self.get).prefetch(4)

    def in_order(self, batch_size: int) -> tf.data.Dataset:
        """One pass; the last batch may be smaller."""
        return tf.data.Dataset.range(self.num, output_type=tf.int32).batch(batch_size).map(self.get)


def load_examples(section: Mapping[str, Any], model: Mapping[str, Any], split, data_dir):
    """The examples of a configuration.

    Args:
        section: `config.data`.
        model: `config.model`; its context length cuts text.
        split: "train" or "test"; of a text, the first nine tenths and the rest.
        data_dir: where to look first.
    """
    if section["name"].startswith("text:"):
        return _text(section["name"].removeprefix("text:"), model["context"], split, data_dir)
    source = data.load(section["name"], split=split, data_dir=data_dir)
    source = source.take(section["num_images"] if split == "train" else None)
    images, labels = tf.constant(np.asarray(source.images)), tf.constant(source.labels, tf.int32)
    mean, deviation = _STATISTICS[section["name"]]

    def get(indices):
        pixels = tf.cast(tf.gather(images, indices), tf.float32) / 255.0
        return (pixels - mean) / deviation, tf.gather(labels, indices)

    return Examples(len(source), get)


def _text(name, context, split, data_dir) -> Examples:
    path = Path(data_dir or ".") / name
    if not path.is_file():
        raise DataError(f"there is no {path}; put the text there, or name its folder: --data_dir")
    text = np.frombuffer(path.read_bytes(), np.uint8)
    letters, codes = np.unique(text, return_inverse=True)
    cut = len(codes) * 9 // 10
    codes = tf.constant(codes[:cut] if split == "train" else codes[cut:], tf.int32)
    # In order, windows of a held-out text do not overlap; in training they begin anywhere.
    stride = 1 if split == "train" else context

    def get(indices):
        window = tf.gather(codes, stride * indices[:, tf.newaxis] + tf.range(context + 1))
        return window[:, :-1], window[:, 1:]

    assert len(letters) <= 256
    return Examples((len(codes) - context - 1) // stride, get)


def mlp(width: int = 784, num_classes: int = 10, num_layers: int = 5) -> keras.Model:
    """The plain network of the depth study: `num_layers` hidden layers and a head.

    Weights and biases start uniform in +-1/sqrt(inputs), so that the signal shrinks by sqrt(6) with
    every layer.
    """
    sizes = [784, *num_layers * [width], num_classes]
    network = [keras.Input((28, 28, 1)), keras.layers.Flatten()]
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        network.append(
            keras.layers.Dense(
                outputs,
                activation="relu" if number < num_layers else None,
                kernel_initializer=keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform"),
                bias_initializer=keras.initializers.RandomUniform(-(inputs**-0.5), inputs**-0.5),
            )
        )
    return keras.Sequential(network)


def cnn(width: int = 32, num_classes: int = 10, num_layers: int = 6) -> keras.Model:
    """Convolutions with batch norm, twice as wide whenever the image halves (every other layer)."""
    network = [keras.Input((32, 32, 3))]
    for number in range(num_layers):
        network += [
            keras.layers.Conv2D(
                width * 2 ** (number // 2),
                3,
                strides=2 if number % 2 else 1,
                padding="same",
                use_bias=False,
                kernel_initializer="he_normal",
            ),
            keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
            keras.layers.Activation("relu"),
        ]
    network += [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(num_classes)]
    return keras.Sequential(network)


def transformer(
    width: int = 128,
    num_layers: int = 2,
    num_heads: int = 4,
    context: int = 64,
    num_letters: int = 65,
) -> keras.Model:
    """A causal transformer over letters, normalised before each part."""
    layers = keras.layers
    letters = keras.Input((context,), dtype="int32")
    x = layers.Embedding(num_letters, width)(letters)
    x = x + layers.Embedding(context, width)(keras.ops.arange(context))
    for _ in range(num_layers):
        h = layers.LayerNormalization()(x)
        attention = layers.MultiHeadAttention(num_heads, width // num_heads)
        x = x + attention(h, h, use_causal_mask=True)
        h = layers.LayerNormalization()(x)
        h = layers.Dense(4 * width, activation="gelu")(h)
        x = x + layers.Dense(width)(h)
    return keras.Model(letters, layers.Dense(num_letters)(layers.LayerNormalization()(x)))


MODELS = {"mlp": mlp, "cnn": cnn, "transformer": transformer}


def build_model(section: Mapping[str, Any], depth: int) -> keras.Model:
    """The network of `config.model` with one of its depths.

    Raises:
        ConfigError: a name or field that does not exist.
    """
    options = {k: v for k, v in section.items() if k not in ("name", "depths")}
    if section["name"] not in MODELS:
        raise ConfigError(
            f"config.model.name is {section['name']!r}; expected one of {sorted(MODELS)}"
        )
    try:
        return MODELS[section["name"]](**options, num_layers=depth)
    except TypeError as error:
        raise ConfigError(f"config.model does not make a network: {error}") from error
