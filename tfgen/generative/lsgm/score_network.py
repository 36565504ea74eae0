"""What predicts the noise in noisy latents: a network of latents and time."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.layers import FoldedWeights, LiveWeights, ParameterBank
from tfgen.layers.diffusion import TimeEmbedding
from tfgen.ops.checks import in_range, one_of

EMBEDDINGS = ("sinusoidal", "fourier")


class ScoreNetwork(keras.layers.Layer):
    """A network eps'(z, t) with its parameters; a subclass declares its parts and `predict`.

    Args:
        latent_shape: tuple, shape of the latents of one example.
        embedding: string, how the network is told the time: "sinusoidal" or "fourier".
        embedding_dims: even integer, sines and cosines of the time.
        dropout: float, share of numbers dropped in training.
        recompute: whether blocks are computed again in the backward pass instead of being kept.
        seed: integer, seed of the initial weights.
        name: string, the layer's name.

    Call arguments:
        z: `[B, *latent_shape]` noisy latents.
        t: `[B]` times.

    Returns:
        `[B, *latent_shape]` float32.

    Raises:
        ConfigError: a number or choice is out of range.
    """

    def __init__(
        self, latent_shape, embedding, embedding_dims, dropout, recompute, seed, name, **kwargs
    ):
        # Keras would round latents and times under mixed precision.
        super().__init__(name=name, autocast=False, **kwargs)
        self.latent_shape = tuple(int(size) for size in latent_shape)
        one_of("embedding", embedding, EMBEDDINGS)
        in_range("dropout", dropout, 0.0, below=1.0)
        if embedding_dims < 2 or embedding_dims % 2:
            raise ConfigError(
                f"embedding_dims is {embedding_dims}; expected an even number above 0"
            )
        self._options = dict(
            embedding=embedding,
            embedding_dims=embedding_dims,
            dropout=dropout,
            recompute=recompute,
            seed=seed,
        )
        self.bank = ParameterBank(seed=seed, name="parameters")

    def declare_embedding(self) -> int:
        """Declares the time's embedding and returns how many numbers it has."""
        dims = self._options["embedding_dims"]
        self.embedding = TimeEmbedding(self.bank, dims, 4 * dims, self._options["embedding"])
        return 4 * dims

    def predict(self, w, z, t, seed=None) -> tf.Tensor:
        """eps' with the given view of the weights.

        Args:
            w: a view of the weights, `LiveWeights` or `FoldedWeights`.
            z: `[B, *latent_shape]`.
            t: `[B]` float32 in [0, 1].
            seed: int32 `[2]` of the dropout; None drops nothing.
        """
        raise NotImplementedError

    def build(self, input_shape=None):
        del input_shape
        if not self.bank.built:
            self.bank.build()
        self.built = True

    def call(self, z, t):
        t = tf.broadcast_to(tf.cast(t, tf.float32), [tf.shape(z)[0]])
        return self.predict(self.weights_view(), z, t)

    def weights_view(self, training: bool = False) -> LiveWeights:
        """The variables as one pass sees them."""
        if not self.built:
            self.build()
        return LiveWeights(self.bank, training, self.compute_dtype, self._options["recompute"])

    def folded(self) -> FoldedWeights:
        """The weights, each read once, for many passes within one graph."""
        view = FoldedWeights(self.weights_view(), dtype=self.compute_dtype)
        self.predict(view, tf.zeros((1, *self.latent_shape)), tf.ones([1]))
        return view

    @property
    def num_parameters(self) -> int:
        """Trainable numbers, whether they are variables yet or not."""
        return self.bank.num_parameters

    def options(self) -> dict:
        """The keyword arguments that make it for given latents."""
        return {name: _plain(value) for name, value in self._options.items()}

    def get_config(self):
        shape = {"latent_shape": list(self.latent_shape)}
        return {**super().get_config(), **shape, **self.options()}


def plain_options(network: Any) -> dict:
    """The keyword arguments of a network that is given as a dict; none of None.

    Raises:
        ConfigError: it is something else.
    """
    if network is None:
        return {}
    if isinstance(network, Mapping):
        return dict(network)
    raise ConfigError(
        f"score_network is {network!r}; expected a ScoreNetwork or its keyword arguments by name"
    )


def _plain(value):
    return list(value) if isinstance(value, list | tuple) else value
