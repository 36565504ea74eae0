"""Plans against brute force, the reference instances, and what has to hold of any."""

import itertools

import numpy as np
import pytest

from tfgen.errors import ConfigError, UserError
from tfgen.search.hant import (
    InfeasibleError,
    Limit,
    diverse_plans,
    latency_front,
    nearby_plan,
    solve_plan,
)

TOY = [[0, 1, 4], [0, 2, 3], [0, 0.5, 5]], [[4, 2, 0], [3, 1, 0], [5, 4, 0]]


def total(rows, choices):
    return sum(row[choice] for row, choice in zip(rows, choices))


def random_instance(rng, layers=5, operations=4):
    # In the 64ths of the reference instances, so that sums are exact and ties occur.
    a = rng.integers(-20, 200, (layers, operations)) / 64
    b = rng.integers(0, 100, (layers, operations)) / 64
    return list(a), list(b)


def everything(a, b):
    """`(cost, score, choices)` of all plans."""
    for choices in itertools.product(*(range(len(row)) for row in a)):
        yield total(b, choices), total(a, choices), choices


class TestToy:
    @pytest.mark.parametrize(
        ("budget", "objective", "choices"),
        [
            (12, 0, [0, 0, 0]),
            (10, 1.0, [1, 0, 0]),
            (9, 1.5, [1, 0, 1]),
            (7, 3.5, [1, 1, 1]),
            (5, 6, [1, 0, 2]),
            (3, 8, [1, 1, 2]),
        ],
    )
    def test_optimum(self, budget, objective, choices):
        found = solve_plan(*TOY, budget)
        assert found == choices
        assert total(TOY[0], found) == objective
        plan = latency_front(*TOY).at(budget)
        assert (plan.score, plan.latency_ms) == (objective, budget)

    def test_diverse(self):
        found = diverse_plans(*TOY, 9, overlap=0.0)
        assert [plan.score for plan in found] == [1.5, 3.0, 11.0]
        found = diverse_plans(*TOY, 9, overlap=0.7)  # of 3 layers 2
        feasible = sorted(score for cost, score, _ in everything(*TOY) if cost <= 9)
        assert [plan.score for plan in found] == feasible
        assert len({plan.choices for plan in found}) == len(feasible) == 23
        assert all(plan.optimal for plan in found)

    def test_infeasible(self):
        with pytest.raises(InfeasibleError) as refused:
            solve_plan(*TOY, -1)
        assert str(refused.value) == (
            "a latency of -1 ms cannot be met: the smallest there is is 0 ms"
        )
        assert issubclass(InfeasibleError, UserError)


