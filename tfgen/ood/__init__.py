"""Knowing what a network was not made for: scores of out-of-distribution images.

Larger scores are more out-of-distribution, everywhere.
"""

from tfgen.ood import corruptions, scores
from tfgen.ood.evaluation import (
    Classifier,
    Evaluation,
    Evaluator,
    measure_attack,
    measure_robustness,
)

__all__ = [
    "Classifier",
    "Evaluation",
    "Evaluator",
    "corruptions",
    "measure_attack",
    "measure_robustness",
    "scores",
]
