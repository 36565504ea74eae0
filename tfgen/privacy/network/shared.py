"""A Keras classifier as the two sides of a gradient see it: a pure function of images and labels.

`SharedNetwork` computes losses, gradients and batch-norm statistics of any Keras model without
writing to it: not to weights, not to moving averages, not to random states. The gradient can
itself be differentiated by the images.
"""

import dataclasses
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.ops.precision import at_least_float32
from tfgen.privacy.network.forward import Statistics, layers_of, pure_batch_norms
from tfgen.privacy.network.losses import loss_function
from tfgen.privacy.network.self_check import check_kernel_gradients


@dataclasses.dataclass(frozen=True)
class Head:
    """The last dense layer of a classifier.

    Attributes:
        layer: the layer.
        kernel_index: where its kernel `[features, classes]` is among the trainable variables.
        bias_index: likewise of its bias `[classes]`, or None.
    """

    layer: keras.Layer
    kernel_index: int
    bias_index: int | None


class SharedNetwork:
    """The network, loss and mode of batch norm that client and attacker share.

    Args:
        model: a built Keras model from images `[K, H, W, C]` to logits or probabilities `[K, N]`.
        loss: a Keras loss or its name, or any function of one-hot labels `[K, N]` and outputs;
            sparse Keras losses are fine. None: cross-entropy, of probabilities if the model ends
            in a softmax, else of logits.
        batch_norm_mode: "eval" or "train"; see `ThreatModel`. Frozen batch-norm layers always
            normalise with moving averages, as in Keras.
        pixel_mean: what the client subtracts from images in [0, 1], one number or one a channel.
        pixel_std: what it divides them by afterwards.

    Raises:
        UserError: the model has no weights yet, no fixed image shape, or is no classifier; or this
            machine differentiates it wrongly (`check_kernel_gradients`).
    """

    def __init__(
        self,
        model: keras.Model,
        loss: keras.losses.Loss | str | Callable | None = None,
        *,
        batch_norm_mode: str = "eval",
        pixel_mean: float | Sequence[float] = 0.0,
        pixel_std: float | Sequence[float] = 1.0,
    ):
        self.model = model
        self.training = batch_norm_mode == "train"
        self.image_shape, self.num_classes = _shapes(model)
        self.variables = list(model.trainable_variables)
        if not self.variables:
            raise UserError("the model has no trainable variables; a gradient of it says nothing")
        self.pixel_mean = tf.constant(pixel_mean, tf.float32)
        self.pixel_std = tf.constant(pixel_std, tf.float32)
        if not np.all(np.asarray(pixel_std) > 0):
            raise UserError(f"pixel_std is {pixel_std!r}; expected numbers above 0")
        check_kernel_gradients(model)
        self.loss = loss_function(loss, model)
        self.batch_norms = [
            layer
            for layer in layers_of(model)
            if isinstance(layer, keras.layers.BatchNormalization)
        ]
        self.head = _find_head(model, self.variables, self.num_classes)
        self._gradients = tf.function(self.compute, autograph=False, reduce_retracing=True)

    def normalize(self, images: tf.Tensor) -> tf.Tensor:
        """Images in [0, 1] as the network takes them."""
        return (tf.convert_to_tensor(images, tf.float32) - self.pixel_mean) / self.pixel_std

    def denormalize(self, inputs: tf.Tensor) -> tf.Tensor:
        """What the network takes as images in [0, 1]."""
        return inputs * self.pixel_std + self.pixel_mean

    def one_hot(self, labels: np.ndarray) -> tf.Tensor:
        """Integer labels `[K]` as `[K, N]`; soft labels of that shape stay.

        Raises:
            UserError: a label that is none of the network's classes.
        """
        labels = np.asarray(labels)
        if labels.ndim == 2:
            return tf.constant(labels, tf.float32)
        if labels.size and (labels.min() < 0 or labels.max() >= self.num_classes):
            wrong = labels[(labels < 0) | (labels >= self.num_classes)][0]
            raise UserError(
                f"label {wrong} is outside 0..{self.num_classes - 1}, the classes of the network; "
                "give class indices from 0 on"
            )
        return tf.one_hot(labels, self.num_classes)

    def compute(
        self, inputs: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor], list[Statistics]]:
        """One step of a client, as a pure and differentiable function.

        Args:
            inputs: `[K, H, W, C]`, normalised.
            labels: `[K, N]`, one-hot or soft.

        Returns:
            The mean loss; its gradient by every trainable variable, float32; the mean and biased
            variance of the input of every batch-norm layer, in the order of the forward pass.
        """
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            weights = [v.value for v in self.variables]
            tape.watch(weights)
            loss, statistics = self.forward(inputs, labels)
        gradients = tape.gradient(loss, weights)
        if all(g is None for g in gradients):
            raise UserError(
                "the loss cannot be differentiated by any weight of the model; give a function "
                "made of TensorFlow or Keras operations"
            )
        # A weight that the loss does not reach is shared as zeros.
        gradients = [tf.zeros(v.shape) if g is None else g for g, v in zip(gradients, weights)]
        return loss, [at_least_float32(g) for g in gradients], statistics

    def forward(self, inputs: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, list[Statistics]]:
        """Mean loss and batch-norm statistics of a batch; see `compute`."""
        statistics: list[Statistics] = []
        with keras.StatelessScope(), pure_batch_norms(self.batch_norms, self.training, statistics):
            outputs = self.model(inputs, training=self.training)
        return tf.reduce_mean(self.loss(labels, at_least_float32(outputs))), statistics

    def gradients(self, images: np.ndarray, labels: np.ndarray) -> list[tf.Tensor]:
        """What a client without a defence shares: the gradient of its mean loss.

        Args:
            images: `[K, H, W, C]` in [0, 1].
            labels: `[K]` class indices, or `[K, N]`.

        Returns:
            One tensor for each trainable variable.
        """
        return self._gradients(self.normalize(images), self.one_hot(labels))[1]

    def statistics(self, images: np.ndarray, labels: np.ndarray) -> list[Statistics]:
        """Batch-norm statistics of a client's batch, in the mode in which it normalises."""
        return self._gradients(self.normalize(images), self.one_hot(labels))[2]

    def moving_statistics(self) -> list[Statistics]:
        """The moving averages of every batch-norm layer, in the order of the forward pass."""
        return [
            (tf.convert_to_tensor(norm.moving_mean), tf.convert_to_tensor(norm.moving_variance))
            for norm in self._ordered_batch_norms()
        ]

    def per_example_gradients(self, images: np.ndarray, labels: np.ndarray) -> list[list]:
        """The gradient of every example alone: K lists, as `gradients` returns them."""
        return [
            self.gradients(images[k : k + 1], np.asarray(labels)[k : k + 1])
            for k in range(len(images))
        ]

    def _ordered_batch_norms(self):
        """Batch-norm layers as the forward pass meets them, which may be in another order."""
        met: list = []
        with keras.StatelessScope(), pure_batch_norms(self.batch_norms, False, [], met):
            call = tf.function(lambda x: self.model(x, training=False), autograph=False)
            call.get_concrete_function(tf.TensorSpec((1, *self.image_shape), tf.float32))
        return met


