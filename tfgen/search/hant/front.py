"""The plans of all budgets in one pass.

Layer by layer, of all pairs of a latency and a score those are kept that no other pair is at least
as good as in both: what is dominated stays so, whatever follows.
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfgen.files.replacing import replace_file
from tfgen.ops.checks import in_range
from tfgen.search.hant.plans import InfeasibleError, Plan
from tfgen.search.hant.problem import Limit, Problem, Rows
from tfgen.search.hant.segments import Runs


@dataclasses.dataclass(frozen=True)
class Front:
    """All plans that no other plan is as good as in both latency and score.

    Attributes:
        latencies_ms: array `[P]`, rising.
        scores: array `[P]`, falling.
        choices: integers `[P, layers]`; of runs of layers `[P, runs]`, -1 where it is not taken.
    """

    latencies_ms: np.ndarray
    scores: np.ndarray
    choices: np.ndarray

    def at(self, budget_ms: float) -> Plan:
        """The plan that loses least within a budget.

        Args:
            budget_ms: float, the most that it may take.

        Raises:
            InfeasibleError: even the fastest takes longer.
        """
        place = int(np.searchsorted(self.latencies_ms, budget_ms * (1 + 1e-9), side="right")) - 1
        if place < 0:
            raise InfeasibleError(
                f"a latency of {budget_ms:.6g} ms cannot be met: the smallest there is is "
                f"{self.latencies_ms[0]:.6g} ms"
            )
        choices = tuple(None if c < 0 else int(c) for c in self.choices[place])
        latency = {"latency": float(self.latencies_ms[place])}
        return Plan(choices, float(self.scores[place]), latency)

    def plot(self, path: str | os.PathLike, budgets_ms: Sequence[float] = ()) -> None:
        """Draws scores over latencies.

        Args:
            path: path of the picture, written whole or not at all.
            budgets_ms: sequence of floats to mark. Defaults to `()`.

        Raises:
            InfeasibleError: a budget is below the smallest latency.
            OSError: the file cannot be written.
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.5, 4.5), layout="constrained")
        axis = figure.subplots()
        axis.step(self.latencies_ms, self.scores, where="post", lw=1)
        for number, budget in enumerate(budgets_ms):
            plan, colour = self.at(budget), f"C{number + 1}"
            axis.axvline(budget, color=colour, ls="--", lw=1, label=f"budget {budget:g} ms")
            axis.plot(plan.latency_ms, plan.score, "o", color=colour)
        axis.set(xlabel="latency (ms)", ylabel="predicted loss")
        if budgets_ms:
            axis.legend(loc="best", fontsize="small")
        with replace_file(path) as temporary:
            figure.savefig(temporary, dpi=100)


def latency_front(
    scores: Rows,
    latencies_ms: Rows,
    resolution_ms: float | None = None,
    runs: Sequence[tuple[int, int]] | None = None,
) -> Front:
    """The whole front of latency and score.

    Args:
        scores: sequence of N arrays, one a layer, what each of its operations loses; infinity is
            one that cannot be used.
        latencies_ms: sequence of N arrays alike, milliseconds.
        resolution_ms: float, to a multiple of which every latency is rounded up, so that budgets
            are kept; None rounds nothing. Latencies that are no multiples of anything have fronts
            of a great many points.
        runs: sequence of pairs, as of `solve_segments`, the layers that each array is of; None is
            every layer by itself.

    Returns:
        The `Front`, of latencies that are rounded if any are.

    Raises:
        ConfigError: shapes do not fit, or something is no number.
    """
    of_rows = None if runs is None else Runs(runs)
    problem = Problem(scores, [Limit("latency", latencies_ms, np.inf, "ms")], of_rows)
    if resolution_ms is not None:
        in_range("resolution_ms", resolution_ms, 0.0, above=True)
        # A multiple of the resolution that is one but for rounding stays.
        rows = [
            np.ceil(row / resolution_ms - 1e-9) * resolution_ms for row in problem.limits[0].costs
        ]
        problem = Problem(scores, [Limit("latency", rows, np.inf, "ms")], of_rows)
    kept = problem.worthwhile()
    steps = [_Step(np.zeros(1), np.zeros(1))]  # what is reached behind so many layers
    for layer in range(problem.num_layers):
        steps.append(_behind(problem, kept, steps, layer))
    return Front(steps[-1].cost, steps[-1].score, _choices(problem, steps))


class _Step(NamedTuple):
    """Pairs that no other is as good as, and for each how it was reached."""

    cost: np.ndarray
    score: np.ndarray
    row: np.ndarray | None = None  # which row of operations was the last
    operation: np.ndarray | None = None  # which of them
    parent: np.ndarray | None = None  # which pair of the step before that row


def _behind(problem, kept, steps, layer) -> _Step:
    """What is reached with a layer, itself or a run that ends with it."""
    rows = problem.runs.ending(layer)
    starts = [problem.runs.pairs[row][0] for row in rows]
    costs, scores = (
        [
            (getattr(steps[start], name)[:, None] + values[row][kept[row]]).ravel()
            for row, start in zip(rows, starts)
        ]
        for name, values in (("cost", problem.limits[0].costs), ("score", problem.scores))
    )
    offsets = np.cumsum([0, *map(len, costs)])
    cost, score = (np.concatenate(x) if x else np.zeros(0) for x in (costs, scores))
    stays = _undominated(cost, score)
    # Of every pair that stays: which row it came by, and of that which pair and operation.
    which = np.searchsorted(offsets, stays, side="right") - 1
    parent, operation = np.zeros((2, len(stays)), np.int64)
    for number, row in enumerate(rows):
        own = which == number
        parent[own], place = np.divmod(stays[own] - offsets[number], max(1, len(kept[row])))
        operation[own] = kept[row][place]
    row = np.asarray(rows, np.int64)[which] if rows else which
    return _Step(cost[stays], score[stays], row, operation, parent)


def _choices(problem, steps) -> np.ndarray:
    """The operations of every pair of the last step, `[P, rows]`."""
    at = np.arange(len(steps[-1].cost))
    behind = np.full(len(at), problem.num_layers)
    choices = np.full((len(at), len(problem.scores)), -1, np.int64)
    first = np.array([first for first, _ in problem.runs.pairs])
    for layers in range(problem.num_layers, 0, -1):
        here, step = np.flatnonzero(behind == layers), steps[layers]
        row = step.row[at[here]]
        choices[here, row] = step.operation[at[here]]
        at[here], behind[here] = step.parent[at[here]], first[row]
    return choices


def _undominated(cost, score):
    """Places of the pairs that stay, by rising cost and falling score."""
    if not len(cost):
        return np.zeros(0, np.int64)
    order = np.lexsort((score, cost))
    best = np.minimum.accumulate(score[order])
    stays = np.r_[True, score[order][1:] < best[:-1]]
    return order[stays]
