"""Phase 1: every candidate learns to do what its layer does, and nothing else.

A candidate sees the trained network's own features before its layer and is asked for those behind
it, so that all of them are separate problems and no gradient crosses layers (LANA,
arXiv:2107.10624). The features of a batch are computed once for all candidates of a step.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfgen import stopping
from tfgen.errors import DataError
from tfgen.ops.checks import in_range, whole_number
from tfgen.search.hant.batch_norm import reestimate_all
from tfgen.search.hant.cuts import is_activation
from tfgen.search.hant.library import Library

_MEASURED = 8  # batches on which a candidate's error is taken once it is trained


def relative_error(wanted, found) -> tf.Tensor:
    """The squared error in multiples of that of zeros, a scalar.

    Args:
        wanted: tensor, what the layer puts out.
        found: tensor like it, what a candidate does.
    """
    wanted, found = tf.cast(wanted, tf.float32), tf.cast(found, tf.float32)
    square = tf.reduce_mean(tf.square(wanted))
    return tf.reduce_mean(tf.square(wanted - found)) / tf.maximum(square, 1e-12)


def distil(
    library: Library,
    images: np.ndarray | tf.data.Dataset,
    *,
    epochs: int = 1,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    at_once: int = 8,
    seed: int = 0,
    report: Callable[[int, int], None] | None = None,
) -> None:
    """Trains what a library lacks.

    Every candidate is kept as soon as its group is trained: a run that was killed goes on with the
    next. A second process waits for the first to end.

    Args:
        library: the `Library`, which gets the candidates.
        images: array `[N, H, W, C]`, as the network takes them; or a `tf.data.Dataset` of batches
            of images, perhaps with labels, of which every pass is one epoch.
        epochs: integer, passes over the images for every candidate. Defaults to `1`.
        batch_size: integer, images in a batch of an array. Defaults to `64`.
        learning_rate: float of Adam, which rises over the first fiftieth of the steps and falls to
            zero along a cosine. Defaults to `2e-3`.
        at_once: integer, candidates that are trained in one step, as many as memory allows.
            Defaults to `8`.
        seed: integer that draws weights and the order of an array. Defaults to `0`.
        report: function `(candidates finished, candidates to train)`, called as they are finished;
            None calls nothing.

    Raises:
        DataError: there are no images.
        UserError: the library is of another network or other settings.
        ConfigError: a number is out of range.
        OSError: the library cannot be written.
    """
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("at_once", at_once)):
        whole_number(name, value, 1)
    in_range("learning_rate", learning_rate, 0.0, above=True)
    batches, num_batches = _batches(images, batch_size, seed)
    features = _compiled(library.network.features())
    with library.held():
        jobs = library.missing()
        for start in range(0, len(jobs), at_once):
            group = jobs[start : start + at_once]
            models = [library.fresh(number, name, seed) for number, name in group]
            steps = epochs * num_batches
            numbers, schedule = [number for number, _ in group], _schedule(learning_rate, steps)
            errors = _Group(features, numbers, models, schedule).train(batches, epochs)
            for (number, name), model, error in zip(group, models, errors):
                library.add(number, name, model, error)
            if report is not None:
                report(start + len(group), len(jobs))


class _Group:
    """Candidates that are trained together."""

    def __init__(self, features, numbers, models, schedule):
        self.features, self.numbers, self.models = features, numbers, models
        self.variables = [v for model in models for v in model.trainable_variables]
        self.optimizer = keras.optimizers.Adam(schedule)
        self.optimizer.build(self.variables)
        self.step = tf.function(self._step, reduce_retracing=True, autograph=False)
        self.measure = tf.function(self._measure, reduce_retracing=True, autograph=False)

    def train(self, batches, epochs) -> np.ndarray:
        """Trains all; their errors in inference, `[candidates]`."""
        for images in itertools.islice(batches(0), 1):
            features = self.features(images)
            for number, model in zip(self.numbers, self.models):
                match_scale(model, features[number + 1].numpy())
        for epoch in range(epochs):
            for images in batches(epoch):
                stopping.check()
                self.step(self.features(images))
        some = [self.features(x) for x in itertools.islice(batches(0), _MEASURED)]
        # Of the last weights: the moving ones are of all on the way.
        reestimate_all(self.models, self._in_training, some)
        return np.mean([self.measure(x).numpy() for x in some], axis=0)

    def _in_training(self, features):
        self._errors(features, training=True)

    def _step(self, features):
        with tf.GradientTape() as tape:
            total = tf.add_n(self._errors(features, training=True))
        gradients = tape.gradient(total, [v.value for v in self.variables])
        # One that explodes leaves the others alone: it has weights of its own.
        self.optimizer.apply(gradients, self.variables)

    def _measure(self, features):
        return tf.stack(self._errors(features, training=False))

    def _errors(self, features, training):
        return [
            relative_error(features[number + 1], model(features[number], training=training))
            for number, model in zip(self.numbers, self.models)
        ]


def match_scale(model: keras.Model, wanted: np.ndarray) -> None:
    """Starts a candidate at the mean and the deviation that its layer has in every channel.

    This is done by the batch norms that its output is the sum of; where its input is one of the
    terms it starts as that, and where nothing is normalised at the end nothing is changed.

    Args:
        model: the `keras.Model` of a candidate, not yet trained.
        wanted: array `[B, H, W, C]`, what the layer puts out.
    """
    norms, tensors = [], list(model.outputs)
    while tensors:
        operation = tensors.pop()._keras_history.operation
        if isinstance(operation, keras.layers.BatchNormalization):
            norms.append(operation)
        elif isinstance(operation, keras.layers.Add) or is_activation(operation):
            tensors += keras.tree.flatten(operation.input)
        elif isinstance(operation, keras.layers.InputLayer):
            return
    norms = [norm for norm in norms if np.any(norm.gamma.numpy())]
    for norm in norms:
        norm.gamma.assign(wanted.std((0, 1, 2)) / np.sqrt(len(norms)))
        norm.beta.assign(wanted.mean((0, 1, 2)) / len(norms))


def _schedule(peak, steps):
    warmup = max(1, steps // 50)
    return keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup), warmup_target=peak, warmup_steps=warmup
    )


def _compiled(model):
    """The features of images, with everything at rest."""

    def run(images):
        return [tf.stop_gradient(x) for x in model(images, training=False)]

    return tf.function(run, reduce_retracing=True, autograph=False)


def _batches(images: Any, batch_size: int, seed: int) -> tuple[Callable[[int], Iterable], int]:
    """A function of an epoch to its batches, and how many there are."""
    if isinstance(images, tf.data.Dataset):
        count = int(images.cardinality())
        if count < 0:  # unknown
            count = int(images.reduce(np.int64(0), lambda total, *_: total + 1))
        return (lambda epoch: map(_images_of, images)), _some(count)
    images = np.asarray(images)
    _some(len(images))
    size = min(batch_size, len(images))
    count = len(images) // size  # of whole batches: others would weigh more

    def epoch_of(epoch):
        order = np.random.default_rng([seed, epoch]).permutation(len(images))
        for number in range(count):
            yield tf.constant(images[order[number * size : (number + 1) * size]])

    return epoch_of, count


def _images_of(batch):
    """The images of a batch that may have labels."""
    return batch[0] if isinstance(batch, tuple) else batch


def _some(count: int) -> int:
    if not count:
        raise DataError("there are no images; expected at least one to distil from")
    return count
