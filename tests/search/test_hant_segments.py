"""One operation for several layers: the programme beside all there are."""

import itertools

import numpy as np
import pytest

from tfgen.errors import ConfigError
from tfgen.search.hant import InfeasibleError, solve_plan, solve_segments


def coverings(runs, count):
    """All sets of runs that have each of some layers once, by places."""
    if count == 0:
        yield ()
    for place, (first, last) in enumerate(runs):
        if last == count - 1:
            yield from ((*before, place) for before in coverings(runs, first))


def enumerated(runs, scores, latencies, budget):
    """The smallest sum of scores within a budget, or infinity, by trying all."""
    best, count = np.inf, 1 + max(last for _, last in runs)
    for places in coverings(runs, count):
        for choice in itertools.product(*(range(len(scores[p])) for p in places)):
            pairs = list(zip(places, choice))
            if sum(latencies[p][c] for p, c in pairs) <= budget:
                best = min(best, sum(scores[p][c] for p, c in pairs))
    return best


def test_equal_to_trying_all():
    rng = np.random.default_rng(0)
    runs = [*((k, k) for k in range(4)), (0, 1), (1, 3), (2, 3)]
    met = 0
    for _ in range(40):
        scores = [rng.exponential(size=3) for _ in runs]
        latencies = [rng.exponential(size=3) for _ in runs]
        budget = rng.uniform(0.2, 3.0)
        expected = enumerated(runs, scores, latencies, budget)
        if np.isinf(expected):
            with pytest.raises(InfeasibleError, match="the smallest there is is"):
                solve_segments(runs, scores, latencies, budget)
            continue
        met += 1
        found = solve_segments(runs, scores, latencies, budget)
        assert sum(scores[p][c] for p, c in found) == pytest.approx(expected)
        assert sum(latencies[p][c] for p, c in found) <= budget * (1 + 1e-9)
        layers = [k for p, _ in found for k in range(runs[p][0], runs[p][1] + 1)]
        assert layers == [0, 1, 2, 3]
    assert 20 < met < 40


def test_without_longer_runs_it_is_a_plan():
    rng = np.random.default_rng(1)
    scores, latencies = ([rng.exponential(size=4) for _ in range(6)] for _ in range(2))
    found = solve_segments([(k, k) for k in range(6)], scores, latencies, 3.0)
    plan = solve_plan(scores, latencies, 3.0)
    total = sum(row[c] for row, c in zip(scores, plan))
    assert sum(scores[p][c] for p, c in found) == pytest.approx(total)


def test_an_operation_that_cannot_be_used():
    runs = [(0, 0), (1, 1), (0, 1)]
    found = solve_segments(runs, [[5.0], [5.0], [np.inf, 1.0]], [[1], [1], [1, 1]], np.inf)
    assert found == [(2, 1)]


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([(0, 0), (2, 2)], "no run has layer 1"),
        ([(0, 1), (1, 2)], "cannot be put together to all layers"),
        ([(0, 0), (1, 0)], "the last layer of a run is 0; expected at least 1"),
        ([(0, 0)], "there are 1 runs, and scores of 2"),
    ],
)
def test_mistakes(runs, message):
    with pytest.raises(ConfigError, match=message):
        solve_segments(runs, [[1.0], [1.0]], [[1.0], [1.0]], 5.0)
