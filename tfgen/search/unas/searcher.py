"""The search: weights of a network of all networks, and a distribution over architectures.

One step sees a batch of training images and as many validation images (UNAS, arXiv:1912.07651). It
draws architectures, moves the logits down an estimate of the gradient of the expected loss, and the
shared weights down that of the relaxed networks on the training images; both from what stood before
the step, so that it does not matter which is first.
"""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.ops.checks import in_range, whole_number
from tfgen.search.unas.answers import Answers
from tfgen.search.unas.distribution import ArchitectureDistribution
from tfgen.search.unas.estimators import GradientEstimator, Reinforce
from tfgen.search.unas.networks import check_pixels
from tfgen.search.unas.parts import make_criterion, make_estimator, make_supernet
from tfgen.search.unas.search_step import SearchStep
from tfgen.search.unas.variance import RunningVariance
from tfgen.search.unas.weights import (
    initialize,
    put_back,
    running_statistics,
    values_of,
)
from tfgen.training import Model
from tfgen.training.running_means import RunningMeans


@keras.saving.register_keras_serializable(package="tfgen")
class UNAS(Answers, SearchStep, Model):
    """A search for an architecture, trained by `fit`.

    While its `distribution` is not trainable, as in the epochs of warm-up, a step trains the shared
    weights alone; compile it then with one optimizer. Afterwards compile it with
    `tfgen.training.JointOptimizer({"weights": ..., "architecture": ...})`.

    Args:
        supernet: a `CellSupernet`, a `BlockSupernet`, or any `keras.Model` like them, with
            `groups`, `num_classes`, `image_shape`, and logits for `(images, architectures,
            training)`; or a dict of its name, "cells" or "blocks", and keyword arguments, whose
            weights begin by the seed. None searches by the criteria alone.
        criteria: sequence of `Criterion`, what is kept small beside the loss, or of dicts of its
            keyword arguments. Defaults to `()`.
        groups: mapping of group name -> pair of integers, factors and choices, where there is no
            supernet; None where there is one, whose groups count.
        temperature: float tau of relaxed architectures. Defaults to `0.4`.
        softening: float epsilon that is added to every probability. Defaults to `0.0`.
        estimator: a `GradientEstimator`, the name of one, or a dict of its name and keyword
            arguments. Every criterion has one of its own like it. Defaults to `"unas"`.
        gap_coefficient: float lambda, weight of the distance between training and validation
            losses. Defaults to `0.5`.
        duplicate_coefficient: float, weight of nodes whose two edges are the same. Defaults to
            `0.2`.
        entropy_coefficient: float, weight of the architecture's entropy in what is minimised:
            above 0 it decides sooner, below 0 it explores longer. Defaults to `0.0`.
        num_architectures: integer, how many are drawn for a batch, of which each sees an equal
            part; None draws one for every image.
        clip_norm: float, largest norm of the gradient of the shared weights. Defaults to `5.0`.
        weight_penalty: float, weight of half the squares of shared weights. Defaults to `3e-4`.
        logit_penalty: float, the same of the logits. Defaults to `1e-6`.
        pixel_mean: sequence of floats, one for every channel, or one float, taken from images in
            [0, 1]. Defaults to `0.0`.
        pixel_std: sequence of floats, or one float, what they are then divided by. Defaults to
            `1.0`.
        seed: integer, seed of all that is drawn. Defaults to `0`.
        name: string, the model's name. Defaults to `"unas"`.

    Call arguments:
        images: `[B, H, W, C]` in [0, 1].

    Returns:
        `[B, num_classes]` logits of the most probable architecture.

    Raises:
        ConfigError: an argument is out of range, or there is nothing to minimise.

    Example:

    >>> from tfgen.search.unas import UNAS
    >>> from tfgen.training import JointOptimizer
    >>> search = UNAS({"name": "cells", "num_cells": 3, "num_channels": 4})
    >>> search.compile(JointOptimizer({"weights": "adam", "architecture": "adam"}))
    """

    def __init__(
        self,
        supernet: keras.Model | Mapping | None = None,
        criteria: Sequence = (),
        groups: Mapping | None = None,
        temperature: float = 0.4,
        softening: float = 0.0,
        estimator: GradientEstimator | str | Mapping = "unas",
        gap_coefficient: float = 0.5,
        duplicate_coefficient: float = 0.2,
        entropy_coefficient: float = 0.0,
        num_architectures: int | None = None,
        clip_norm: float = 5.0,
        weight_penalty: float = 3e-4,
        logit_penalty: float = 1e-6,
        pixel_mean: float | Sequence = 0.0,
        pixel_std: float | Sequence = 1.0,
        seed: int = 0,
        name: str = "unas",
        **kwargs,
    ):
        super().__init__(name=name, seed=seed, **kwargs)
        self.supernet = make_supernet(supernet)
        if isinstance(supernet, Mapping) and "class_name" not in supernet:
            initialize(self.supernet, seed)
        if self.supernet is None and not (groups and criteria):
            raise ConfigError("a search without a supernet needs groups, and criteria to minimise")
        groups = groups if self.supernet is None else self.supernet.groups
        if num_architectures is not None:
            whole_number("num_architectures", num_architectures, 1)
        in_range("gap_coefficient", gap_coefficient, 0.0)
        in_range("duplicate_coefficient", duplicate_coefficient, 0.0)
        in_range("entropy_coefficient", entropy_coefficient, -np.inf)
        in_range("clip_norm", clip_norm, 0.0, above=True)
        in_range("weight_penalty", weight_penalty, 0.0)
        in_range("logit_penalty", logit_penalty, 0.0)
        if self.supernet is not None:
            check_pixels(pixel_mean, pixel_std, self.supernet.image_shape[-1])
        self.distribution = ArchitectureDistribution(groups, temperature, softening)
        self.distribution.build()
        self.criteria = [make_criterion(c, self.distribution.groups) for c in criteria]
        self.estimator = make_estimator(estimator)
        self.estimators = [make_estimator(self.estimator, f"of_{c.name}") for c in self.criteria]
        # For comparison: how much REINFORCE would vary costs little to know.
        count = len(self.criteria) + (self.supernet is not None)
        self.references = [Reinforce(name=f"reinforce{k}") for k in range(count)]
        size = sum(count * choices for count, choices in self.distribution.groups.values())
        self.variances = [RunningVariance(size, name=f"variance{k}") for k in range(2)]
        layers = (self.estimator, *self.estimators, *self.criteria, *self.references)
        for layer in (*layers, *self.variances):
            if not layer.built:
                layer.build()
        self.architecture_steps = self._add_counter("architecture_steps", 0)
        if self.supernet is not None:
            self.image_shape = tuple(self.supernet.image_shape)
            self.num_classes = self.supernet.num_classes
        self.gap_coefficient, self.entropy_coefficient = gap_coefficient, entropy_coefficient
        self.duplicate_coefficient = duplicate_coefficient
        self.num_architectures, self.clip_norm = num_architectures, clip_norm
        self.weight_penalty, self.logit_penalty = weight_penalty, logit_penalty
        self.pixel_mean, self.pixel_std = pixel_mean, pixel_std
        # Functions, so that the graph of a large network is made once, not once a pass.
        self._pass = tf.function(self._training_pass, autograph=False)
        self._compiled_objective = tf.function(self._network_objective, autograph=False)
        self.built = True

    def build(self, input_shape=None):
        del input_shape

    def compile(self, *args, **kwargs):
        """As `Model.compile`; what is reported may be something else from now on."""
        super().compile(*args, **kwargs)
        self._train_means = RunningMeans()

    def call(self, images, training=False):
        del training
        images = self._normalized(self.as_images(images))
        return self.supernet(images, self._best(), training=False)

    def _best(self):
        """The most probable architecture as one-hot weights of one draw."""
        return self._one_hot(self.distribution.most_probable())

    def _one_hot(self, choices):
        """Choices `{group: [factors]}` as the weights of one architecture."""
        return {
            key: tf.one_hot(chosen, self.distribution.groups[key][1])[None]
            for key, chosen in choices.items()
        }

    def evaluation_logs(self, data):
        """Of the most probable architecture with the shared weights, by statistics of the batch: a
        sign of life, no more."""
        images, labels = self._half(data)
        before = values_of(running_statistics(self.supernet))
        logits = tf.cast(self._pass(images, self._best()), tf.float32)
        put_back(before)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        right = tf.equal(tf.argmax(logits, axis=-1, output_type=labels.dtype), labels)
        return {"loss": losses, "accuracy": tf.cast(right, tf.float32)}

    def describe(self):
        groups = self.distribution.groups.values()
        size = float(np.prod([float(k) ** count for count, k in groups]))
        return {
            **super().describe(),
            "factors": self.distribution.num_factors,
            "architectures": size,
            "estimator": type(self.estimator).__name__,
            "criteria": [criterion.name for criterion in self.criteria],
        }

    progress_names = ("loss", "cross_entropy", "gap", "entropy")

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "supernet": None if self.supernet is None else serialize(self.supernet),
            "criteria": [serialize(criterion) for criterion in self.criteria],
            "groups": {key: list(shape) for key, shape in self.distribution.groups.items()},
            "temperature": self.distribution.temperature,
            "softening": self.distribution.softening,
            "estimator": serialize(self.estimator),
            "gap_coefficient": self.gap_coefficient,
            "duplicate_coefficient": self.duplicate_coefficient,
            "entropy_coefficient": self.entropy_coefficient,
            "num_architectures": self.num_architectures,
            "clip_norm": self.clip_norm,
            "weight_penalty": self.weight_penalty,
            "logit_penalty": self.logit_penalty,
            "pixel_mean": self.pixel_mean,
            "pixel_std": self.pixel_std,
            "seed": self.seed,
        }
