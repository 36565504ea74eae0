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

from tfgen.errors import ConfigError, DataError
from tfgen.ops.checks import in_range, whole_number
from tfgen.ops.labels import class_indices
from tfgen.search.unas.answers import Answers
from tfgen.search.unas.distribution import ArchitectureDistribution, Architectures
from tfgen.search.unas.estimators import GradientEstimator, Reinforce
from tfgen.search.unas.losses import duplicate_edges, with_generalization_gap
from tfgen.search.unas.networks import check_pixels
from tfgen.search.unas.parts import make_criterion, make_estimator, make_supernet
from tfgen.search.unas.variance import RunningVariance
from tfgen.search.unas.weights import (
    bound_gradients,
    initialize,
    put_back,
    running_statistics,
    values_of,
)
from tfgen.training import Model, StepOutput
from tfgen.training.running_means import RunningMeans


@keras.saving.register_keras_serializable(package="tfgen")
class UNAS(Answers, Model):
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
        self.image_shape = None if self.supernet is None else tuple(self.supernet.image_shape)
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

    # What a step computes.

    def variable_groups(self):
        weights = {} if self.supernet is None else {"weights": self.supernet.trainable_variables}
        return {**weights, "architecture": self._logits}

    @property
    def _logits(self):
        return list(self.distribution.logits.values())

    def compute_gradients(self, data):
        before = values_of(self._statistics())
        found = _Found()
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([v.value for v in self._logits])
            if self.supernet is not None:
                self._see_images(data, tape, found)
            if self.distribution.trainable:
                self._measure(found)
                found.logs["entropy"] = self.distribution.entropy()
                score = self._reinforce(found)
        gradients = {}
        if found.weight_loss is not None:
            gradients |= self._weight_gradients(tape, found.scaled_loss)
        if self.distribution.trainable:
            gradients |= self._logit_gradients(tape, found, score)
        found.updates += values_of(self._estimator_states())
        put_back(before)
        output = StepOutput(tf.add_n(found.losses), found.logs, found.updates)
        return output, [gradients[id(v)] for v in self.trainable_variables]

    def after_step(self, extras, accepted):
        del extras
        if self.distribution.trainable:
            self.architecture_steps.assign_add(tf.cast(accepted, tf.int64))

    def _see_images(self, data, tape, found):
        """The losses of what was drawn on a batch of images."""
        images, labels = self._half(data)
        searching = self.distribution.trainable
        count = self._number_of_architectures(images)
        drawn = self.distribution.sample(
            count, self.step_seed("architectures"), corrected=self.estimator.corrected
        )
        relaxed = self._cross_entropies(images, labels, drawn.relaxed)
        found.weight_loss = tf.reduce_mean(relaxed)
        found.scaled_loss = self.scaled(found.weight_loss)
        found.logs["cross_entropy"] = found.weight_loss
        # The pass that trains the weights is the one whose statistics count.
        found.updates += values_of(running_statistics(self.supernet))
        if not searching:
            found.losses.append(found.weight_loss)
            return
        others = self._half(data, "validation_")
        if self.estimator.needs_relaxed:
            relaxed = self._objective(
                relaxed, self._cross_entropies(*others, drawn.relaxed), drawn.relaxed
            )
        with tape.stop_recording():
            discrete = None
            if self.estimator.needs_discrete:
                train = self._cross_entropies(images, labels, drawn.discrete)
                validation = self._cross_entropies(*others, drawn.discrete)
                discrete = self._objective(train, validation, drawn.discrete)
                found.logs["gap"] = tf.reduce_mean(tf.abs(validation - train))
                harder = tf.cast(validation > train, tf.float32)
                found.logs["share_of_harder_validation"] = tf.reduce_mean(harder)
        found.add(self.estimator, drawn, discrete, relaxed)
        shown = relaxed if discrete is None else discrete
        found.losses.append(tf.stop_gradient(tf.reduce_mean(shown)))

    def _measure(self, found):
        """The penalties of architectures that are drawn to be measured."""
        step = self.architecture_steps.value
        for number, (criterion, estimator) in enumerate(zip(self.criteria, self.estimators)):
            seed = self.step_seed("measured architectures", number)
            drawn = self.distribution.sample(criterion.num_draws, seed, estimator.corrected)
            values = criterion.values(drawn.discrete)
            predicted = criterion.surrogate(drawn.relaxed)
            penalty = criterion.penalty(values, step)
            found.add(estimator, drawn, penalty, criterion.penalty(predicted, step))
            found.losses.append(tf.reduce_mean(penalty))
            found.updates += criterion.updates(drawn.discrete, values)
            ahead = criterion.surrogate(drawn.discrete)
            found.logs |= {
                criterion.name: tf.reduce_mean(values),
                f"{criterion.name}_penalty": tf.reduce_mean(penalty),
                f"{criterion.name}_surrogate_error": tf.reduce_mean(tf.abs(ahead - values)),
            }

    def _objective(self, train, validation, weights):
        """The loss of every architecture, `[K]`, from those of its images."""
        losses = with_generalization_gap(train, validation, self.gap_coefficient)
        count = next(iter(weights.values())).shape[0] or tf.shape(losses)[0]
        losses = tf.reduce_mean(tf.reshape(losses, [count, -1]), axis=1)
        if self.duplicate_coefficient and _has_edges(weights):
            losses += self.duplicate_coefficient * duplicate_edges(weights)
        return losses

    def _cross_entropies(self, images, labels, weights):
        """Cross-entropies `[B]` of images under architectures `[K]`, each of an equal part."""
        count = next(iter(weights.values())).shape[0]
        if count != 1 and count != images.shape[0]:
            repeats = tf.shape(images)[0] // count
            weights = {key: tf.repeat(value, repeats, axis=0) for key, value in weights.items()}
        logits = self._pass(images, weights)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.cast(logits, tf.float32))

    def _training_pass(self, images, weights):
        return self.supernet(images, weights, training=True)

    def _weight_gradients(self, tape, loss):
        variables = self.supernet.trainable_variables
        scale = self.scaled(tf.constant(1.0))
        values = [v.value for v in variables]
        gradients = tape.gradient(loss, values, unconnected_gradients="zero")
        bound = bound_gradients(gradients, variables, self.clip_norm, self.weight_penalty, scale)
        return {id(v): g for v, g in zip(variables, bound)}

    def _logit_gradients(self, tape, found, score):
        values = [v.value for v in self._logits]
        estimates = [e.gradients(tape, objectives, values) for e, objectives, *_ in found.estimates]
        total = [tf.add_n(parts) for parts in zip(*estimates)]
        compared = {"gradient_variance": total}
        if score is not None:
            compared["reinforce_variance"] = tape.gradient(score, values)
        for layer, (name, gradients) in zip(self.variances, compared.items()):
            found.logs[name], updates = layer.observe(gradients)
            found.updates += updates
        if self.entropy_coefficient:
            slopes = tape.gradient(found.logs["entropy"], values)
            total = [g + self.entropy_coefficient * s for g, s in zip(total, slopes)]
        scale = self.scaled(tf.constant(1.0))
        return {
            id(v): scale * (g + self.logit_penalty * tf.convert_to_tensor(v))
            for v, g in zip(self._logits, total)
        }

    def _reinforce(self, found):
        """What REINFORCE would differentiate for the same draws, to compare how it varies."""
        if any(loss is None for *_, loss in found.estimates):
            return None
        pairs = zip(self.references, found.estimates)
        return tf.add_n([r.objectives(drawn, loss).fixed for r, (*_, drawn, loss) in pairs])

    def _number_of_architectures(self, images):
        if self.num_architectures is None:
            return images.shape[0] or tf.shape(images)[0]
        size = images.shape[0]
        if size is not None and size % self.num_architectures:
            raise ConfigError(
                f"num_architectures is {self.num_architectures}, and a batch has {size} images; "
                "expected a divisor of them"
            )
        return self.num_architectures

    def _half(self, data, kind=""):
        """Normalised images and labels of one half of a batch."""
        images = self.as_images(data[f"{kind}images"])
        labels = class_indices(data[f"{kind}labels"], self.supernet.num_classes)
        if kind and images.shape[0] != data["images"].shape[0]:
            raise DataError(
                f"a batch has {data['images'].shape[0]} training and {images.shape[0]} validation "
                "images, which are compared in pairs; expected as many of both"
            )
        return self._normalized(images), labels

    def _normalized(self, images):
        mean, std = (tf.constant(x, images.dtype) for x in (self.pixel_mean, self.pixel_std))
        return (images - mean) / std

    def _estimator_states(self):
        layers = (self.estimator, *self.estimators, *self.references)
        return [v for layer in layers for v in layer.non_trainable_variables]

    def _statistics(self):
        """What is assigned while a step is computed, though the step may not be applied."""
        norms = [] if self.supernet is None else running_statistics(self.supernet)
        return [*norms, *self._estimator_states()]

    # What it answers by.

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

    def _network_objective(self, batch, weights):
        """The loss of one architecture on a batch; statistics stay as they were."""
        before = values_of(running_statistics(self.supernet))
        train, validation = (
            self._cross_entropies(*self._half(batch, kind), weights) for kind in ("", "validation_")
        )
        put_back(before)
        return self._objective(train, validation, weights)[0]

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


class _Found:
    """What a step collects.

    Attributes:
        weight_loss: scalar that the shared weights follow, or None; `scaled_loss` is that which is
            differentiated.
        estimates: list of `(estimator, objectives, draws, losses)`, whose gradients add up.
        losses, logs, updates: as of a `StepOutput`; the losses are summed.
    """

    def __init__(self):
        self.weight_loss = self.scaled_loss = None
        self.estimates, self.losses, self.updates, self.logs = [], [], [], {}

    def add(self, estimator, drawn: Architectures, loss, relaxed_loss):
        objectives = estimator.objectives(drawn, loss=loss, relaxed_loss=relaxed_loss)
        self.estimates.append((estimator, objectives, drawn, loss))


def _has_edges(weights) -> bool:
    return all(key.rpartition("/")[2] in ("input", "operation") for key in weights)
