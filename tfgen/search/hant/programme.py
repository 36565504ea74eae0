"""The choice of operations as an integer programme for HiGHS."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize, sparse

from tfgen.search.hant.problem import Choices, Problem

ROUNDING = 1e-9  # of a limit, by which a sum of floats may miss it


class Program:
    """One binary variable for every operation that is worth while.

    Of those that stand for a layer, alone or in a run with others, one is 1.

    Args:
        problem: the `Problem`.
        kept: sequence of arrays, one a layer or run, the places of these operations.
    """

    def __init__(self, problem: Problem, kept: Sequence[np.ndarray]):
        self.kept, self.lengths = kept, problem.runs.lengths
        self.starts = np.cumsum([0, *map(len, kept)])
        of_row = np.repeat(np.arange(len(kept)), np.diff(self.starts))
        once = sparse.csr_array(sparse.csc_array(problem.runs.covers)[:, of_row])
        self.constraints = [optimize.LinearConstraint(once, 1, 1)]
        for limit in problem.limits:
            if math.isinf(limit.most) and limit.most > 0:
                continue
            row = np.concatenate([cost[places] for cost, places in zip(limit.costs, kept)])
            # Of one, so that the solver's tolerance is a share of the limit.
            scale = abs(limit.most) or max(row.max(), 1.0)
            most = limit.most / scale + ROUNDING
            self.constraints.append(optimize.LinearConstraint(row[None] / scale, -np.inf, most))

    def share(self, plan: Choices, most: int) -> None:
        """Lets at most `most` layers be as in a plan."""
        row = self._as_in(plan)
        if row.sum() > most:
            self.constraints.append(optimize.LinearConstraint(row[None], -np.inf, most))

    def keep(self, plan: Choices, least: int) -> None:
        """Keeps at least `least` layers as in a plan."""
        self.constraints.append(optimize.LinearConstraint(self._as_in(plan)[None], least, np.inf))

    def _as_in(self, plan):
        row = np.zeros(self.starts[-1])
        for number, choice in enumerate(plan):
            if choice is not None:
                same = np.flatnonzero(self.kept[number] == choice)
                row[self.starts[number] + same] = self.lengths[number]
        return row

    def minimise(
        self, objective: np.ndarray, patience: float | None = None, gap: float = 0.0
    ) -> tuple[list[int | None] | None, bool]:
        """The choices of the smallest sum, and whether that is proved.

        Args:
            objective: array, the summand of every variable.
            patience: float, seconds; None waits.
            gap: float, the share by which the sum may be larger. Defaults to `0.0`.

        Returns:
            Integers by layer or run, None for a run that is not taken, or None where nothing is
            feasible; and whether none is better.
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
        choices: list[int | None] = []
        for places, start in zip(self.kept, self.starts):
            part = found.x[start : start + len(places)]
            taken = len(places) > 0 and part.max() > 0.5
            choices.append(int(places[np.argmax(part)]) if taken else None)
        return choices, found.status == 0 and gap == 0.0
