"""Scores that take the heads of transformed images; larger is more out-of-distribution."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import DataError
from tfgen.ood.multi_task.network import Network
from tfgen.ood.scores import KLToUniform, Score
from tfgen.ops.checks import in_range


@keras.saving.register_keras_serializable(package="tfgen")
class EnsembleKLToUniform(KLToUniform):
    """Minus KL(U || p), p the mean softmax of the classifier and of transformed images' heads.

    Each transformation counts as much as the classifier itself.

    Args:
        name: string, the score's name.
    """

    needs = ("ensemble",)
    default_name = "ensemble"


@keras.saving.register_keras_serializable(package="tfgen")
class SelfSupervised(Score):
    """How badly the heads tell the levels of an image: the weighted sum of their cross-entropies.

    Args:
        task_weights: sequence of floats, one for each task; None: 1 for all.
        normalised: whether each task's losses are divided by their mean over in-distribution
            images first. Defaults to `False`.
        name: string, the score's name.
        shapes: dict of the shape of each statistic, which `fit` finds; None: not fitted.

    Raises:
        ConfigError: a weight is below 0.
    """

    needs = ("task_losses",)
    default_name = "ssl"

    def __init__(
        self,
        task_weights: Sequence[float] | None = None,
        normalised: bool = False,
        name=None,
        shapes=None,
        **kwargs,
    ):
        self.fitted_to = ("scales",) if normalised else ()
        super().__init__(shapes=shapes, name=name, **kwargs)
        if task_weights is not None:
            in_range("task_weights", task_weights, 0.0)
            task_weights = [float(weight) for weight in task_weights]
        self.task_weights, self.normalised = task_weights, normalised

    def statistics(self, losses, *, labels, head):
        del labels, head
        return {"scales": 1.0 / np.maximum(losses.mean(axis=0), 1e-6)}

    def compute(self, losses):
        if self.normalised:
            losses *= self.statistic("scales")
        if self.task_weights is not None:
            losses *= tf.constant(self.task_weights, tf.float32)
        return tf.reduce_sum(losses, axis=-1)

    def get_config(self):
        own = {"task_weights": self.task_weights, "normalised": self.normalised}
        return {**super().get_config(), "shapes": self.shapes, **own}


@keras.saving.register_keras_serializable(package="tfgen")
class Combined(Score):
    """The sum of scores, each less its in-distribution mean and over its standard deviation.

    Args:
        parts: sequence of `Score` with nothing to fit, or as Keras serialises them.
        name: string, the score's name.
        shapes: dict of the shape of each statistic, which `fit` finds; None: not fitted.

    Raises:
        DataError: a part has to be fitted itself.
    """

    fitted_to = ("mean", "inverse_std")
    default_name = "combined"

    def __init__(self, parts: Sequence, name=None, shapes=None, **kwargs):
        super().__init__(shapes=shapes, name=name, **kwargs)
        self.parts = [
            keras.saving.deserialize_keras_object(dict(part)) if isinstance(part, Mapping) else part
            for part in parts
        ]
        for part in self.parts:
            if part.fitted_to:
                raise DataError(
                    f"the score {part.name!r} has to be fitted itself; combine scores without "
                    "statistics of their own"
                )
        self.needs = tuple(dict.fromkeys(need for part in self.parts for need in part.needs))

    def statistics(self, *arrays, labels, head):
        del labels, head
        outputs = {n: tf.constant(array, tf.float32) for n, array in zip(self.needs, arrays)}
        values = np.asarray(self._values(outputs), np.float64)
        std = values.std(axis=1)
        if not np.all(std > 0.0):
            name = self.parts[int(np.argmin(std))].name
            raise DataError(
                f"the score {name!r} is the same for all in-distribution images, and cannot be "
                f"part of {self.name!r}; give more images to fit to"
            )
        return {"mean": values.mean(axis=1), "inverse_std": 1.0 / std}

    def compute(self, *tensors):
        values = self._values(dict(zip(self.needs, tensors)))
        mean = tf.expand_dims(self.statistic("mean"), 1)
        inverse = tf.expand_dims(self.statistic("inverse_std"), 1)
        return tf.reduce_sum((values - mean) * inverse, axis=0)

    def _values(self, outputs):
        return tf.stack([part(outputs) for part in self.parts])

    def get_config(self):
        parts = [keras.saving.serialize_keras_object(part) for part in self.parts]
        return {**super().get_config(), "parts": parts}


def own_scores(network: Network, task_weights: str) -> list[Score]:
    """Those that a model has the heads for, with room for what they are fitted to.

    Args:
        network: the `Network` of the model.
        task_weights: string, what tasks count in the self-supervised score: "one", their "weights",
            or "normalised".
    """
    found, ssl = [], network.ssl_tasks
    if network.main is not None:
        found.append(KLToUniform(name="main"))
    if network.supervised_tasks:
        found.append(EnsembleKLToUniform())
    if not ssl:
        return found
    weights = [task.ssl_weight for task in ssl] if task_weights == "weights" else None
    normalised = task_weights == "normalised"
    shapes = {"scales": [len(ssl)]} if normalised else None
    parts, shapes_of_two = list(found), {"mean": [2], "inverse_std": [2]}
    found.append(SelfSupervised(weights, normalised, shapes=shapes))
    for name, part in zip(("combined", "combined_ensemble"), parts):
        both = [type(part).from_config(part.get_config()), SelfSupervised(weights)]
        found.append(Combined(both, name=name, shapes=shapes_of_two))
    return found
