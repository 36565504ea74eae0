"""Scores that take the heads of transformed images; larger is more out-of-distribution."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen.ood.multi_task.network import Network
from tfgen.ood.scores import Combined, KLToUniform, Mahalanobis, Score
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
    parts = list(found)
    found.append(SelfSupervised(weights, normalised, shapes=shapes))
    for name, part in zip(("combined", "combined_ensemble"), parts):
        found.append(_together([_like(part), SelfSupervised(weights)], name))
    shapes = Mahalanobis.shapes_of(network.num_features, 1)
    distance = Mahalanobis(1, name="distance", shapes=shapes)
    members = [*map(_like, parts[:1]), SelfSupervised(weights), distance]
    return [*found, distance, _together(members, "combined_distance")]


def _together(parts, name):
    return Combined(parts, name=name, shapes=Combined.shapes_of(len(parts)))


def _like(score):
    return type(score).from_config(score.get_config())
