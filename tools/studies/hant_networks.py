"""Networks of many plans, put together of parts that are traced once each."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen.search.hant import HANT, CutNetwork
from tfgen.search.hant.chain import at_rest
from tfgen.search.hant.library import Library
from tfgen.search.hant.scores import gives_probabilities, log_probabilities

BATCH = 128


class Networks:
    """Networks of plans, put together of parts that are traced once each.

    Args:
        hant: the `HANT`.
        cut: `CutNetwork` of the same network once more, whose moving statistics are changed.
        images: array `[N, H, W, C]`.
        labels: `[N]` integers.
    """

    def __init__(self, hant: HANT, cut: CutNetwork, images: np.ndarray, labels: np.ndarray):
        pool, activation = hant.library.operations.values(), hant.library.activation
        self.operations = hant.operations
        self.library = Library(hant.library.folder, cut, pool, activation)
        self.parts: dict[tuple[int, int], _Part | None] = {}
        self.ends = [
            _Part(keras.Model(cut.network.inputs[0], cut.segments[0].input)),
            _Part(cut.tail(len(cut.segments) - 1)),
        ]
        starts = range(0, len(images), BATCH)
        self.images = [tf.constant(images[k : k + BATCH]) for k in starts]
        self.labels = np.asarray(labels)
        self.probabilities = gives_probabilities(cut.network)
        self.teacher = self._log_p(at_rest(cut.network))

    def losses(self, choices: Sequence[int], *, anew: bool = True) -> dict[str, float]:
        """What the network of a plan loses to the labels and to the teacher, by measure.

        Args:
            choices: sequence of integers, the operations.
            anew: whether moving statistics are those of the network on these images, or those that
                its parts have kept.
        """
        parts = [self.ends[0], *map(self._part, range(len(choices)), choices), self.ends[1]]
        parts = [part for part in parts if part is not None]
        for part in parts:
            part.reset()
        if anew:
            self._reestimate(parts)
        found = self._log_p(lambda x: _through(parts, x, "resting"))
        rows = np.arange(len(found))
        right = np.mean(found.argmax(1) == self.labels)
        known = np.mean(self.teacher.argmax(1) == self.labels)
        return {
            "loss": float(-np.mean(found[rows, self.labels])),
            "kl": float(np.mean(np.sum(np.exp(self.teacher) * (self.teacher - found), axis=1))),
            "accuracy": float(known - right),
        }

    def _reestimate(self, parts):
        """As `tfgen.search.hant.reestimate` does it, without a trace of the whole."""
        variables = [variable for part in parts for variable in part.variables]
        totals = [0.0] * len(variables)
        for x in self.images:
            _through(parts, x, "training")
            totals = [total + v.numpy().astype(np.float64) for total, v in zip(totals, variables)]
        for total, variable in zip(totals, variables):
            variable.assign(total / len(self.images))

    def _part(self, number, place):
        if (number, place) not in self.parts:
            model = self.library.candidate(number, self.operations[place])
            self.parts[number, place] = None if model is None else _Part(model)
        return self.parts[number, place]

    def _log_p(self, run):
        return np.concatenate([log_probabilities(run(x), self.probabilities) for x in self.images])


class _Part:
    """A model as two functions, and the moving statistics it came with."""

    def __init__(self, model):
        self.model, self.resting = model, at_rest(model)
        norms = [n for n in model.layers if isinstance(n, keras.layers.BatchNormalization)]
        for norm in norms:
            norm.momentum = 0.0  # what a step leaves is then the batch's own
        self.training = tf.function(
            lambda x: model(x, training=True), reduce_retracing=True, autograph=False
        )
        self.variables = [w for n in norms for w in (n.moving_mean, n.moving_variance)]
        self.known = [variable.numpy() for variable in self.variables]

    def reset(self):
        """Sets the moving statistics back."""
        for variable, value in zip(self.variables, self.known):
            variable.assign(value)


def _through(parts, x, mode):
    for part in parts:
        x = getattr(part, mode)(x)
    return x
