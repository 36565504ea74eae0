"""How well scores tell out-of-distribution images from others, for any model."""

from tfgen.ood.evaluation.classifier import Classifier
from tfgen.ood.evaluation.evaluator import Evaluator
from tfgen.ood.evaluation.image_sets import ImageSet
from tfgen.ood.evaluation.result import Evaluation, Row

__all__ = ["Classifier", "Evaluation", "Evaluator", "ImageSet", "Row"]
