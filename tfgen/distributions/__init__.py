"""TFP distributions the papers need: relative posteriors and decoders of images."""

from tfgen.distributions.cropped_bernoulli import CroppedBernoulli
from tfgen.distributions.discretized_logistic_mixture import DiscretizedLogisticMixture
from tfgen.distributions.pixel_normal import PixelNormal
from tfgen.distributions.residual_normal import ClampedNormal, ResidualNormal

__all__ = [
    "ClampedNormal",
    "CroppedBernoulli",
    "DiscretizedLogisticMixture",
    "PixelNormal",
    "ResidualNormal",
]
