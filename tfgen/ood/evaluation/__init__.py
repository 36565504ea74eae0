"""How well scores tell out-of-distribution images from others, for any model."""

from tfgen.ood.evaluation.attack import AttackedScore, measure_attack
from tfgen.ood.evaluation.classifier import Classifier
from tfgen.ood.evaluation.evaluator import Evaluator
from tfgen.ood.evaluation.image_sets import ImageSet
from tfgen.ood.evaluation.result import Evaluation, Row
from tfgen.ood.evaluation.robustness import Cell, Robustness, measure_robustness
from tfgen.ood.evaluation.seeds import SeedSummary, over_seeds

__all__ = [
    "AttackedScore",
    "Cell",
    "Classifier",
    "Evaluation",
    "Evaluator",
    "ImageSet",
    "Robustness",
    "Row",
    "SeedSummary",
    "measure_attack",
    "measure_robustness",
    "over_seeds",
]
