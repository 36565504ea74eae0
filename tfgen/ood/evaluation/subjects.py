"""What is evaluated: something that gives every image one or several scores, and what they cost."""

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfgen import stopping
from tfgen.ood.evaluation.image_sets import ImageSet
from tfgen.ood.scores import Score

_REPEATS = 3
_PASSES_OF_ODIN = 3  # forward, backward, forward


class Scored(NamedTuple):
    """What a subject says of a set.

    Attributes:
        scores: dict of `[N]` by score.
        logits: `[N, C]`, or None where nothing is classified.
    """

    scores: dict[str, np.ndarray]
    logits: np.ndarray | None = None


class Cost(NamedTuple):
    """What a score takes.

    Attributes:
        passes: integer, passes through the network an image; None: not known.
        milliseconds: float, for an image in a batch, on this machine.
    """

    passes: int | None
    milliseconds: float


class Subject:
    """Base of what gives images scores.

    Attributes:
        image_shape: tuple `(H, W, C)`.
        notes: list of sentences about what was left out.
    """

    image_shape: tuple[int, ...]
    notes: list[str]

    def fit(self, images: ImageSet, batch_size: int) -> None:
        """Fits what can be fitted to in-distribution images."""

    def scored(self, images: ImageSet, batch_size: int) -> Scored:
        """All scores of a set."""
        raise NotImplementedError

    def costs(self, images: np.ndarray) -> dict[str, Cost]:
        """By score, measured on one batch."""
        raise NotImplementedError


class Network(Subject):
    """Scores of the outputs of one network, which are computed once for all of them."""

    def __init__(self, image_shape, outputs, scores: Iterable[Score]):
        self.image_shape, self._outputs, self.notes = tuple(image_shape), outputs, []
        self._scores = {score.name: score for score in scores}
        self._graphs = {}

    def scored(self, images, batch_size):
        found, logits = {name: [] for name in self._scores}, []
        for batch in images.batches(batch_size):
            stopping.check()
            outputs = self.outputs(tf.constant(batch))
            for name in self._scores:
                found[name].append(self._values(name, outputs).numpy())
            if "logits" in outputs:
                logits.append(outputs["logits"].numpy())
        scores = {name: np.concatenate(parts) for name, parts in found.items()}
        return Scored(scores, np.concatenate(logits) if logits else None)

    def outputs(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the network says of a batch, and the batch."""
        return {**self._outputs(images), "images": images}

    @property
    def score_names(self) -> tuple[str, ...]:
        """Of all its scores."""
        return tuple(self._scores)

    def score_of(self, name: str, images: tf.Tensor) -> tf.Tensor:
        """One score of a batch, `[B]`, differentiable by the images."""
        return self._values(name, self.outputs(images))

    def costs(self, images):
        images = tf.constant(images)
        outputs = self.outputs(images)
        network = seconds_of(lambda: self.outputs(images))
        found = {}
        for name, score in self._scores.items():
            alone = "images" in score.needs
            seconds = seconds_of(lambda name=name: self._values(name, outputs))
            seconds = seconds if alone else network + seconds
            milliseconds = 1e3 * seconds / len(images)
            found[name] = Cost(_PASSES_OF_ODIN if alone else 1, milliseconds)
        return found

    def _values(self, name, outputs) -> tf.Tensor:
        """A score of a batch, by one graph for batches of any size."""
        score = self._scores[name]
        outputs = {need: outputs[need] for need in score.needs}
        if name not in self._graphs:
            specs = {k: tf.TensorSpec([None, *v.shape[1:]], v.dtype) for k, v in outputs.items()}
            self._graphs[name] = tf.function(lambda given: score(given), [specs], autograph=False)
        return self._graphs[name](outputs)


def seconds_of(function: Callable) -> float:
    """Median of some runs, after one that may trace."""
    function()
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))
