"""What an attacker makes of a gradient: labels by rules, images by optimisation."""

from tfgen.privacy.attack.analytic import exclusive_units, recover_dense_input, recover_dense_inputs
from tfgen.privacy.attack.inversion import GradientInversion, Inversion
from tfgen.privacy.attack.labels import (
    LABEL_METHODS,
    label_accuracy,
    present_classes,
    restore_labels,
)
from tfgen.privacy.attack.settings import ATTACKS, AttackSettings
from tfgen.privacy.attack.threat_model import ThreatModel

__all__ = [
    "ATTACKS",
    "LABEL_METHODS",
    "AttackSettings",
    "GradientInversion",
    "Inversion",
    "ThreatModel",
    "exclusive_units",
    "label_accuracy",
    "present_classes",
    "recover_dense_input",
    "recover_dense_inputs",
    "restore_labels",
]
