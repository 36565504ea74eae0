"""Knowing what a network was not made for: scores of out-of-distribution images.

Larger scores are more out-of-distribution, everywhere.
"""

from tfgen.ood import corruptions, scores, selection, transformations
from tfgen.ood.evaluation import (
    Classifier,
    Evaluation,
    Evaluator,
    measure_attack,
    measure_robustness,
    over_seeds,
)
from tfgen.ood.multi_task import MultiTaskOOD

__all__ = [
    "Classifier",
    "Evaluation",
    "Evaluator",
    "MultiTaskOOD",
    "corruptions",
    "measure_attack",
    "measure_robustness",
    "over_seeds",
    "scores",
    "selection",
    "transformations",
]
