"""Outliers that are changed, by no more than anyone sees, to look in-distribution."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfgen import stopping
from tfgen.metrics import auroc
from tfgen.ood.evaluation.evaluator import Evaluator
from tfgen.ood.evaluation.image_sets import ImageSet
from tfgen.ood.evaluation.subjects import Network
from tfgen.ops.checks import in_range, whole_number

_REACH = 2.5  # times the radius is how far all steps together go (Madry et al., 2018)


@dataclasses.dataclass(frozen=True)
class AttackedScore:
    """One score of one model against one set of outliers, as they are and attacked.

    Attributes:
        model: string, the model's name.
        score: string, the score's name.
        out_name: string, the set of outliers.
        auroc: float, of the outliers as they are.
        auroc_attacked: float, of the same outliers, each moved to lower this score.
    """

    model: str
    score: str
    out_name: str
    auroc: float
    auroc_attacked: float


def measure_attack(
    evaluator: Evaluator,
    levels: float = 2.0,
    num_steps: int = 10,
    num_images: int | None = 200,
    seed: int = 0,
) -> tuple[AttackedScore, ...]:
    """What is left of the AUROC when outliers are moved against each score by its gradient.

    Projected gradient descent (Madry et al., 2018): steps along the sign of the score's gradient,
    within a distance of every pixel and within [0, 1]. Scores that have no gradient, as those of
    objects with `ood_score` alone, are left out.

    Args:
        evaluator: the `Evaluator` of the models and sets.
        levels: float, above 0, the farthest that a pixel moves, in levels of 255. Defaults to
            `2.0`.
        num_steps: integer, at least 1. Defaults to `10`.
        num_images: integer, how many outliers of each set, drawn at random; None: all. Defaults to
            `200`.
        seed: integer, of that draw. Defaults to `0`.

    Returns:
        A tuple with an `AttackedScore` for each score of each model and each set.

    Raises:
        ConfigError: a number is out of range.
    """
    in_range("levels", levels, 0.0, above=True)
    whole_number("num_steps", num_steps, 1)
    evaluator.fit()
    found = []
    for model, subject in evaluator.subjects.items():
        if not isinstance(subject, Network):
            continue
        inside = evaluator.scored(model, evaluator.in_set).scores
        for each in evaluator.out_sets:
            outliers = each.at_most(num_images, seed)
            clean = evaluator.scored(model, outliers).scores
            for score in subject.score_names:
                batches = [
                    attacked(subject, score, batch, levels / 255.0, num_steps)
                    for batch in outliers.batches(evaluator.batch_size)
                ]
                moved = ImageSet(outliers.name, np.concatenate(batches))
                after = evaluator.scored(model, moved).scores[score]
                areas = (auroc(inside[score], outside) for outside in (clean[score], after))
                found.append(AttackedScore(model, score, each.name, *areas))
    return tuple(found)


def attacked(
    subject: Network, score: str, images: np.ndarray, epsilon: float, num_steps: int
) -> np.ndarray:
    """Images moved to lower a score, float32 `[B, H, W, C]` in [0, 1].

    Args:
        subject: the `Network` whose score it is.
        score: string, its name.
        images: float32 `[B, H, W, C]` in [0, 1].
        epsilon: float, the farthest that a pixel moves.
        num_steps: integer, how many steps.
    """
    start = tf.constant(images)
    low, high = tf.maximum(start - epsilon, 0.0), tf.minimum(start + epsilon, 1.0)
    moved, step = start, _REACH * epsilon / num_steps
    for _ in range(num_steps):
        stopping.check()
        with tf.GradientTape() as tape:
            tape.watch(moved)
            values = subject.score_of(score, moved)
        moved = tf.clip_by_value(moved - step * tf.sign(tape.gradient(values, moved)), low, high)
    return moved.numpy()
