"""Several scores as one, each by how rare it is among in-distribution images."""

import math
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError, DataError
from tfgen.ood.scores.base import Score, check_score

NUM_KNOTS = 64
_FOLDS = 5
_LEAST_IMAGES = 3
_LEAST = 1e-6  # of a score's spread: widths between knots, and the mean of a tail, at least


@keras.saving.register_keras_serializable(package="tfgen")
class Combined(Score):
    """Fisher's method (1932): the sum of -log p, p the share of in-distribution images as high.

    Every score is a test of "this image is in-distribution", and p its p-value. Whatever the shape
    of a score, -log p is distributed alike over in-distribution images, by Exponential(1), so that
    none outweighs another by a heavier tail, as sums of standardised scores allow. Among ways to
    combine independent tests it is asymptotically optimal (Littell & Folks, 1971).

    -log p is read off quantiles of N in-distribution images, linearly in between; the tail behind
    the ceil(sqrt(N)) highest is taken to be exponential, so that there is no largest value.

    A part that has statistics is fitted as well. Images that it was fitted to are nearer to it than
    others like them, so its quantiles are those of images it has not seen: each fifth of them is
    scored by a copy that was fitted to the rest.

    Args:
        parts: sequence of `Score`, or as Keras serialises them.
        name: string, the score's name.
        shapes: dict of the shape of each statistic, which `fit` finds; None: not fitted.

    Raises:
        ConfigError: there is no part, or one is no score, or one that needs images, as ODIN does.
    """

    fitted_to = ("knots", "inverse_widths", "tail", "reach")
    default_name = "combined"

    def __init__(self, parts: Sequence, name=None, shapes=None, **kwargs):
        super().__init__(shapes=shapes, name=name, **kwargs)
        self.parts = [
            keras.saving.deserialize_keras_object(dict(part)) if isinstance(part, Mapping) else part
            for part in ([parts] if isinstance(parts, Score | str) else parts)
        ]
        for part in self.parts:
            check_score(part)
            if "images" in part.needs:
                raise ConfigError(
                    f"{part.name!r} computes gradients of images and cannot be part of "
                    f"{self.name!r}; combine scores of what the network says"
                )
        if not self.parts:
            raise ConfigError(f"there are no scores to combine in {self.name!r}; give at least one")
        self.needs = tuple(dict.fromkeys(need for part in self.parts for need in part.needs))

    @property
    def needs_labels(self):
        return any(part.needs_labels for part in self.parts)

    @property
    def needs_head(self):
        return any(part.needs_head for part in self.parts)

    @property
    def is_fitted(self):
        return super().is_fitted and all(part.is_fitted for part in self.parts)

    def build(self, input_shape=None):
        for part in self.parts:
            if part.is_fitted:
                part.build()
        super().build(input_shape)

    @staticmethod
    def shapes_of(num_parts: int) -> dict[str, list[int]]:
        """The shape of each statistic of so many parts, a dict by name."""
        return {
            "knots": [num_parts, NUM_KNOTS],
            "inverse_widths": [num_parts, NUM_KNOTS - 1],
            "tail": [num_parts],
            "reach": [],
        }

    def statistics(self, *arrays, labels, head):
        outputs = dict(zip(self.needs, arrays))
        values = np.stack([self._unseen_values(p, outputs, labels, head) for p in self.parts])
        spreads = values.std(axis=1, keepdims=True)
        if not np.all(spreads > 0.0):
            name = self.parts[int(np.argmin(spreads))].name
            raise DataError(
                f"the score {name!r} is the same for all in-distribution images, and cannot be "
                f"part of {self.name!r}; give more images to fit to"
            )
        count = values.shape[1]
        reach = math.log(count / math.ceil(math.sqrt(count)))
        below = -np.expm1(-np.linspace(0.0, reach, NUM_KNOTS))
        knots = np.quantile(values, below, axis=1).T
        widths = np.maximum(np.diff(knots, axis=1), _LEAST * spreads)
        excesses = [row[row >= knot].mean() - knot for row, knot in zip(values, knots[:, -1])]
        tail = np.maximum(excesses, _LEAST * spreads[:, 0])
        return {"knots": knots, "inverse_widths": 1.0 / widths, "tail": tail, "reach": reach}

    def compute(self, *tensors):
        values = tf.expand_dims(self._values(dict(zip(self.needs, tensors))), 2)
        knots = tf.expand_dims(self.statistic("knots"), 1)
        inverse = tf.expand_dims(self.statistic("inverse_widths"), 1)
        passed = tf.clip_by_value((values - knots[:, :, :-1]) * inverse, 0.0, 1.0)
        within = self.statistic("reach") * tf.reduce_mean(passed, axis=2)
        behind = tf.nn.relu(values[:, :, 0] - knots[:, :, -1])
        behind /= tf.expand_dims(self.statistic("tail"), 1)
        return tf.reduce_sum(within + behind, axis=0)

    def _values(self, outputs):
        return tf.stack([part(outputs) for part in self.parts])

    def _unseen_values(self, part, outputs, labels, head):
        """A part of in-distribution images, `[N]` float64, and the part fitted to all of them."""
        if not part.fitted_to:
            return _values_of(part, outputs)
        count = len(outputs[self.needs[0]])
        if count < _LEAST_IMAGES:
            raise DataError(
                f"{count} images came to fit {part.name!r} in {self.name!r}; expected at least "
                f"{_LEAST_IMAGES}, since each is scored by what the others say"
            )
        values, folds = np.empty(count), np.random.default_rng(0).permutation(count) % _FOLDS
        for fold in range(min(_FOLDS, count)):
            rest, own = folds != fold, folds == fold
            copy = type(part).from_config({**part.get_config(), "shapes": None})
            copy.fit(_rows(outputs, rest), None if labels is None else labels[rest], head)
            values[own] = _values_of(copy, _rows(outputs, own))
        part.fit(outputs, labels, head)
        return values

    def get_config(self):
        parts = [keras.saving.serialize_keras_object(part) for part in self.parts]
        return {**super().get_config(), "parts": parts}


def _values_of(score, outputs):
    tensors = {name: tf.constant(array, tf.float32) for name, array in outputs.items()}
    return np.asarray(score(tensors), np.float64)


def _rows(outputs, chosen):
    return {name: array[chosen] for name, array in outputs.items()}
