"""The study of whether scores add up: ranks, random plans, networks put together of parts."""

import types

import keras
import numpy as np
import pytest
import scipy.stats
from scripts import script

from tfgen.search.hant import HANT, CutNetwork, Plan, diverse_plans, mobile_network


@pytest.fixture(scope="module")
def study(root):
    with script(root / "tools" / "studies" / "hant_additivity.py") as module:
        yield module


@pytest.fixture(scope="module")
def networks(root):
    with script(root / "tools" / "studies" / "hant_networks.py") as module:
        yield module


@pytest.mark.parametrize("digits", [None, 0])
def test_kendalls_tau_is_that_of_scipy(study, digits):
    rng = np.random.default_rng(0)
    first = rng.normal(size=40)
    second = first + rng.normal(size=40)
    if digits is not None:  # ties
        first, second = np.round(first), np.round(second)
    found = study.kendall(first, second, 200)
    assert found["tau"] == pytest.approx(scipy.stats.kendalltau(first, second).statistic)
    assert found["low"] < found["tau"] < found["high"]


def test_numbers_without_an_order_have_no_tau(study):
    found = study.kendall(np.ones(5), np.arange(5), 20)
    assert np.isnan(list(found.values())).all()
    assert study._shown(found["tau"]) == study._shown(None) == "-"


def test_intervals_cover_as_often_as_they_say(study):
    """95 % of 200 intervals have the true value; five standard errors of 1.5 % are allowed."""
    rng, rho, hits = np.random.default_rng(1), 0.9, 0
    truth = 2 / np.pi * np.arcsin(rho)  # of two normal variables of correlation rho
    for seed in range(200):
        first = rng.normal(size=60)
        second = rho * first + np.sqrt(1 - rho**2) * rng.normal(size=60)
        found = study.kendall(first, second, 200, seed)
        hits += found["low"] <= truth <= found["high"]
    assert abs(hits / 200 - 0.95) < 5 * 0.0154


class Known:
    """Six layers of 4 ms, two operations that replace them, 3 ms of stem and head."""

    operations = ("teacher", "identity", "cheap")
    library = types.SimpleNamespace(
        teacher_name="teacher", operations={name: {"family": name} for name in operations}
    )
    latency_ms = 27.0

    def tables(self):
        scores = [np.array([0.0, lost, 0.1]) for lost in (1.0, 2.0, np.inf) * 2]
        return scores, [np.array([4.0, 0.0, 1.0])] * 6

    def predicted_ms(self, plan):
        return plan.latency_ms + 3.0


def test_random_plans_are_of_all_budgets(study):
    plans = study.random_plans(Known(), 30)
    assert len({plan.choices for plan in plans}) == 30
    assert all(plan.choices[2] != 1 and plan.choices[5] != 1 for plan in plans)
    took = np.sort([plan.latency_ms for plan in plans])
    # Of six layers of 4 ms one to all are replaced, by what takes nothing or 1 ms.
    assert took[0] < 8.0
    assert took[-1] >= 20.0
    assert np.max(np.diff(took)) <= 4.0
    assert plans == study.random_plans(Known(), 30)
    assert plans != study.random_plans(Known(), 30, seed=1)


class Solving(Known):
    """Plans of a budget by the programme itself."""

    def plans(self, budget_ms, num_plans):
        return diverse_plans(*self.tables(), budget_ms - 3.0, num_plans)


def test_solved_plans_are_of_all_budgets(study):
    plans = study.solved_plans(Solving(), 12)
    assert len({plan.choices for plan in plans}) == len(plans) == 12
    # The fastest takes 2 ms, the network as it came 24: a sixth, a half and five of them above.
    took = np.sort([plan.latency_ms for plan in plans])
    assert took[0] <= 2.0 + 22.0 / 6.0
    assert took[-1] > 2.0 + 22.0 / 2.0
    assert all(plan.optimal for plan in plans)
    assert plans == study.solved_plans(Solving(), 12)


def test_taus_of_all_pairs(study):
    rows = [
        {
            "sums": {"kl": float(k), "loss": -float(k)},
            "anew": dict(loss=k, kl=k, accuracy=k),
            "kept": dict(loss=-k, kl=k, accuracy=0.5 * k),
        }
        for k in range(12)
    ]
    found = {(x["statistics"], x["loss"], x["measure"]): x["tau"] for x in study.taus(rows)}
    assert len(found) == 12
    assert found["anew", "loss", "kl"] == found["kept", "kl", "kl"] == 1.0
    assert found["anew", "loss", "loss"] == found["kept", "loss", "kl"] == -1.0


@pytest.mark.slow
def test_networks_of_parts_are_those_of_plans(networks, tmp_path):
    stages = ((1, 4, 1, 1, 3), (2, 4, 2, 2, 3))

    def once():
        keras.utils.set_random_seed(0)
        return mobile_network((8, 8, 1), stages=stages, stem=4, head=8)

    rng = np.random.default_rng(0)
    images = rng.random((200, 8, 8, 1)).astype(np.float32)
    labels = rng.integers(0, 10, 200)
    hant = HANT(once(), tmp_path, [{"family": "identity"}, {"family": "cb_res", "kernel": 1}])
    hant.distil(images, batch_size=50)
    whole = networks.Networks(hant, CutNetwork(once()), images, labels)
    place = hant.operations.index
    teacher = [place("teacher")] * 3
    before = whole.losses(teacher, anew=False)
    assert before["kl"] == pytest.approx(0.0, abs=1e-6)
    assert before["accuracy"] == 0.0
    for names in (["identity", "cb_res_k1", "teacher"], ["cb_res_k1"] * 3, ["teacher"] * 3):
        plan = Plan(tuple(map(place, names)), 0.0, {"latency": 0.0})
        found = whole.losses(plan.choices)
        (loss,) = hant.best([plan], images, labels, batch_size=networks.BATCH)[2]
        assert found["loss"] == pytest.approx(loss, rel=1e-4)
    # Whatever was looked at between, parts come back as they were.
    assert whole.losses(teacher, anew=False) == before
