"""What `fit` lacks, once: a guarded step, exact resume, schedules, callbacks and strategies."""

from tfgen.training.checkpoint import CheckpointManager, load_weights_only
from tfgen.training.files import replace_dir, replace_file
from tfgen.training.model import Model
from tfgen.training.schedules import (
    KLWarmup,
    WarmupCosine,
    anneal_coefficient,
    balance_coefficients,
    group_weights,
)
from tfgen.training.strategy import distribute, set_precision, strategy_from_name

__all__ = [
    "CheckpointManager",
    "KLWarmup",
    "Model",
    "WarmupCosine",
    "anneal_coefficient",
    "balance_coefficients",
    "distribute",
    "group_weights",
    "load_weights_only",
    "replace_dir",
    "replace_file",
    "set_precision",
    "strategy_from_name",
]
