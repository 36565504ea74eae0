"""Order, statistics, resuming and noise, on times that are known."""

import os
import signal
import time

import numpy as np
import pytest
from timers import KnownBackend

from tfgen.errors import ConfigError, UserError
from tfgen.search import latency
from tfgen.search.latency import measure


def constant(key, timer, run):
    del timer, run
    return float(key.removeprefix("b")) + 1.0


def blocks(count):
    return [(f"b{k}", "item") for k in range(count)]


class TestStatistics:
    def test_median_and_spread_of_all_runs_that_count(self):
        drawn = np.random.default_rng(0).lognormal(size=(60,))
        table = measure([("a", 1)], KnownBackend(lambda k, t, run: drawn[run]), repeat=0)
        entry = table.entries["a"]
        assert entry.num_runs == 60
        assert entry.milliseconds == np.median(drawn)
        low, high = np.quantile(drawn, [0.25, 0.75])
        assert entry.spread == pytest.approx((high - low) / np.median(drawn), rel=1e-12)

    def test_another_quantile(self):
        drawn = np.random.default_rng(0).lognormal(size=(60,))
        backend = KnownBackend(lambda k, t, run: drawn[run])
        table = measure([("a", 1)], backend, quantile=0.2, repeat=0)
        assert table.milliseconds(["a"])[0] == np.quantile(drawn, 0.2)
        assert table.metadata["quantile"] == 0.2

    def test_runs_are_rounded_up_to_visits(self):
        table = measure([("a", 1)], KnownBackend(lambda *x: 1.0), num_runs=31, repeat=0)
        assert table.entries["a"].num_runs == 35
        with pytest.raises(ConfigError, match="num_runs is 29; expected at least 30"):
            measure([("a", 1)], KnownBackend(lambda *x: 1.0), num_runs=29)

    def test_nothing_takes_nothing(self):
        backend = KnownBackend(constant)
        table = measure([("none", None), ("made", lambda: None), ("b1", "item")], backend)
        assert table.milliseconds(["none", "b1", "made", "none"]).tolist() == [0, 2, 0, 0]
        assert backend.timers[0].loads == ["b1"]

    def test_all_nothing_and_no_blocks(self):
        assert measure([("none", None)], KnownBackend(constant)).repeat is None
        assert measure([], KnownBackend(constant)).entries == {}


class TestOrder:
    def visits(self, seed):
        backend = KnownBackend(constant)
        measure(blocks(10), backend, num_runs=30, at_once=4, repeat=0, seed=seed)
        return backend.timers[0]

    def test_every_round_visits_all_of_a_group_in_an_order_of_its_own(self):
        timer = self.visits(0)
        assert sorted(timer.loads) == [f"b{k}" for k in range(10)]
        assert timer.loads != [f"b{k}" for k in range(10)]
        runs, orders = list(timer.runs), set()
        for start, size in ((0, 4), (4, 4), (8, 2)):
            group = sorted(timer.loads[start : start + size])
            for _ in range(6):
                visited, runs = runs[:size], runs[size:]
                assert sorted(visited) == group
                orders.add(tuple(visited))
        assert not runs
        assert len(orders) > 8

    def test_the_seed_draws_it(self):
        assert self.visits(1).runs == self.visits(1).runs
        assert self.visits(1).runs != self.visits(2).runs

    def test_the_same_key_is_one_block(self):
        backend = KnownBackend(constant)
        measure([*blocks(2), *blocks(2)], backend, repeat=0)
        assert sorted(backend.timers[0].loads) == ["b0", "b1"]

    @pytest.mark.parametrize("key", ["", None, 3])
    def test_keys_are_strings(self, key):
        with pytest.raises(ConfigError, match="the key of a block is"):
            measure([(key, 1)], KnownBackend(constant))


class TestNoise:
    def test_a_quiet_machine_is_not_spoken_of(self, recwarn):
        table = measure(blocks(20), KnownBackend(constant))
        assert table.repeat == latency.Repeat(16, 0.0, pytest.approx(1.0))
        assert not recwarn.list

    def test_the_second_measurement_is_a_new_one_and_its_difference_said(self):
        backend = KnownBackend(lambda key, timer, run: constant(key, 0, 0) * (1.0 + 0.1 * timer))
        with pytest.warns(UserWarning, match="8 blocks that were measured twice differ by 9.5% on"):
            table = measure(blocks(20), backend, repeat=8)
        assert len(backend.timers) == 2
        assert table.repeat.mean_difference == pytest.approx(0.1 / 1.05)
        assert table.repeat.pearson == pytest.approx(1.0)
        assert table.milliseconds(["b3"])[0] == 4.0  # the first measurement stays

    def test_two_blocks_have_no_correlation(self):
        assert measure(blocks(2), KnownBackend(constant)).repeat.pearson is None


