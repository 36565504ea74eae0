"""How much each task should count, learned by what it does to the validation loss."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfgen import data, stopping
from tfgen.ood.selection.hypergradient import hypergradient
from tfgen.ood.selection.trainings import Trainings

_ONE = math.log(math.e - 1.0)  # where softplus is 1
MOST = 10.0  # a weight at most


class LearnedWeights(NamedTuple):
    """The weights behind a training, and the way there.

    Attributes:
        weights: dict of floats by the loss's name, "ssl_NAME" or "supervised_NAME".
        trajectory: list of a dict with "step", "validation_loss" and all weights, one for each
            update.
    """

    weights: dict[str, float]
    trajectory: list[dict[str, float]]


def learn_weights(
    trainings: Trainings,
    options: Mapping,
    seed: int = 0,
    every: int = 10,
    learning_rate: float = 3e-3,
    report: Callable[[str], None] = print,
) -> LearnedWeights:
    """Trains once, and moves the weights of the tasks against their hypergradients on the way.

    Args:
        trainings: the `Trainings` to train with.
        options: dict of keyword arguments of `MultiTaskOOD`: the tasks, of any weight above 0.
        seed: integer. Defaults to `0`.
        every: integer, training steps between two updates of the weights. Defaults to `10`.
        learning_rate: float, of Adam on the weights, which are softplus of what it moves. Defaults
            to `3e-3`.
        report: function of a line of text, called once an epoch. Defaults to `print`.

    Returns:
        `LearnedWeights`; all begin at 1.
    """
    model = trainings.model(seed, **options)
    learner = _Learner(model, learning_rate)
    batches = iter(trainings.batches(seed).dataset())
    judging = data.Pipeline(
        trainings.validation, min(trainings.batch_size, len(trainings.validation)), seed=seed
    )
    judges, trajectory = iter(judging.dataset()), []
    total = trainings.epochs * trainings.steps_per_epoch
    for step in range(total):
        stopping.check()
        batch = next(batches)
        learner.step(batch)
        if (step + 1) % every == 0:
            loss = float(learner.move_weights(batch, next(judges)))
            trajectory.append({"step": step + 1, "validation_loss": loss, **learner.by_name()})
        if (step + 1) % trainings.steps_per_epoch == 0:
            words = ", ".join(f"{name} {value:.3f}" for name, value in learner.by_name().items())
            report(f"weights after {step + 1:,} of {total:,} steps: {words}")
    return LearnedWeights(learner.by_name(), trajectory)


class _Learner:
    """A model whose tasks count what variables say."""

    def __init__(self, model, learning_rate):
        self.model = model
        coefficients = model.coefficients()
        self.names = [name for name in coefficients if name != "main"]
        given = _given_weights(model)
        # What each loss is multiplied by beside its weight: one over the number of its kind.
        self._scales = [coefficients[name] / given[name] for name in self.names]
        self._free = keras.Variable(np.full(len(self.names), _ONE, np.float32), name="free")
        self._adam = keras.optimizers.Adam(learning_rate)
        self._adam.build([self._free])
        model.build_optimizer()
        self.step = tf.function(self._step, autograph=False)
        self.move_weights = tf.function(self._move_weights, autograph=False)

    def by_name(self) -> dict[str, float]:
        values = np.logaddexp(0.0, np.float64(self._free.numpy()))
        return dict(zip(self.names, map(float, values)))

    def _step(self, batch):
        """A training step at the present weights."""
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            base, tasks, updates = self._losses(batch)
            loss = base + tf.reduce_sum(tf.nn.softplus(self._free.value) * tf.stack(tasks))
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        self.model.optimizer.apply(gradients, variables)
        for variable, value in updates:
            variable.assign(value)
        self.model.train_steps.assign_add(1)

    def _move_weights(self, batch, judge):
        model = self.model
        with tf.GradientTape() as tape:
            weights = tf.nn.softplus(self._free.value)
        found = hypergradient(
            lambda: self._losses(batch)[:2],
            lambda: self._validation_loss(judge),
            model.trainable_variables,
            weights,
            model.optimizer.learning_rate,
        )
        gradient = tape.gradient(weights, self._free.value, output_gradients=found.gradient)
        self._adam.apply([gradient], [self._free])
        limit = math.log(math.expm1(MOST))
        self._free.assign(tf.minimum(self._free.value, limit))
        return found.validation_loss

    def _losses(self, batch):
        """The loss without weights, the losses with them, and what batch norms would remember."""
        losses, updates = self.model.training_losses(batch)
        means = {name: tf.reduce_mean(value) for name, value in losses.items()}
        tasks = [scale * means[name] for name, scale in zip(self.names, self._scales)]
        base = means.get("main", tf.constant(0.0))
        if self.model.contrast is not None:
            base += self.model.contrast.weight * means["contrastive"]
        return base, tasks, updates

    def _validation_loss(self, batch):
        """Of the classifier, or the difficulty of all tasks alike: no weight may enter, or none at
        all would be the best."""
        logs = self.model.evaluation_logs(batch)
        return tf.reduce_mean(logs["loss"])


def _given_weights(model) -> dict[str, float]:
    ssl = {f"ssl_{name}": value for name, value in model.ssl_weights.items()}
    return ssl | {f"supervised_{name}": value for name, value in model.supervised_weights.items()}
