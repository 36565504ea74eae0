"""A Keras classifier as the two sides of a gradient see it: a pure function of images and labels.

`SharedNetwork` computes losses, gradients and batch-norm statistics of any Keras model without
writing to it: not to weights, not to moving averages, not to random states. The gradient can
itself be differentiated by the images.
"""

import copy
import functools
import random
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.privacy.network.forward import Statistics, ordered
from tfgen.privacy.network.head import Ending, Head, find_head
from tfgen.privacy.network.inputs import as_images, shapes_of
from tfgen.privacy.network.labels import as_targets
from tfgen.privacy.network.losses import ClientLoss, check_loss, loss_of
from tfgen.privacy.network.self_check import check_kernel_gradients
from tfgen.privacy.network.step import PureStep


class SharedNetwork(PureStep):
    """The network, loss and mode of batch norm that client and attacker share.

    Its steps are those of `PureStep`; what a client does with its images is here.

    Args:
        model: a built Keras model from images `[K, H, W, C]` to one vector `[K, N]` an image.
        loss: a Keras loss or its name, or any function of one-hot labels `[K, N]` and outputs;
            sparse Keras losses are fine. None: what the model is compiled with, else
            cross-entropy, of probabilities if the model ends in a softmax, of logits if in a linear
            layer. Regularisers and losses of layers are part of it, as in training.
        batch_norm_mode: "eval" or "train"; see `ThreatModel`. Frozen batch-norm layers always
            normalise with moving averages, as in Keras. Defaults to `"eval"`.
        pixel_mean: float or sequence of one a channel, what the client subtracts from images in [0,
            1]. Defaults to `0.0`.
        pixel_std: float or sequence, what it divides them by afterwards. Defaults to `1.0`.
        class_weight: dict of factors on the loss of images by class index, as the client's `fit`
            takes them; None: all one.
        differentiable_labels: whether derivatives of the gradient by labels are wanted, for attacks
            that optimise them. Defaults to `False`.

    Raises:
        UserError: the model has no weights yet, no fixed image shape, or is no classifier; no loss
            was given and none can be told; or this machine differentiates it wrongly
            (`check_kernel_gradients`).
    """

    def __init__(
        self,
        model: keras.Model,
        loss: keras.losses.Loss | str | Callable | None = None,
        *,
        batch_norm_mode: str = "eval",
        pixel_mean: float | Sequence[float] = 0.0,
        pixel_std: float | Sequence[float] = 1.0,
        class_weight: Mapping[int, float] | None = None,
        differentiable_labels: bool = False,
    ):
        self.image_shape, self.num_classes = shapes_of(model)
        super().__init__(model, batch_norm_mode == "train")
        self.pixel_mean = tf.constant(pixel_mean, self.dtype)
        self.pixel_std = tf.constant(pixel_std, self.dtype)
        if not np.all(np.asarray(pixel_std) > 0):
            raise UserError(f"pixel_std is {pixel_std!r}; expected numbers above 0")
        check_kernel_gradients(model)
        self.loss = ClientLoss(
            model,
            loss_of(model, self._ending, self.num_classes) if loss is None else check_loss(loss),
            self.num_classes,
            self.image_shape,
            class_weight,
            differentiable_labels,
        )
        self._gradients = tf.function(self.compute, autograph=False, reduce_retracing=True)

    def in_mode(self, batch_norm_mode: str) -> "SharedNetwork":
        """The same network and loss in "eval" or "train" mode."""
        other = copy.copy(self)
        other.training = batch_norm_mode == "train"
        other._gradients = tf.function(other.compute, autograph=False, reduce_retracing=True)
        return other

    @functools.cached_property
    def head(self) -> Head | None:
        """The dense layer that computes the classes; None: labels cannot be restored."""
        return find_head(self._ending, self.variables)

    @property
    def kind(self) -> str:
        """Whether the outputs are logits, probabilities, sigmoids or unknown; see `Outputs`."""
        return self._ending.kind

    def normalize(self, images: tf.Tensor) -> tf.Tensor:
        """Images in [0, 1] as the network takes them."""
        images = tf.cast(tf.convert_to_tensor(images), self.dtype)
        return (images - self.pixel_mean) / self.pixel_std

    def denormalize(self, inputs: tf.Tensor) -> tf.Tensor:
        """What the network takes as images in [0, 1]."""
        return inputs * self.pixel_std + self.pixel_mean

    def one_hot(self, labels: np.ndarray, num_images: int | None = None) -> tf.Tensor:
        """Labels in any form as targets `[K, N]`; see `as_targets`.

        Raises:
            UserError: labels that are none of the network's classes, or not one an image; soft ones
                where the loss takes indices.
        """
        targets = as_targets(labels, self.num_classes, num_images, self.loss.ignored)
        self.loss.check_targets(targets)
        return tf.constant(targets, self.dtype)

    def checked_weights(
        self, sample_weight: np.ndarray | None, num_images: int
    ) -> tf.Tensor | None:
        """Factors on the loss of each image as a tensor `[K]`, or None.

        Raises:
            UserError: not one number an image.
        """
        if sample_weight is None:
            return None
        sample_weight = tf.constant(sample_weight, self.dtype)
        if sample_weight.shape != [num_images]:
            raise UserError(
                f"sample_weight has shape {tuple(sample_weight.shape)}; expected one number for "
                f"each of {num_images} images"
            )
        return sample_weight

    def gradients(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        seed: int | None = None,
        sample_weight: np.ndarray | None = None,
    ) -> list[tf.Tensor]:
        """What a client without a defence shares: the gradient of its loss.

        Args:
            images: `[K, H, W, C]`, float in [0, 1] or uint8.
            labels: class indices `[K]` or `[K, 1]`, or rows `[K, N]`.
            seed: of dropout masks in train mode. None: new ones in every call, from Python's
                generator, which `keras.utils.set_random_seed` sets.
            sample_weight: factors on the loss of each image, `[K]`; None: all one.

        Returns:
            One tensor for each trainable variable.

        Raises:
            UserError: images or labels that do not fit the network or each other.
        """
        return self._step(images, labels, seed, sample_weight)[1]

    def statistics(
        self, images: np.ndarray, labels: np.ndarray, seed: int | None = None
    ) -> list[Statistics]:
        """Batch-norm statistics of a client's batch, in the mode in which it normalises.

        With dropout before a batch norm they belong to the gradient of the same `seed`.
        """
        return self._step(images, labels, seed, None)[2]

    def ordered(self, layers: Sequence[keras.Layer]) -> list[keras.Layer]:
        """Layers of the model as its forward pass meets them; see `forward.ordered`."""
        return ordered(self.model, layers, tf.TensorSpec((1, *self.image_shape), self.dtype))

    def moving_statistics(self) -> list[Statistics]:
        """The moving averages of every batch-norm layer, in the order of the forward pass."""
        return [
            (tf.convert_to_tensor(norm.moving_mean), tf.convert_to_tensor(norm.moving_variance))
            for norm in self.ordered(self.batch_norms)
        ]

    def per_example_gradients(
        self, images: np.ndarray, labels: np.ndarray, seed: int | None = None
    ) -> list[list]:
        """The gradient of every example alone: K lists, as `gradients` returns them."""
        labels, seeds = np.asarray(labels), np.random.SeedSequence(seed).generate_state(len(images))
        return [
            self.gradients(images[k : k + 1], labels[k : k + 1], None if seed is None else seeds[k])
            for k in range(len(images))
        ]

    def _step(self, images, labels, seed, sample_weight):
        images = as_images(images, self.image_shape)
        targets = self.one_hot(labels, len(images))
        if seed is None:
            seed = random.randrange(2**31)
        sample_weight = self.checked_weights(sample_weight, len(images))
        key = tf.constant([int(seed) % 2**31, 1 << 26], tf.int64)
        return self._gradients(self.normalize(images), targets, key, sample_weight)

    @functools.cached_property
    def _ending(self):
        return Ending(self.model, self.normalize, self.image_shape, self.dtype)
