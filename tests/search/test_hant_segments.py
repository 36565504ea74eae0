"""One operation for several layers: the programme beside all there are."""

import itertools

import numpy as np
import pytest

from tfgen.errors import ConfigError
from tfgen.search.hant import (
    InfeasibleError,
    diverse_plans,
    latency_front,
    solve_plan,
    solve_segments,
)


def coverings(runs, count):
    """All sets of runs that have each of some layers once, by places."""
    if count == 0:
        yield ()
    for place, (first, last) in enumerate(runs):
        if last == count - 1:
            yield from ((*before, place) for before in coverings(runs, first))


def everything(runs, scores, latencies):
    """Score, latency and the operation of every layer, of all plans."""
    count = 1 + max(last for _, last in runs)
    for places in coverings(runs, count):
        for choice in itertools.product(*(range(len(scores[p])) for p in places)):
            pairs = list(zip(places, choice))
            layers = [x for p, c in pairs for x in [(p, c)] * (runs[p][1] - runs[p][0] + 1)]
            yield *(sum(rows[p][c] for p, c in pairs) for rows in (scores, latencies)), layers


def enumerated(runs, scores, latencies, budget):
    """The smallest sum of scores within a budget, or infinity, by trying all."""
    plans = everything(runs, scores, latencies)
    return min((score for score, took, _ in plans if took <= budget), default=np.inf)


def of_layers(runs, choices):
    """The run and the operation of every layer in a plan."""
    taken = sorted((runs[p], p, c) for p, c in enumerate(choices) if c is not None)
    return [(p, c) for (first, last), p, c in taken for _ in range(first, last + 1)]


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


@pytest.mark.parametrize("seed", range(3))
def test_plans_that_differ(seed):
    """Every one is the best of those that share few enough layers with all before it."""
    rng = np.random.default_rng(seed)
    runs = [*((k, k) for k in range(4)), (0, 1), (1, 2), (2, 3), (1, 3)]
    scores, latencies = ([rng.exponential(size=2) for _ in runs] for _ in range(2))
    plans, budget, earlier = list(everything(runs, scores, latencies)), 3.0, []
    found = diverse_plans(scores, latencies, budget, 6, overlap=0.5, runs=runs)
    for plan in found:
        possible = [
            score
            for score, took, layers in plans
            if took <= budget and all(sum(map(tuple.__eq__, layers, e)) <= 2 for e in earlier)
        ]
        assert plan.score == pytest.approx(min(possible))
        assert plan.latency_ms <= budget * (1 + 1e-9)
        earlier.append(of_layers(runs, plan.choices))
        assert len(earlier[-1]) == 4
    assert len(found) == 6


def test_all_budgets_at_once():
    rng = np.random.default_rng(3)
    runs = [*((k, k) for k in range(4)), (2, 3), (0, 2)]
    scores, latencies = ([rng.exponential(size=3) for _ in runs] for _ in range(2))
    front = latency_front(scores, latencies, runs=runs)
    for budget in np.linspace(front.latencies_ms[0], front.latencies_ms[-1] + 1.0, 9):
        plan = front.at(budget)
        assert plan.score == pytest.approx(enumerated(runs, scores, latencies, budget * (1 + 1e-9)))
        taken = [(p, c) for p, c in enumerate(plan.choices) if c is not None]
        assert plan.latency_ms == pytest.approx(sum(latencies[p][c] for p, c in taken))
        assert len(of_layers(runs, plan.choices)) == 4
    with pytest.raises(InfeasibleError, match="the smallest there is is"):
        front.at(front.latencies_ms[0] - 0.1)


def test_without_longer_runs_it_is_a_plan():
    rng = np.random.default_rng(1)
    scores, latencies = ([rng.exponential(size=4) for _ in range(6)] for _ in range(2))
    found = solve_segments([(k, k) for k in range(6)], scores, latencies, 3.0)
    plan = solve_plan(scores, latencies, 3.0)
    total = sum(row[c] for row, c in zip(scores, plan))
    assert sum(scores[p][c] for p, c in found) == pytest.approx(total)


def test_an_operation_that_cannot_be_used():
    runs = [(0, 0), (1, 1), (0, 1)]
    latencies = [[1], [1], [1, 1]]
    found = solve_segments(runs, [[5.0], [5.0], [np.inf, 1.0]], latencies, np.inf)
    assert found == [(2, 1)]
    # A run may have none, as long as its layers do.
    scores = [[5.0], [5.0], [np.inf, np.inf]]
    assert solve_segments(runs, scores, latencies, np.inf) == [(0, 0), (1, 0)]
    assert latency_front(scores, latencies, runs=runs).at(2.0).choices == (0, 0, None)
    with pytest.raises(ConfigError, match="layer 1 has no operation that can be used; add one"):
        solve_segments(runs, [[5.0], [np.inf], [np.inf, np.inf]], latencies, np.inf)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([(0, 0), (2, 2)], "no run has layer 1"),
        ([(0, 1), (1, 2)], "cannot be put together to all layers"),
        ([(0, 0), (1, 0)], "the last layer of a run is 0; expected at least 1"),
        ([(0, 0)], "there are 1 runs, and scores of 2; expected as many"),
    ],
)
def test_mistakes(runs, message):
    with pytest.raises(ConfigError, match=message):
        solve_segments(runs, [[1.0], [1.0]], [[1.0], [1.0]], 5.0)
