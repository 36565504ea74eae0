"""What `fit` lacks, once: a guarded step, exact resume, schedules, callbacks and strategies."""

from tfgen.training.files import replace_dir, replace_file
from tfgen.training.model import Model
from tfgen.training.schedules import (
    KLWarmup,
    WarmupCosine,
    anneal_coefficient,
    balance_coefficients,
    group_weights,
)

__all__ = [
    "KLWarmup",
    "Model",
    "WarmupCosine",
    "anneal_coefficient",
    "balance_coefficients",
    "group_weights",
    "replace_dir",
    "replace_file",
]