class TestBruteForce:
    @pytest.mark.parametrize("seed", range(4))
    def test_equal(self, seed):
        rng, infeasible = np.random.default_rng(seed), 0
        for _ in range(15):
            a, b = random_instance(rng)
            plans = list(everything(a, b))
            budget = rng.uniform(0.2, 5.0)
            possible = [score for cost, score, _ in plans if cost <= budget]
            front = latency_front(a, b)
            if not possible:
                infeasible += 1
                smallest = min(cost for cost, _, _ in plans)
                with pytest.raises(InfeasibleError, match=f"is {smallest:.6g} ms"):
                    solve_plan(a, b, budget)
                with pytest.raises(InfeasibleError, match=f"is {smallest:.6g} ms"):
                    front.at(budget)
                continue
            found = solve_plan(a, b, budget)
            assert total(b, found) <= budget
            assert total(a, found) == pytest.approx(min(possible), abs=1e-9)
            assert front.at(budget).score == pytest.approx(min(possible), abs=1e-9)
        assert infeasible < 15

    @pytest.mark.parametrize("seed", range(2))
    def test_diverse(self, seed):
        rng = np.random.default_rng(seed)
        a, b = random_instance(rng, 4, 3)
        plans, budget, earlier = list(everything(a, b)), 2.5, []
        found = diverse_plans(a, b, budget, overlap=0.5)
        for plan in found:
            possible = [
                score
                for cost, score, choices in plans
                if cost <= budget
                and all(sum(x == y for x, y in zip(choices, e)) <= 2 for e in earlier)
            ]
            assert plan.score == pytest.approx(min(possible), abs=1e-9)
            assert plan.score == pytest.approx(total(a, plan.choices))
            assert plan.latency_ms == pytest.approx(total(b, plan.choices))
            earlier.append(plan.choices)
        assert not any(
            cost <= budget and all(sum(x == y for x, y in zip(c, e)) <= 2 for e in earlier)
            for cost, _, c in plans
        )
        assert len(found) > 2

    @pytest.mark.parametrize("seed", range(3))
    def test_further_limits(self, seed):
        rng = np.random.default_rng(seed)
        a, b = random_instance(rng)
        sizes = list(rng.integers(0, 9, (5, 4)).astype(float))
        memory = list(rng.integers(0, 9, (5, 4)).astype(float))
        limits = [Limit("size", sizes, 20.0, "kB"), Limit("memory", memory, 20.0)]
        possible = [
            (score, cost)
            for cost, score, c in everything(a, b)
            if total(sizes, c) <= 20 and total(memory, c) <= 20
        ]
        budget = sorted(cost for _, cost in possible)[len(possible) // 3]
        found = solve_plan(a, b, budget, limits)
        assert total(b, found) <= budget
        assert total(sizes, found) <= 20
        assert total(memory, found) <= 20
        best = min(score for score, cost in possible if cost <= budget)
        assert total(a, found) == pytest.approx(best, abs=1e-9)
        smallest = min(cost for _, cost in possible)
        if smallest > sum(row.min() for row in b):
            with pytest.raises(InfeasibleError, match=rf"the smallest that can is {smallest:.6g}"):
                solve_plan(a, b, (smallest + sum(row.min() for row in b)) / 2, limits)

    @pytest.mark.parametrize("num_changes", [0, 1, 2, 5])
    def test_near_another_plan(self, num_changes):
        rng = np.random.default_rng(num_changes)
        for _ in range(8):
            a, b = random_instance(rng)
            there, budget = rng.integers(0, 4, 5), rng.uniform(2.0, 5.0)
            possible = [
                score
                for cost, score, choices in everything(a, b)
                if cost <= budget and np.sum(np.not_equal(choices, there)) <= num_changes
            ]
            if not possible:
                with pytest.raises(InfeasibleError):
                    nearby_plan(a, b, budget, there, num_changes)
                continue
            found = nearby_plan(a, b, budget, there, num_changes)
            assert found.score == pytest.approx(min(possible), abs=1e-9)
            assert np.sum(np.not_equal(found.choices, there)) <= num_changes
        with pytest.raises(ConfigError, match="there are 2 choices of 5 layers"):
            nearby_plan(a, b, budget, there[:2], num_changes)

    def test_limits_that_contradict(self):
        one, other = [[1.0, 0.0]] * 2, [[0.0, 1.0]] * 2
        limits = [Limit("size", one, 0.5), Limit("memory", other, 0.5)]
        with pytest.raises(InfeasibleError, match="limits of size and memory cannot be met tog"):
            solve_plan(one, other, 9.0, limits)
        with pytest.raises(InfeasibleError, match=r"a size of 1 kB cannot be met: .* is 2 kB"):
            solve_plan(one, other, 9.0, [Limit("size", [[1.0, 1.0]] * 2, 1.0, "kB")])


class TestReference:
    @pytest.fixture(scope="class")
    def instances(self, reference_values):
        values = reference_values("hant_plans")
        found = []
        for k in range(len(values["names"])):
            own = {
                n.split("/")[1]: values[n] for n in values.files if n.startswith(f"instance_{k}/")
            }
            counts = own["num_ops"]
            own["a"], own["b"] = (
                [row[:count] for row, count in zip(own[name], counts)] for name in "ab"
            )
            found.append(own)
        assert len(found) == 14
        return found

    @pytest.mark.parametrize("number", range(14))
    def test_optima(self, instances, number):
        own = instances[number]
        front = latency_front(own["a"], own["b"])
        every = 3 if number == 13 else 1  # of the large one three budgets in the default run
        for budget, objective, cheapest in zip(
            *(own[k][::every] for k in ("budget", "objective", "cheapest_cost_at_optimum"))
        ):
            if np.isnan(objective):
                with pytest.raises(InfeasibleError):
                    solve_plan(own["a"], own["b"], budget)
                with pytest.raises(InfeasibleError):
                    front.at(budget)
                continue
            found = solve_plan(own["a"], own["b"], budget)
            assert total(own["b"], found) <= budget
            assert total(own["a"], found) == pytest.approx(objective, abs=1e-9)
            plan = front.at(budget)
            assert plan.score == pytest.approx(objective, abs=1e-9)
            assert plan.latency_ms == pytest.approx(cheapest, abs=1e-9)

    def test_fronts(self, instances):
        with_front = [own for own in instances if "pareto_cost" in own]
        assert len(with_front) == 5
        for own in with_front:
            front = latency_front(own["a"], own["b"])
            np.testing.assert_allclose(front.latencies_ms, own["pareto_cost"], atol=1e-9)
            np.testing.assert_allclose(front.scores, own["pareto_objective"], atol=1e-9)
            for place in (0, len(front.choices) // 2, -1):
                choices = front.choices[place]
                assert total(own["a"], choices) == pytest.approx(front.scores[place])
                assert total(own["b"], choices) == pytest.approx(front.latencies_ms[place])

    def test_diverse_sequences(self, instances):
        """Ties may be broken either way, after which sequences differ: each is judged by itself."""
        with_sequence = [own for own in instances if "diverse_choices" in own]
        assert len(with_sequence) == 3
        for own in with_sequence:
            layers, shared = len(own["a"]), int(own["diverse_overlap"])
            found = diverse_plans(
                own["a"],
                own["b"],
                float(own["diverse_budget"]),
                len(own["diverse_objectives"]),
                overlap=shared / layers,
            )
            scores = [plan.score for plan in found]
            assert scores[0] == pytest.approx(own["diverse_objectives"][0], abs=1e-9)
            assert all(x <= y + 1e-9 for x, y in itertools.pairwise(scores))
            for one, other in itertools.combinations(found, 2):
                assert one.overlap(other) <= shared
            same = [
                tuple(map(int, c)) == plan.choices for c, plan in zip(own["diverse_choices"], found)
            ]
            if all(same[:-1]):
                np.testing.assert_allclose(scores, own["diverse_objectives"], atol=1e-9)


class TestInvariants:
    @pytest.fixture(scope="class")
    def instance(self):
        rng = np.random.default_rng(7)
        a, b = rng.uniform(0, 1, (12, 9)), rng.uniform(0, 2, (12, 9))
        a[:, 0], b[:, 0] = 0.0, 2.5
        return list(a), list(b)

    def test_enough_for_the_teacher(self, instance):
        a, b = instance
        assert solve_plan(a, b, total(b, [0] * 12)) == [0] * 12

    def test_the_objective_falls_with_the_budget(self, instance):
        a, b = instance
        found = [total(a, solve_plan(a, b, budget)) for budget in (6, 10, 15, 20, 30)]
        assert found == sorted(found, reverse=True)

    def test_a_constant_in_a_row_and_another_unit(self, instance):
        a, b = instance
        before = solve_plan(a, b, 12.0)
        assert solve_plan([a[0] + 5.0, *a[1:]], b, 12.0) == before
        assert solve_plan(a, [1e-3 * row for row in b], 12.0e-3) == before
        assert solve_plan(a, [1e4 * row for row in b], 12.0e4) == before

    def test_order_of_operations(self, instance):
        a, b = instance
        order = np.random.default_rng(0).permutation(9)
        found = solve_plan([row[order] for row in a], [row[order] for row in b], 12.0)
        assert [order[k] for k in found] == solve_plan(a, b, 12.0)

    def test_what_cannot_be_used(self, instance):
        a, b = instance
        best = solve_plan(a, b, 12.0)
        closed = [row.copy() for row in a]
        closed[3][best[3]] = np.inf
        assert solve_plan(closed, b, 12.0)[3] != best[3]
        assert np.isfinite(latency_front(closed, b).scores).all()
        slow = [row.copy() for row in b]
        slow[3][best[3]] = np.inf
        assert solve_plan(a, slow, 12.0) == solve_plan(closed, b, 12.0)
        closed[3][:] = np.inf
        with pytest.raises(ConfigError, match="layer 3 has no operation that can be used"):
            solve_plan(closed, b, 12.0)

    def test_diversity(self, instance):
        found = diverse_plans(*instance, 12.0, num_plans=6)
        assert len(found) == 6
        for one, other in itertools.combinations(found, 2):
            assert one.overlap(other) <= 8
        scores = [plan.score for plan in found]
        assert scores == sorted(scores)

    def test_a_budget_that_a_sum_meets_but_for_rounding(self):
        assert solve_plan([[1, 0]] * 3, [[0.0, 0.1]] * 3, 0.3) == [1, 1, 1]
        assert latency_front([[1, 0]] * 3, [[0.0, 0.1]] * 3).at(0.3).score == 0

    def test_a_budget_missed_by_less_than_the_solver_sees(self):
        """HiGHS would let a limit be missed by 1e-6 of it."""
        a, b = [[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]
        found = solve_plan(a, b, 2.0 - 2e-7)
        assert total(a, found) == 1.0
        assert solve_plan(a, b, 2.0) == [1, 1]

    def test_no_budget_at_all(self, instance):
        assert total(instance[0], solve_plan(*instance, np.inf)) == 0.0

    def test_layers_of_different_length(self):
        a, b = [[0.0], [0.0, 1.0, 2.0], [0.0, 3.0]], [[1.0], [5.0, 2.0, 0.0], [4.0, 1.0]]
        assert solve_plan(a, b, 6.0) == [0, 2, 0]

    def test_no_patience_is_still_a_plan(self, instance):
        found = diverse_plans(*instance, 12.0, num_plans=3, patience=30.0, gap=0.05)
        best = diverse_plans(*instance, 12.0, num_plans=1)[0].score
        assert found[0].score <= 1.05 * best + 1e-9
        assert not found[0].optimal


class TestFront:
    def test_resolution_is_conservative(self):
        rng = np.random.default_rng(0)
        a, b = list(rng.uniform(0, 1, (8, 12))), list(rng.uniform(0, 1, (8, 12)))
        exact, coarse = latency_front(a, b), latency_front(a, b, resolution_ms=0.05)
        assert len(coarse.scores) < len(exact.scores)
        for place, choices in enumerate(coarse.choices):
            assert total(b, choices) <= coarse.latencies_ms[place] + 1e-9
            assert exact.at(coarse.latencies_ms[place]).score <= coarse.scores[place] + 1e-12
        assert np.all(np.diff(exact.latencies_ms) > 0)
        assert np.all(np.diff(exact.scores) < 0)
        already = latency_front([[0, 1]] * 3, [[0.3, 0.1]] * 3, resolution_ms=0.1)
        np.testing.assert_allclose(already.latencies_ms, [0.3, 0.5, 0.7, 0.9])

    def test_plot(self, tmp_path):
        latency_front(*TOY).plot(tmp_path / "front.png", budgets_ms=(9, 3.5))
        assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("scores", "latencies", "message"),
    [
        ([], [], "there is no layer"),
        ([[0.0]], [[0.0], [1.0]], "latency has 2 layers, and scores has 1"),
        ([[0.0], [1.0, 2.0]], [[0.0], [1.0]], "latency has 1 operations in layer 1, and scores ha"),
        ([[0.0], []], [[0.0], []], r"scores of layer 1 has the shape \(0,\)"),
        ([0.0], [[0.0]], r"scores of layer 0 has the shape \(\)"),
        ([["a"]], [[0.0]], "scores of layer 0 is no row of numbers"),
        ([[0.0, np.nan]], [[0.0, 1.0]], "score of operation 1 of layer 0 is nan"),
        ([[0.0]], [[-1.0]], "latency of layer 0 is"),
        ([[0.0]], [[np.nan]], "latency of layer 0 is"),
    ],
)
def test_refusals(scores, latencies, message):
    for solve in (
        lambda: solve_plan(scores, latencies, 1.0),
        lambda: latency_front(scores, latencies),
    ):
        with pytest.raises(ConfigError, match=message):
            solve()
    for budget in (np.nan, -np.inf):
        with pytest.raises(ConfigError, match=f"the most of latency is {budget}"):
            solve_plan(*TOY, budget)
    with pytest.raises(ConfigError, match="limits are called latency, latency; expected differ"):
        solve_plan(*TOY, 9.0, [Limit("latency", TOY[1], 9.0)])
