"""What a shared gradient reveals of the images behind it, and whether a defence stops it."""

from tfgen.privacy.analytic import exclusive_units, recover_dense_input, recover_dense_inputs
from tfgen.privacy.classifiers import CLASSIFIERS, build_classifier
from tfgen.privacy.inversion import GradientInversion, Inversion
from tfgen.privacy.labels import (
    LABEL_METHODS,
    label_accuracy,
    present_classes,
    restore_labels,
)
from tfgen.privacy.network import SharedNetwork
from tfgen.privacy.settings import ATTACKS, AttackSettings
from tfgen.privacy.threat_model import ThreatModel

__all__ = [
    "ATTACKS",
    "CLASSIFIERS",
    "LABEL_METHODS",
    "AttackSettings",
    "GradientInversion",
    "Inversion",
    "SharedNetwork",
    "ThreatModel",
    "build_classifier",
    "exclusive_units",
    "label_accuracy",
    "present_classes",
    "recover_dense_input",
    "recover_dense_inputs",
    "restore_labels",
]
