"""What one step of a search computes: losses of what is drawn, and gradients of both.

Nothing is assigned before it is known whether the step is applied: what passes change is put back,
and handed over as updates.
"""

import tensorflow as tf

from tfgen.errors import ConfigError, DataError
from tfgen.ops.labels import class_indices
from tfgen.search.unas.distribution import Architectures
from tfgen.search.unas.losses import duplicate_edges, with_generalization_gap
from tfgen.search.unas.weights import (
    bound_gradients,
    put_back,
    running_statistics,
    values_of,
)
from tfgen.training import StepOutput


class SearchStep:
    """What `UNAS` does with a batch, from its supernet, distribution, criteria and estimators."""

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

    def _network_objective(self, batch, weights):
        """The loss of one architecture on a batch; statistics stay as they were."""
        before = values_of(running_statistics(self.supernet))
        train, validation = (
            self._cross_entropies(*self._half(batch, kind), weights) for kind in ("", "validation_")
        )
        put_back(before)
        return self._objective(train, validation, weights)[0]


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
