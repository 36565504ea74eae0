"""HANT: a trained network made fast by cheaper layers (Molchanov et al., arXiv:2107.10624)."""

from tfgen.search.hant.batch_norm import reestimate
from tfgen.search.hant.classifier import NetworkClassifier
from tfgen.search.hant.distillation import distil
from tfgen.search.hant.fine_tuning import fine_tune
from tfgen.search.hant.folded_network import fold_batch_norm
from tfgen.search.hant.front import Front, latency_front
from tfgen.search.hant.grouping import Grouping, coarser
from tfgen.search.hant.hant import HANT
from tfgen.search.hant.int8 import Int8Model, quantize, quantize_aware
from tfgen.search.hant.library import Library
from tfgen.search.hant.network import CutNetwork
from tfgen.search.hant.plans import (
    InfeasibleError,
    Plan,
    diverse_plans,
    nearby_plan,
    solve_plan,
    solve_segments,
)
from tfgen.search.hant.pool import full_pool, small_pool
from tfgen.search.hant.problem import Limit
from tfgen.search.hant.scores import score_swaps
from tfgen.search.hant.teachers import application, mobile_network

__all__ = [
    "HANT",
    "CutNetwork",
    "Front",
    "Grouping",
    "InfeasibleError",
    "Int8Model",
    "Library",
    "Limit",
    "NetworkClassifier",
    "Plan",
    "application",
    "coarser",
    "distil",
    "diverse_plans",
    "fine_tune",
    "fold_batch_norm",
    "full_pool",
    "latency_front",
    "mobile_network",
    "nearby_plan",
    "quantize",
    "quantize_aware",
    "reestimate",
    "score_swaps",
    "small_pool",
    "solve_plan",
    "solve_segments",
]
