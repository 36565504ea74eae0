"""HANT: a trained network made fast by cheaper layers (Molchanov et al., arXiv:2107.10624)."""

from tfgen.search.hant.front import Front, latency_front
from tfgen.search.hant.network import CutNetwork
from tfgen.search.hant.plans import InfeasibleError, Plan, diverse_plans, solve_plan
from tfgen.search.hant.problem import Limit

__all__ = [
    "CutNetwork",
    "Front",
    "InfeasibleError",
    "Limit",
    "Plan",
    "diverse_plans",
    "latency_front",
    "solve_plan",
]
