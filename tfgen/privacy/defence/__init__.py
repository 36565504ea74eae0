"""What a client shares in place of its gradient, what that guarantees, and what it costs."""

from tfgen.privacy.defence.accounting import gaussian_epsilon, training_epsilon
from tfgen.privacy.defence.aggregation import Aggregation
from tfgen.privacy.defence.base import NoDefence
from tfgen.privacy.defence.catalogue import DEFENCES, defence_from_config
from tfgen.privacy.defence.compression import Quantization, SignCompression, TopKPruning
from tfgen.privacy.defence.noise import DPSGD, GaussianNoise, GradientClipping
from tfgen.privacy.defence.utility import trained_accuracy

__all__ = [
    "DEFENCES",
    "DPSGD",
    "Aggregation",
    "GaussianNoise",
    "GradientClipping",
    "NoDefence",
    "Quantization",
    "SignCompression",
    "TopKPruning",
    "defence_from_config",
    "gaussian_epsilon",
    "trained_accuracy",
    "training_epsilon",
]