class TestReference:
    """A machine that is slower the longer it runs, from 1 to over 100 times as slow."""

    def slowing(self, runs=None):
        count = iter(range(10**6))

        def times(key, timer, run):
            if runs is not None:
                runs.append(key)
            slowness = 1.03 ** (next(count) // 10)  # both of a pair meet the same
            return slowness * (2.0 if key == "turns" else constant(key, timer, run))

        return KnownBackend(times)

    def test_what_slows_both_down_cancels(self, tmp_path):
        path, runs = tmp_path / "t.json", []
        reference = latency.Block("turns", "item")
        with pytest.warns(UserWarning, match="differ"):  # without
            plain = measure(blocks(6), self.slowing(), num_runs=30)
        assert plain.milliseconds(["b5"])[0] > 7.0  # it takes 6
        table = measure(blocks(4), self.slowing(runs), path, num_runs=30, reference=reference)
        unit = table.entries["turns"].milliseconds / 2.0
        expected = unit * np.arange(1.0, 5.0)
        np.testing.assert_allclose(table.milliseconds(f"b{k}" for k in range(4)), expected)
        assert table.repeat.mean_difference == pytest.approx(0.0, abs=1e-12)
        turns = runs[30::5]  # of visits, after those of the reference alone
        assert set(turns[::2]) == {"turns"}
        assert "turns" not in turns[1::2]
        # Taken up later, on a machine of another speed, in the measure that the table has.
        table = measure(blocks(6), self.slowing(), path, num_runs=30, reference=reference)
        np.testing.assert_allclose(
            table.milliseconds(f"b{k}" for k in range(6)), unit * np.arange(1.0, 7.0)
        )
        with pytest.raises(UserError, match="reference = 'turns', and None is asked for"):
            measure(blocks(6), self.slowing(), path)

    def test_a_reference_that_cannot_be_timed(self):
        for item, words in (("unloadable", "no such operation"), (None, "takes no time")):
            with pytest.raises(UserError, match=words):
                measure(blocks(2), KnownBackend(constant), reference=latency.Block("r", item))
        backend = KnownBackend(lambda *of: 1.0)
        with pytest.raises(UserError, match="SIGSEGV"):
            measure(blocks(2), backend, reference=latency.Block("crash", "item"))


class TestFailures:
    def test_the_others_go_on(self):
        backend = KnownBackend(lambda key, timer, run: 2.0)
        asked = [("a", 1), ("crash", 1), ("bad", "unloadable"), ("z", 1)]
        with pytest.warns(UserWarning, match="2 of 4 blocks have no latency: block 'crash' cannot"):
            table = measure(asked, backend)
        assert table.milliseconds(["a", "z"]).tolist() == [2.0, 2.0]
        assert "SIGSEGV" in table.failures["crash"]
        with pytest.raises(UserError, match="'bad' cannot be converted: no such operation; leave"):
            table.milliseconds(["a", "bad"])

    @pytest.mark.filterwarnings("ignore:1 of 1 blocks")
    def test_failures_are_kept_unless_a_retry_is_wanted(self, tmp_path):
        path = tmp_path / "t.json"
        measure([("crash", 1)], KnownBackend(lambda *x: 1.0), path)
        again = KnownBackend(constant)
        measure([("crash", 1)], again, path)
        assert not again.timers
        table = measure([("crash", None)], again, path, retry_failures=True)
        assert table.milliseconds(["crash"])[0] == 0.0


class TestResuming:
    def test_only_what_is_missing_is_timed(self, tmp_path):
        path = tmp_path / "folder" / "t.json"
        measure(blocks(3), KnownBackend(constant), path)
        backend, told = KnownBackend(constant), []
        table = measure(
            blocks(5), backend, path, repeat=0, report=lambda *counts: told.append(counts)
        )
        assert sorted(backend.timers[0].loads) == ["b3", "b4"]
        assert told == [(1, 2), (2, 2)]
        assert sorted(table.entries) == [f"b{k}" for k in range(5)]
        read = latency.LatencyTable.read(path)
        assert (read.entries, read.metadata) == (table.entries, table.metadata)

    def test_killed_and_taken_up(self, tmp_path):
        path = tmp_path / "t.json"
        process = forked(path, 40)
        deadline = time.monotonic() + 60
        while not (path.exists() and len(latency.LatencyTable.read(path).entries) >= 5):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.kill(process, signal.SIGKILL)
        assert os.waitpid(process, 0)[1] == signal.SIGKILL
        kept = set(latency.LatencyTable.read(path).entries)
        assert 5 <= len(kept) < 40
        backend = KnownBackend(constant)
        table = measure(blocks(40), backend, path, repeat=0)
        assert set(backend.timers[0].loads) == {f"b{k}" for k in range(40)} - kept
        keys = [f"b{k}" for k in range(40)]
        assert table.milliseconds(keys).tolist() == list(range(1, 41))

    def test_two_processes_share_the_work(self, tmp_path):
        path = tmp_path / "t.json"
        processes = [forked(path, 12) for _ in range(2)]
        for process in processes:
            assert os.waitpid(process, 0)[1] == 0
        loads = (tmp_path / "loads").read_text().split()
        assert sorted(loads) == sorted(key for key, _ in blocks(12))
        assert len(latency.LatencyTable.read(path).entries) == 12


def forked(path, count):
    """A process that measures, slowly enough to be met at it."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        begun = set()

        def times(key, timer, run):
            begun.add(key)
            time.sleep(2e-4 if len(begun) < 24 else 2e-2)  # whoever kills it may be slow, too
            if run == 0:
                with open(path.with_name("loads"), "a") as file:
                    file.write(f"{key}\n")
            return constant(key, timer, run)

        measure(blocks(count), KnownBackend(times), path, num_runs=30, at_once=2, repeat=0)
        code = 0
    finally:
        os._exit(code)
