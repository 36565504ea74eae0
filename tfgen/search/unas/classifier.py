"""A classifier of images whose architecture was searched for, as a system: trained, evaluated,
exported and packed like the others."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.ops.checks import in_range, one_of, whole_number
from tfgen.ops.labels import class_indices
from tfgen.search.unas.genotypes import GENOTYPES, BlockGenotype, CellGenotype
from tfgen.search.unas.networks import block_network, cell_network, check_pixels
from tfgen.search.unas.weights import (
    bound_gradients,
    initialize,
    put_back,
    running_statistics,
    values_of,
)
from tfgen.serving import PORTABLE, Signature
from tfgen.training import Model, StepOutput

_OF_CELLS = {"num_channels": 36, "num_cells": 20, "stem": "small"}
_OF_BLOCKS = {"width": 1.0}


@keras.saving.register_keras_serializable(package="tfgen")
class SearchedClassifier(Model):
    """The network of a genotype, trained as the published ones are.

    Cutout takes a square out of every training image; `drop_path` drops edges of cells, ever more
    of them as training goes on, and all of its share at the end; an auxiliary head helps behind the
    last halving. None of them is there when the network is used.

    Args:
        genotype: string, one of `GENOTYPES`; or a dict of `normal` and `reduction` cells or of
            `blocks`, as `to_config` of a genotype writes it. Defaults to `"unas_cifar10"`.
        image_shape: sequence `(H, W, C)`. Defaults to `(32, 32, 3)`.
        num_classes: integer, classes. Defaults to `10`.
        network: mapping of sizes: of a network of cells `num_channels` (36), `num_cells` (20) and
            `stem` ("small"), of one of blocks `width` (1.0); None leaves all as they are.
        drop_path: float, share of the edges of cells that is dropped at the end of training.
            Defaults to `0.0`.
        auxiliary_weight: float, weight of the auxiliary head's loss; 0 has none. Defaults to `0.0`.
        cutout: integer, height and width in pixels of the square; 0 takes none out. Defaults to
            `0`.
        label_smoothing: float, share of a label that goes to all classes alike. Defaults to `0.0`.
        weight_penalty: float, weight of half the squares of all weights. Defaults to `0.0`.
        clip_norm: float, largest norm of the gradient. Defaults to `5.0`.
        pixel_mean: sequence of floats, one for every channel, or one float, taken from images in
            [0, 1]. Defaults to `0.0`.
        pixel_std: sequence of floats, or one float, what they are then divided by. Defaults to
            `1.0`.
        total_steps: integer, steps of the whole training, over which `drop_path` rises; None, which
            a training fills in, has all of it from the beginning.
        seed: integer, seed of the initial weights and of what training draws. Defaults to `0`.
        name: string, the model's name. Defaults to `"searched_classifier"`.

    Call arguments:
        images: `[B, H, W, C]` in [0, 1].

    Returns:
        `[B, num_classes]` logits.

    Raises:
        ConfigError: an argument is out of range, or there is no such genotype.
    """

    def __init__(
        self,
        genotype: str | Mapping = "unas_cifar10",
        image_shape: Sequence = (32, 32, 3),
        num_classes: int = 10,
        network: Mapping | None = None,
        drop_path: float = 0.0,
        auxiliary_weight: float = 0.0,
        cutout: int = 0,
        label_smoothing: float = 0.0,
        weight_penalty: float = 0.0,
        clip_norm: float = 5.0,
        pixel_mean: float | Sequence = 0.0,
        pixel_std: float | Sequence = 1.0,
        total_steps: int | None = None,
        seed: int = 0,
        name: str = "searched_classifier",
        **kwargs,
    ):
        super().__init__(name=name, seed=seed, **kwargs)
        self.genotype, self.network_options = genotype, dict(network or {})
        self._found = genotype_of(genotype)
        known = _OF_CELLS if isinstance(self._found, CellGenotype) else _OF_BLOCKS
        for key in self.network_options:
            one_of("a size of the network", key, known)
        if known is _OF_BLOCKS and (drop_path or auxiliary_weight):
            raise ConfigError(
                "drop_path and auxiliary_weight belong to networks of cells, and the genotype is "
                "one of blocks; leave them out"
            )
        in_range("drop_path", drop_path, 0.0, below=1.0)
        in_range("auxiliary_weight", auxiliary_weight, 0.0)
        in_range("label_smoothing", label_smoothing, 0.0, below=1.0)
        in_range("weight_penalty", weight_penalty, 0.0)
        in_range("clip_norm", clip_norm, 0.0, above=True)
        self.image_shape = tuple(int(size) for size in image_shape)
        check_pixels(pixel_mean, pixel_std, self.image_shape[-1])
        self.num_classes = whole_number("num_classes", num_classes, 1)
        self.drop_path, self.auxiliary_weight = drop_path, auxiliary_weight
        self.cutout = whole_number("cutout", cutout, 0)
        self.label_smoothing, self.weight_penalty = label_smoothing, weight_penalty
        self.clip_norm, self.total_steps = clip_norm, total_steps
        self.pixel_mean, self.pixel_std = pixel_mean, pixel_std

    def build(self, input_shape=None):
        del input_shape
        if self.built:
            return
        with _layers_of(self.dtype_policy):
            self.network = self._made()
        initialize(self.network, self.seed)
        self.drops = [layer for layer in self.network.layers if hasattr(layer, "share")]
        if self.total_steps is not None:
            for layer in self.drops:
                layer.share.assign(0.0)
        outputs = self.network.output
        logits = outputs["logits"] if isinstance(outputs, dict) else outputs
        self.served = keras.Model(self.network.input, logits, name="served")
        self.built = True

    def _made(self):
        sizes = dict(image_shape=self.image_shape, num_classes=self.num_classes)
        if isinstance(self._found, BlockGenotype):
            return block_network(self._found, **sizes, **self.network_options)
        sizes |= {"auxiliary": self.auxiliary_weight > 0, "drop_path": self.drop_path}
        return cell_network(self._found, **sizes, **self.network_options)

    def call(self, images, training=False):
        self.build()
        return self.served(self._normalized(self.as_images(images)), training=training)

    def training_loss(self, data):
        self.build()
        images = self._normalized(self.as_images(data["images"]))
        labels = class_indices(data["labels"], self.num_classes)
        if self.cutout:
            images = cut_out(images, self.cutout, self.step_seed("cutout"))
        statistics = running_statistics(self.network)
        before = values_of(statistics)
        outputs = self.network(images, training=True)
        updates = values_of([v for v in statistics if id(v) not in self._shares()])
        put_back(before)
        logits = outputs["logits"] if isinstance(outputs, dict) else outputs
        loss = tf.reduce_mean(self._cross_entropies(labels, logits))
        right = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), labels)
        logs = {"cross_entropy": loss, "accuracy": tf.reduce_mean(tf.cast(right, tf.float32))}
        if self.auxiliary_weight:
            second = self._cross_entropies(labels, outputs["auxiliary_logits"])
            loss += self.auxiliary_weight * tf.reduce_mean(second)
        return StepOutput(loss, logs, [*updates, *self._next_shares()])

    def compute_gradients(self, data):
        with tf.GradientTape() as tape:
            output = StepOutput(*self.training_loss(data))
            loss = self.scaled(output.loss)
        variables = self.trainable_variables
        values = [v.value for v in variables]
        gradients = tape.gradient(loss, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        scale = self.scaled(tf.constant(1.0))
        bound = bound_gradients(gradients, variables, self.clip_norm, self.weight_penalty, scale)
        return output, bound

    def evaluation_logs(self, data):
        labels = class_indices(data["labels"], self.num_classes)
        logits = tf.cast(self(data["images"]), tf.float32)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        right = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), labels)
        return {"loss": losses, "accuracy": tf.cast(right, tf.float32)}

    def _cross_entropies(self, labels, logits):
        logits = tf.cast(logits, tf.float32)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        if not self.label_smoothing:
            return losses
        of_all = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=-1)
        return (1.0 - self.label_smoothing) * losses + self.label_smoothing * of_all

    def _shares(self):
        return {id(layer.share) for layer in self.drops}

    def _next_shares(self):
        """How much is dropped from the next step on: it rises to all of it at the last."""
        if self.total_steps is None:
            return []
        step = tf.cast(self.train_steps.value + 1, tf.float32)
        part = tf.minimum(step / max(self.total_steps - 1, 1), 1.0)
        return [(layer.share, self.drop_path * part) for layer in self.drops]

    def _normalized(self, images):
        mean, std = (tf.constant(x, images.dtype) for x in (self.pixel_mean, self.pixel_std))
        return (images - mean) / std

    progress_names = ("loss", "accuracy")

    def signatures(self):
        """`predict`: images to logits and probabilities."""
        spec = tf.TensorSpec([None, *self.image_shape], tf.float32)
        return {"predict": Signature(self._predict, {"images": spec}, self._example, PORTABLE)}

    def _predict(self, images):
        logits = tf.cast(self.served(self._normalized(images), training=False), tf.float32)
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    def _example(self, batch_size, seed):
        shape = (batch_size, *self.image_shape)
        return {"images": np.random.default_rng(seed).random(shape, np.float32)}

    def describe(self):
        self.build()
        return {**super().describe(), "image_shape": list(self.image_shape)}

    def get_config(self):
        return {
            **super().get_config(),
            "genotype": self.genotype,
            "image_shape": list(self.image_shape),
            "num_classes": self.num_classes,
            "network": dict(self.network_options),
            "drop_path": self.drop_path,
            "auxiliary_weight": self.auxiliary_weight,
            "cutout": self.cutout,
            "label_smoothing": self.label_smoothing,
            "weight_penalty": self.weight_penalty,
            "clip_norm": self.clip_norm,
            "pixel_mean": self.pixel_mean,
            "pixel_std": self.pixel_std,
            "total_steps": self.total_steps,
            "seed": self.seed,
        }


@contextlib.contextmanager
def _layers_of(policy) -> Iterator[None]:
    """Layers made within the block have a dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def genotype_of(given: str | Mapping) -> CellGenotype | BlockGenotype:
    """A genotype by its name, or from what `to_config` wrote.

    Args:
        given: string, one of `GENOTYPES`; or a dict.

    Raises:
        ConfigError: there is none of this name, or the dict holds something else.
    """
    if isinstance(given, str):
        return GENOTYPES[one_of("genotype", given, GENOTYPES)]
    kind = BlockGenotype if "blocks" in given else CellGenotype
    try:
        return kind.from_config(given)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"the genotype is {given!r}; expected 'normal' and 'reduction' cells, or 'blocks'"
        ) from error


def cut_out(images, size: int, seed) -> tf.Tensor:
    """Zeros in a square of every image, which may reach over its edges.

    Args:
        images: `[B, H, W, C]`.
        size: integer, height and width of the square in pixels.
        seed: int32 `[2]`.
    """
    height, width = images.shape[1:3]
    drawn = tf.random.stateless_uniform([tf.shape(images)[0], 2], seed)
    inside = []
    for axis, length in enumerate((height, width)):
        first = tf.floor(drawn[:, axis] * length) - size // 2
        places = tf.range(length, dtype=tf.float32)
        offset = places[None] - first[:, None]
        inside.append((offset >= 0.0) & (offset < size))
    square = inside[0][:, :, None, None] & inside[1][:, None, :, None]
    return tf.where(square, tf.zeros_like(images), images)
