"""What a shared gradient reveals of the images behind it, and whether a defence stops it."""

from tfgen.privacy.accounting import gaussian_epsilon, training_epsilon
from tfgen.privacy.analytic import exclusive_units, recover_dense_input, recover_dense_inputs
from tfgen.privacy.audit import GradientAudit
from tfgen.privacy.audit_result import AuditResult
from tfgen.privacy.classifiers import CLASSIFIERS, build_classifier
from tfgen.privacy.defences import (
    DEFENCES,
    DPSGD,
    Aggregation,
    GaussianNoise,
    GradientClipping,
    NoDefence,
    Quantization,
    SignCompression,
    TopKPruning,
    defence_from_config,
)
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
from tfgen.privacy.utility import trained_accuracy
from tfgen.privacy.verdict import Verdict

__all__ = [
    "ATTACKS",
    "CLASSIFIERS",
    "DEFENCES",
    "DPSGD",
    "LABEL_METHODS",
    "Aggregation",
    "AttackSettings",
    "AuditResult",
    "GaussianNoise",
    "GradientAudit",
    "GradientClipping",
    "GradientInversion",
    "Inversion",
    "NoDefence",
    "Quantization",
    "SharedNetwork",
    "SignCompression",
    "ThreatModel",
    "TopKPruning",
    "Verdict",
    "build_classifier",
    "defence_from_config",
    "exclusive_units",
    "gaussian_epsilon",
    "label_accuracy",
    "present_classes",
    "recover_dense_input",
    "recover_dense_inputs",
    "restore_labels",
    "trained_accuracy",
    "training_epsilon",
]