def _shapes(model):
    # Functional models know their input; subclassed ones what they were built with.
    shape = getattr(model, "input_shape", None) if model.built else None
    if model.built and shape is None:
        shape = (model.get_build_config() or {}).get("input_shape")
    if shape is None:
        raise UserError("the model is not built; call it on a batch of images, or build(), first")
    if isinstance(shape, list | dict) or len(shape) != 4:
        raise UserError(
            f"the model takes inputs of shape {shape}; expected one batch of images "
            "[None, height, width, channels]"
        )
    if None in shape[1:]:
        raise UserError(f"the model takes images of any size ({shape}); build it with a fixed one")
    outputs = model.compute_output_spec(keras.KerasTensor((1, *shape[1:])))
    outputs = getattr(outputs, "shape", outputs)
    if not isinstance(outputs, tuple) or len(outputs) != 2:
        raise UserError(f"the model returns {outputs}; expected one vector of classes an image")
    return tuple(shape[1:]), int(outputs[-1])


def _find_head(model, variables, num_classes):
    """The last dense layer with one unit a class, or None: then labels cannot be restored."""
    dense = [
        layer
        for layer in layers_of(model)
        if isinstance(layer, keras.layers.Dense) and layer.units == num_classes
    ]
    position = {id(variable): index for index, variable in enumerate(variables)}
    for layer in reversed(dense):
        if id(layer.kernel) in position:
            bias = position.get(id(layer.bias)) if layer.use_bias else None
            return Head(layer, position[id(layer.kernel)], bias)
    return None
