"""Plans in which one operation may stand for several layers in a row.

What replaces a run of layers may be narrower inside than any of them, and is one operation instead
of several. Each layer is in exactly one run that is chosen; runs of a single layer are its own
operations.
"""

from collections.abc import Sequence

import numpy as np
from scipy import optimize

from tfgen.errors import ConfigError
from tfgen.ops.checks import whole_number
from tfgen.search.hant.plans import InfeasibleError
from tfgen.search.hant.problem import Limit, Problem, Rows
from tfgen.search.hant.programme import ROUNDING


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
    problem = Problem(scores, [Limit("latency", latencies_ms, budget_ms, "ms")])
    covers = _covers(runs, problem.num_layers)
    kept = problem.worthwhile()
    sizes = [len(places) for places in kept]
    of_run = np.repeat(np.arange(len(sizes)), sizes)
    loses, takes = (
        np.concatenate([row[places] for row, places in zip(rows, kept)])
        for rows in (problem.scores, problem.limits[0].costs)
    )
    once = optimize.LinearConstraint(covers[:, of_run], 1, 1)
    scale = abs(budget_ms) or 1.0
    within = optimize.LinearConstraint(takes[None] / scale, -np.inf, budget_ms / scale + ROUNDING)
    chosen = _minimum(loses, [once, within] if np.isfinite(budget_ms) else [once])
    if chosen is None:
        fastest = _minimum(takes, [once])
        if fastest is None:
            raise ConfigError(f"runs {list(runs)} cannot be put together to all layers; add some")
        raise InfeasibleError(
            f"a latency of {budget_ms:.6g} ms cannot be met: the smallest there is is "
            f"{takes[fastest].sum():.6g} ms"
        )
    places = np.concatenate(kept)
    found = [(int(of_run[k]), int(places[k])) for k in chosen]
    return sorted(found, key=lambda pair: runs[pair[0]])


def _covers(runs, count) -> np.ndarray:
    """Which run has which layer, `[layers, runs]`."""
    if len(runs) != count:
        raise ConfigError(f"there are {len(runs)} runs, and scores of {count}; expected as many")
    for run in runs:
        first, last = run
        whole_number("the first layer of a run", first, 0)
        whole_number("the last layer of a run", last, first)
    layers = np.arange(1 + max(last for _, last in runs))
    covers = np.stack([(layers >= first) & (layers <= last) for first, last in runs], axis=1)
    missing = np.flatnonzero(~covers.any(1))
    if len(missing):
        raise ConfigError(f"no run has layer {missing[0]}; add one")
    return covers.astype(np.float64)


def _minimum(objective, constraints) -> np.ndarray | None:
    """Places of the variables that are 1; None where nothing is feasible."""
    found = optimize.milp(
        objective,
        integrality=np.ones(len(objective)),
        bounds=optimize.Bounds(0, 1),
        constraints=constraints,
    )
    return None if found.x is None else np.flatnonzero(found.x > 0.5)
