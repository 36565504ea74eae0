"""What a shared gradient reveals of the images behind it, and whether a defence stops it.

Four rooms, each of which stands on those before it: `network`, what client and attacker share;
`attack`, from a gradient to images; `defence`, what is shared instead; `audit`, all of it measured.
"""

from tfgen.privacy.attack import (
    ATTACKS,
    LABEL_METHODS,
    AttackSettings,
    GradientInversion,
    Inversion,
    ThreatModel,
    exclusive_units,
    label_accuracy,
    present_classes,
    recover_dense_input,
    recover_dense_inputs,
    restore_labels,
)
from tfgen.privacy.audit import AuditResult, GradientAudit, Verdict
from tfgen.privacy.defence import (
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
    gaussian_epsilon,
    trained_accuracy,
    training_epsilon,
)
from tfgen.privacy.network import CLASSIFIERS, SharedNetwork, build_classifier

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
