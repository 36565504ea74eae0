"""The end of a classifier: what its outputs are, and the layer that labels are restored from."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen.privacy.network.forward import layers_of
from tfgen.privacy.network.outputs import PROBABILITIES, UNKNOWN, Outputs, follow

_NUM_PROBES = 8  # random images; a feature that can be negative is so in some entry of theirs


@dataclasses.dataclass(frozen=True, eq=False)
class Head:
    """The dense layer that computes the classes.

    Its outputs may be scaled and shifted by constants before they are logits.

    Attributes:
        layer: the Keras layer that owns the kernel.
        kernel_index: integer, where its kernel is among the trainable variables.
        bias_index: integer, likewise of its bias `[classes]`, or None.
        kernel: the variable, `[features, classes]` or `[1, 1, features, classes]`.
        bias: the variable, or None.
        scale: constant, scalar or `[classes]`.
        shift: constant, scalar or `[classes]`.
        signed_features: whether the features it takes can be negative.
    """

    layer: keras.Layer
    kernel_index: int
    bias_index: int | None
    kernel: keras.Variable
    bias: keras.Variable | None
    scale: np.ndarray
    shift: np.ndarray
    signed_features: bool


class Ending:
    """The end of a model's forward pass, traced and tried when somebody asks.

    Args:
        model: a built classifier, `keras.Model`.
        normalize: function from images in [0, 1] to what the model takes.
        image_shape: `(H, W, C)`.
        dtype: `tf.DType` of the model's inputs.
    """

    def __init__(
        self,
        model: keras.Model,
        normalize: Callable[[tf.Tensor], tf.Tensor],
        image_shape: tuple[int, ...],
        dtype: tf.DType,
    ):
        self.model, self._normalize = model, normalize
        self._image_shape, self._dtype = image_shape, dtype

    @property
    def outputs(self) -> Outputs:
        """What the graph says of the outputs."""
        return self._traced[1]

    @property
    def kind(self) -> str:
        """Of the outputs, as in `Outputs`; what the graph leaves open, some values may tell."""
        kind = self.outputs.kind
        if kind == UNKNOWN and _are_probabilities(self.probe[0]):
            return PROBABILITIES
        return kind

    @functools.cached_property
    def probe(self) -> list[np.ndarray]:
        """Outputs and features of some random images, float64."""
        noise = np.random.default_rng(0).random((_NUM_PROBES, *self._image_shape))
        return [np.asarray(x, np.float64) for x in self._traced[0](self._normalize(noise))]

    @functools.cached_property
    def _traced(self):
        found = []

        def call(inputs):
            with keras.StatelessScope():
                outputs = self.model(inputs, training=False)
            found.append(follow(outputs, inputs, self.model.variables))
            dense = found[-1].dense
            return outputs, tf.zeros([]) if dense is None else dense.features

        spec = tf.TensorSpec((None, *self._image_shape), self._dtype)
        function = tf.function(call, autograph=False).get_concrete_function(spec)
        return function, found[-1]


def find_head(ending: Ending, variables: Sequence[keras.Variable]) -> Head | None:
    """The dense layer at the end of a model, or None where there is none.

    Args:
        ending: the `Ending` of the model.
        variables: sequence of the variables whose gradients are shared; the kernel has to be among
            them.
    """
    dense = ending.outputs.dense
    position = {id(variable): index for index, variable in enumerate(variables)}
    if dense is None or id(dense.kernel) not in position:
        return None
    # Inner layers come after what holds them.
    owners = [x for x in layers_of(ending.model) if any(v is dense.kernel for v in x.weights)]
    return Head(
        owners[-1],
        position[id(dense.kernel)],
        position.get(id(dense.bias)),
        dense.kernel,
        dense.bias,
        dense.scale,
        dense.shift,
        bool(np.min(ending.probe[1]) < 0),
    )


def _are_probabilities(outputs):
    return outputs.min() > -1e-6 and np.abs(outputs.sum(axis=1) - 1).max() < 1e-3
