"""The plans of all budgets in one pass.

Layer by layer, of all pairs of a latency and a score those are kept that no other pair is at least
as good as in both: what is dominated stays so, whatever follows.
"""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from tfgen.files.replacing import replace_file
from tfgen.ops.checks import in_range
from tfgen.search.hant.plans import InfeasibleError, Plan
from tfgen.search.hant.problem import Limit, Problem, Rows


@dataclasses.dataclass(frozen=True)
class Front:
    """All plans that no other plan is as good as in both latency and score.

    Attributes:
        latencies_ms: array `[P]`, rising.
        scores: array `[P]`, falling.
        choices: integers `[P, layers]`.
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
        choices = tuple(int(choice) for choice in self.choices[place])
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


def latency_front(scores: Rows, latencies_ms: Rows, resolution_ms: float | None = None) -> Front:
    """The whole front of latency and score.

    Args:
        scores: sequence of N arrays, one a layer, what each of its operations loses; infinity is
            one that cannot be used.
        latencies_ms: sequence of N arrays alike, milliseconds.
        resolution_ms: float, to a multiple of which every latency is rounded up, so that budgets
            are kept; None rounds nothing. Latencies that are no multiples of anything have fronts
            of a great many points.

    Returns:
        The `Front`, of latencies that are rounded if any are.

    Raises:
        ConfigError: shapes do not fit, or something is no number.
    """
    problem = Problem(scores, [Limit("latency", latencies_ms, np.inf, "ms")])
    rows = problem.limits[0].costs
    if resolution_ms is not None:
        in_range("resolution_ms", resolution_ms, 0.0, above=True)
        # A multiple of the resolution that is one but for rounding stays.
        rows = [np.ceil(row / resolution_ms - 1e-9) * resolution_ms for row in rows]
        problem = Problem(scores, [Limit("latency", rows, np.inf, "ms")])
    cost, score = np.zeros(1), np.zeros(1)
    steps = []
    for layer, places in enumerate(problem.worthwhile()):
        cost = cost[:, None] + rows[layer][places]
        score = score[:, None] + problem.scores[layer][places]
        kept = _undominated(cost.ravel(), score.ravel())
        parent, operation = np.divmod(kept, len(places))
        cost, score = cost.ravel()[kept], score.ravel()[kept]
        steps.append((parent, places[operation]))
    choices = np.empty((len(cost), problem.num_layers), np.int64)
    at = np.arange(len(cost))
    for layer in reversed(range(problem.num_layers)):
        parent, operation = steps[layer]
        choices[:, layer], at = operation[at], parent[at]
    return Front(cost, score, choices)


def _undominated(cost, score):
    """Places of the pairs that stay, by rising cost and falling score."""
    order = np.lexsort((score, cost))
    best = np.minimum.accumulate(score[order])
    stays = np.r_[True, score[order][1:] < best[:-1]]
    return order[stays]
