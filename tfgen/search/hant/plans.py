"""Plans: an operation for every layer, by an integer programme that is solved to optimality.

Choices are independent to first order, so that losses add up (LANA, arXiv:2107.10624). The sum is
minimised under limits that are sums too; further plans differ from earlier ones in a given share of
the layers, since what adds up only nearly is best tried out several times.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from tfgen import stopping
from tfgen.errors import ConfigError, UserError
from tfgen.ops.checks import in_range, whole_number
from tfgen.search.hant.problem import Limit, Problem, Rows
from tfgen.search.hant.programme import ROUNDING, Program
from tfgen.search.hant.segments import Runs


class InfeasibleError(UserError):
    """No choice of operations stays within the limits."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """An operation for every layer.

    Attributes:
        choices: tuple of integers, one a layer; of runs of layers one a run, None where it is not
            taken.
        score: float, sum of what they lose.
        costs: dict of the sum of every limit by its name; `"latency"` in ms is always there.
        optimal: whether it is proved that none loses less. Defaults to `True`.
    """

    choices: tuple[int | None, ...]
    score: float
    costs: dict[str, float]
    optimal: bool = True

    @property
    def latency_ms(self) -> float:
        """Sum of the latencies."""
        return self.costs["latency"]

    def overlap(self, other: "Plan") -> int:
        """Layers, or runs of them, in which both have the same operation.

        Args:
            other: a `Plan` of as many layers.
        """
        return sum(a == b for a, b in zip(self.choices, other.choices) if a is not None)


def solve_plan(
    scores: Rows, latencies_ms: Rows, budget_ms: float, limits: Sequence[Limit] = ()
) -> list[int]:
    """The operations that lose least within a budget.

    Args:
        scores: sequence of N arrays, one a layer, what each of its operations loses; infinity is
            one that cannot be used.
        latencies_ms: sequence of N arrays alike, milliseconds; likewise.
        budget_ms: float, the most that all together may take, itself included.
        limits: sequence of further `Limit`, such as of size or of a second device's latency.
            Defaults to `()`.

    Returns:
        N integers, the chosen operation of every layer. There may be other choices as good.

    Raises:
        InfeasibleError: nothing stays within the budget, with the smallest that could be met; or
            within the other limits.
        ConfigError: shapes do not fit, or something is no number.

    Example:

    >>> from tfgen.search.hant import solve_plan
    >>> scores = [[0, 1, 4], [0, 2, 3], [0, 0.5, 5]]
    >>> solve_plan(scores, [[4, 2, 0], [3, 1, 0], [5, 4, 0]], budget_ms=9)
    [1, 0, 1]
    """
    problem = _problem(scores, latencies_ms, budget_ms, limits)
    return list(_first(problem).choices)


def diverse_plans(
    scores: Rows,
    latencies_ms: Rows,
    budget_ms: float,
    num_plans: int = 100,
    overlap: float = 0.7,
    limits: Sequence[Limit] = (),
    patience: float | None = None,
    gap: float = 0.0,
    runs: Sequence[tuple[int, int]] | None = None,
) -> list[Plan]:
    """Plans in turn, each the best that shares few enough layers with every earlier one.

    Later plans are harder to prove optimal: with dozens of layers of hundreds of operations give
    them some patience, or a gap.

    Args:
        scores: sequence of N arrays, as of `solve_plan`.
        latencies_ms: sequence of N arrays, milliseconds.
        budget_ms: float, the most that a plan may take.
        num_plans: integer, plans at most. Defaults to `100`.
        overlap: float, share of the layers, rounded down, in which two plans may be the same.
            Defaults to `0.7`.
        limits: sequence of further `Limit`. Defaults to `()`.
        patience: float, seconds for every plan, after which the best found is taken; None waits.
        gap: float, the share by which a plan may lose more than the best. Defaults to `0.0`.
        runs: sequence of pairs, as of `solve_segments`, the layers that each array is of; None is
            every layer by itself.

    Returns:
        Plans from best to worst if all are optimal; fewer than wanted where there are no more.

    Raises:
        InfeasibleError: there is none at all.
        ConfigError: shapes do not fit, or a number is out of range.
    """
    whole_number("num_plans", num_plans, 1)
    in_range("overlap", overlap, 0.0, most=1.0)
    in_range("gap", gap, 0.0)
    if patience is not None:
        in_range("patience", patience, 0.0, above=True)
    problem = _problem(scores, latencies_ms, budget_ms, limits, runs)
    # A share such as 0.7 is no binary fraction: of 10 layers it leaves 7.
    most = math.floor(overlap * problem.num_layers + 1e-9)
    plans = [_first(problem, patience, gap)]
    while len(plans) < num_plans:
        stopping.check()
        found = _solve(problem, [plan.choices for plan in plans], most, patience, gap)
        if found is None:
            break
        plans.append(found)
    return plans


def nearby_plan(
    scores: Rows,
    latencies_ms: Rows,
    budget_ms: float,
    choices: Sequence[int],
    num_changes: int,
    limits: Sequence[Limit] = (),
) -> Plan:
    """The best plan that differs from another one in a few layers.

    Scores that were found around a network hold in its neighbourhood.

    Args:
        scores: sequence of N arrays, as of `solve_plan`.
        latencies_ms: sequence of N arrays, milliseconds.
        budget_ms: float, the most that the plan may take.
        choices: sequence of N integers, the other plan.
        num_changes: integer, layers in which the two may differ, at most.
        limits: sequence of further `Limit`. Defaults to `()`.

    Raises:
        InfeasibleError: no such plan stays within the limits.
        ConfigError: shapes do not fit, or a number is out of range.
    """
    problem = _problem(scores, latencies_ms, budget_ms, limits)
    whole_number("num_changes", num_changes, 0, problem.num_layers)
    if len(choices) != problem.num_layers:
        raise ConfigError(
            f"there are {len(choices)} choices of {problem.num_layers} layers; expected one each"
        )
    found = _solve(problem, [], 0, None, 0.0, (tuple(choices), problem.num_layers - num_changes))
    if found is None:
        _first(problem)  # says so if there is no plan at all
        raise InfeasibleError(
            f"no plan within the limits is made by {num_changes} changes; allow more of them"
        )
    return found


def solve_segments(
    runs: Sequence[tuple[int, int]], scores: Rows, latencies_ms: Rows, budget_ms: float
) -> list[tuple[int, int]]:
    """The runs of layers, and the operation of each, that lose least within a budget.

    Args:
        runs: sequence of pairs `(first, last)`, numbers of the layers that operations stand for,
            both included; layers count from 0.
        scores: sequence of arrays, one a run, what each of its operations loses; infinity is one
            that cannot be used.
        latencies_ms: sequence of arrays alike, milliseconds.
        budget_ms: float, the most that all together may take, itself included.

    Returns:
        Pairs of a run's place among `runs` and the place of its operation, in the order of layers.

    Raises:
        InfeasibleError: nothing stays within the budget, with the smallest that could be met.
        ConfigError: runs leave a layer out, shapes do not fit, or something is no number.

    Example:

    >>> from tfgen.search.hant import solve_segments
    >>> runs = [(0, 0), (1, 1), (0, 1)]  # two layers, and both as one
    >>> solve_segments(runs, [[0, 2], [0, 3], [1.5]], [[4, 2], [4, 2], [3]], budget_ms=5)
    [(2, 0)]
    """
    problem = _problem(scores, latencies_ms, budget_ms, (), runs)
    choices = _first(problem).choices
    return [(place, choices[place]) for place in problem.runs.in_order(choices)]


def _problem(scores, latencies_ms, budget_ms, limits, runs=None):
    limits = [Limit("latency", latencies_ms, budget_ms, "ms"), *limits]
    return Problem(scores, limits, None if runs is None else Runs(runs))


def _first(problem, patience=None, gap=0.0) -> Plan:
    found = _solve(problem, [], 0, patience, gap)
    if found is None:
        raise InfeasibleError(_why(problem))
    return found


def _solve(problem, earlier, most_shared, patience, gap, near=None) -> Plan | None:
    """The best plan, or None where there is none; `near` is a plan and how much of it stays."""
    forbidden = []
    while True:
        kept = problem.worthwhile([*earlier, *forbidden], near and near[0])
        program = Program(problem, kept)
        for plan in earlier:
            program.share(plan, most_shared)
        for plan in forbidden:
            program.share(plan, problem.num_layers - 1)
        if near is not None:
            program.keep(*near)
        scores = np.concatenate([row[places] for row, places in zip(problem.scores, kept)])
        choices, optimal = program.minimise(scores, patience, gap)
        if choices is None:
            return None
        if all(_within(limit, problem.sum(limit.costs, choices)) for limit in problem.limits):
            costs = {x.name: problem.sum(x.costs, choices) for x in problem.limits}
            return Plan(tuple(choices), problem.sum(problem.scores, choices), costs, optimal)
        forbidden.append(choices)  # over a limit by less than the solver sees


def _within(limit, value) -> bool:
    return value <= limit.most + ROUNDING * max(abs(limit.most), 1e-300)


def _why(problem) -> str:
    """One sentence: which limit is too tight, and what would do."""
    latency, *others = problem.limits
    alone = [x for x in problem.limits if not _within(x, problem.least(x))]
    if alone:
        limit = alone[0]
        return (
            f"a {limit.name} of {limit.shown(limit.most)} cannot be met: the smallest there is is "
            f"{limit.shown(problem.least(limit))}"
        )
    open_ended = dataclasses.replace(latency, most=math.inf)
    rest = Problem(problem.scores, [open_ended, *others], problem.runs)
    kept = rest.worthwhile()
    row = np.concatenate([cost[places] for cost, places in zip(latency.costs, kept)])
    choices, _ = Program(rest, kept).minimise(row)
    names = " and ".join(limit.name for limit in others)
    if choices is None:
        return f"the limits of {names} cannot be met together; raise one of them"
    return (
        f"a latency of {latency.shown(latency.most)} cannot be met together with the limits of "
        f"{names}: the smallest that can is {latency.shown(rest.sum(latency.costs, choices))}"
    )
