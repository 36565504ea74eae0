"""The choice of operations as an integer programme for HiGHS."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize, sparse

from tfgen.search.hant.problem import Problem

ROUNDING = 1e-9  # of a limit, by which a sum of floats may miss it


class Program:
    """One binary variable for every operation that is worth while, one of which is 1 in a layer.

    Args:
        problem: the `Problem`.
        kept: sequence of arrays, one a layer, the places of these operations.
    """

    def __init__(self, problem: Problem, kept: Sequence[np.ndarray]):
        self.kept, self.num_layers = kept, problem.num_layers
        self.starts = np.cumsum([0, *map(len, kept)])
        layers = np.repeat(np.arange(self.num_layers), np.diff(self.starts))
        columns = np.arange(self.starts[-1])
        once = sparse.csr_array((np.ones(len(columns)), (layers, columns)))
        self.constraints = [optimize.LinearConstraint(once, 1, 1)]
        for limit in problem.limits:
            if math.isinf(limit.most) and limit.most > 0:
                continue
            row = np.concatenate([cost[places] for cost, places in zip(limit.costs, kept)])
            # Of one, so that the solver's tolerance is a share of the limit.
            scale = abs(limit.most) or max(row.max(), 1.0)
            most = limit.most / scale + ROUNDING
            self.constraints.append(optimize.LinearConstraint(row[None] / scale, -np.inf, most))

    def share(self, plan: Sequence[int], most: int) -> None:
        """Lets at most `most` layers be as in a plan."""
        row = self._as_in(plan)
        if row.sum() > most:
            self.constraints.append(optimize.LinearConstraint(row[None], -np.inf, most))

    def keep(self, plan: Sequence[int], least: int) -> None:
        """Keeps at least `least` layers as in a plan."""
        self.constraints.append(optimize.LinearConstraint(self._as_in(plan)[None], least, np.inf))

    def _as_in(self, plan):
        row = np.zeros(self.starts[-1])
        for layer, choice in enumerate(plan):
            row[self.starts[layer] + np.flatnonzero(self.kept[layer] == choice)] = 1.0
        return row

    def minimise(
        self, objective: np.ndarray, patience: float | None = None, gap: float = 0.0
    ) -> tuple[list[int] | None, bool]:
        """The choices of the smallest sum, and whether that is proved.

        Args:
            objective: array, the summand of every variable.
            patience: float, seconds; None waits.
            gap: float, the share by which the sum may be larger. Defaults to `0.0`.

        Returns:
            Integers by layer, or None where nothing is feasible; and whether none is better.
        """
        options = {"mip_rel_gap": gap}
        if patience is not None:
            options["time_limit"] = patience
        found = optimize.milp(
            objective,
            integrality=np.ones(len(objective)),
            bounds=optimize.Bounds(0, 1),
            constraints=self.constraints,
            options=options,
        )
        if found.x is None:
            return None, False
        choices = [
            int(places[np.argmax(found.x[start : start + len(places)])])
            for places, start in zip(self.kept, self.starts)
        ]
        return choices, found.status == 0 and gap == 0.0
