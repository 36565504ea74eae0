"""A network of a few hundred weights and the digits that tests invert."""

import contextlib
import functools

import keras
import numpy as np
import sklearn.datasets

from tfgen.privacy import ThreatModel

layers = keras.layers


@functools.cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """All 1797 digits `[N, 8, 8, 1]` in [0, 1], and their labels."""
    data = sklearn.datasets.load_digits()
    return (data.images / 16.0).astype(np.float32)[..., None], data.target


def distinct_batch(batch_size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """One digit of each of the first classes."""
    images, labels = digits()
    rng = np.random.default_rng(seed)
    chosen = [rng.choice(np.flatnonzero(labels == c)) for c in range(batch_size)]
    return images[chosen], labels[chosen]


def relu_net(seed: int = 0) -> keras.Model:
    """A network for digits, small enough to be inverted in a test."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )


def smooth_batch_norm_net(seed: int = 0) -> keras.Model:
    """Small, with batch norm and without kinks, so that differences in space mean something."""
    keras.utils.set_random_seed(seed)
    # Keras rounds what enters a model to the type of its input.
    inputs = x = keras.Input((8, 8, 1), dtype=keras.config.dtype_policy().compute_dtype)
    for filters in (6, 8):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv_{filters}")(x)
        x = layers.Activation("softplus")(layers.BatchNormalization(momentum=0.9)(x))
    return keras.Model(inputs, layers.Dense(10)(layers.Flatten()(x)))


@contextlib.contextmanager
def float64():
    """Within, layers and losses of Keras are float64."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


def threat_model(**changes) -> ThreatModel:
    """Restored labels, known batch size, no batch-norm statistics, unless changed."""
    fields = dict(
        batch_norm_mode="eval",
        batch_norm_statistics="none",
        labels="restored",
        batch_size="known",
    )
    return ThreatModel(**{**fields, **changes})


# L_grad alone, Adam 0.1 with a cosine, no noise.
PLAIN = dict(
    num_seeds=1,
    gradient_weight=1.0,
    tv_weight=0.0,
    l2_weight=0.0,
    group="none",
    noise=0.0,
    warmup_steps=0,
    initial_std=0.1,
)
