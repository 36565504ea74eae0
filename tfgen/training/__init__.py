"""What `fit` lacks, once: a guarded step, exact resume, schedules, callbacks and strategies."""

from tfgen.training.allocator import keep_freed_memory, peak_memory_gib
from tfgen.training.averages import averaged_weights, weights_kept
from tfgen.training.callbacks import (
    Checkpointing,
    NonFiniteError,
    NonFiniteGuard,
    StopOnSignal,
    TimeLimit,
)
from tfgen.training.checkpoint import CheckpointManager, load_weights_only
from tfgen.training.joint_optimizer import JointOptimizer
from tfgen.training.model import Model
from tfgen.training.precision import set_precision
from tfgen.training.progress import ProgressBar
from tfgen.training.reporting import CSVLog, SampleImages, TensorBoard
from tfgen.training.schedules import (
    KLWarmup,
    WarmupCosine,
    anneal_coefficient,
    balance_coefficients,
    group_weights,
)
from tfgen.training.step_output import StepOutput
from tfgen.training.strategy import distribute, strategy_from_name

__all__ = [
    "CSVLog",
    "CheckpointManager",
    "Checkpointing",
    "JointOptimizer",
    "KLWarmup",
    "Model",
    "NonFiniteError",
    "NonFiniteGuard",
    "ProgressBar",
    "SampleImages",
    "StepOutput",
    "StopOnSignal",
    "TensorBoard",
    "TimeLimit",
    "WarmupCosine",
    "anneal_coefficient",
    "averaged_weights",
    "balance_coefficients",
    "distribute",
    "group_weights",
    "keep_freed_memory",
    "load_weights_only",
    "peak_memory_gib",
    "set_precision",
    "strategy_from_name",
    "weights_kept",
]
