"""Tables on disk: what they hold, and which are refused."""

import json

import numpy as np
import pytest
from timers import KnownBackend

from tfgen.errors import UserError
from tfgen.search import latency
from tfgen.search.latency import Additivity, Entry, LatencyTable, ReplayedBackend, measure


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "t.json"
    measure([("a", 1), ("none", None)], KnownBackend(lambda *x: 0.5), path)
    return path


def test_it_is_plain_json(path):
    plain = json.loads(path.read_text())
    assert plain["entries"] == {
        "a": {"milliseconds": 0.5, "spread": 0.0, "num_runs": 60},
        "none": {"milliseconds": 0.0, "spread": 0.0, "num_runs": 0},
    }
    assert plain["metadata"] == {
        "quantile": 0.5,
        "backend": "known",
        "threads": 1,
        "versions": {"clock": "1"},
    }
    assert plain["repeat"] == {"num_blocks": 1, "mean_difference": 0.0, "pearson": None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threads": 2}, "measured with threads = 1, and 2 is asked for"),
        ({"versions": {"clock": "2"}}, "versions.clock = '1', and '2' is asked"),
        ({"device": "other"}, "device = None, and 'other' is asked"),
    ],
)
def test_another_setting_is_refused(path, change, message):
    before = path.read_bytes()
    with pytest.raises(UserError, match=message):
        measure([("b", 1)], KnownBackend(lambda *x: 1.0, **change), path)
    with pytest.raises(UserError, match=r"quantile = 0.5, and 0.2 is asked"):
        measure([("b", 1)], KnownBackend(lambda *x: 1.0), path, quantile=0.2)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda plain: plain.update(format=2), "its format is 2"),
        (lambda plain: plain.pop("entries"), "no table of latencies"),
        (lambda plain: plain["entries"]["a"].update(milliseconds=-1.0), "an entry holds -1.0"),
        (lambda plain: plain["entries"]["a"].update(milliseconds="1"), "no table of latencies"),
        (lambda plain: plain["entries"]["a"].pop("milliseconds"), "neither a time nor a failure"),
        (lambda plain: plain["entries"].update(b=[1]), "no table of latencies"),
        (lambda plain: plain.update(entries=[]), "no table of latencies"),
        (lambda plain: plain["repeat"].update(mean_difference=None), "repeat holds None"),
        (lambda plain: plain["repeat"].update(num_blocks="1"), "repeat holds '1'"),
        (lambda plain: plain["repeat"].update(pearson=[]), "no table of latencies|repeat holds"),
        (lambda plain: plain["entries"].update(b={"failure": ["x"]}), r"a failure is \['x'\]"),
    ],
)
def test_a_damaged_one_is_refused(path, damage, message):
    plain = json.loads(path.read_text())
    damage(plain)
    path.write_text(json.dumps(plain))
    with pytest.raises(UserError, match=message) as refused:
        measure([("a", 1)], KnownBackend(lambda *x: 1.0), path)
    assert str(path) in str(refused.value)
    assert "delete it to measure again" in str(refused.value)


def test_a_torn_one_is_refused(path):
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match="delete it to measure again"):
        measure([("a", 1)], KnownBackend(lambda *x: 1.0), path)


def test_what_was_not_measured(path):
    table = LatencyTable.read(path)
    assert table.milliseconds([]).shape == (0,)
    with pytest.raises(UserError, match="no block 'b' among its 2; measure it"):
        table.milliseconds(["a", "b"])


class TestReplay:
    def test_it_gives_the_same_table(self, path, tmp_path):
        backend = ReplayedBackend(path)
        table = measure([("a", 1)], backend, tmp_path / "other.json")
        assert table.milliseconds(["a"])[0] == 0.5
        assert table.metadata == LatencyTable.read(path).metadata

    def test_what_it_lacks_fails(self, path):
        with pytest.warns(UserWarning, match="no block 'b'"):
            table = measure([("a", 1), ("b", 1)], ReplayedBackend(LatencyTable.read(path)))
        assert list(table.failures) == ["b"]


class TestAdditivity:
    def tables(self):
        """Networks take half a millisecond less for each block than they would alone."""
        rng = np.random.default_rng(0)
        times = {f"b{k}": Entry(float(rng.uniform(1, 5)), 0.0, 60) for k in range(6)}
        parts = {}
        for k in range(10):
            keys = [f"b{j}" for j in rng.integers(0, 6, 4)]
            parts[f"n{k}"] = keys
            total = sum(times[key].milliseconds for key in keys)
            times[f"n{k}"] = Entry(1.5 * total - 2.0, 0.0, 60)
        return LatencyTable({"threads": 1}, times), parts

    def test_figures(self, tmp_path):
        table, parts = self.tables()
        found = latency.additivity(parts, table)
        sums = np.array([table.milliseconds(keys).sum() for keys in parts.values()])
        np.testing.assert_allclose(found.sums, sums, rtol=1e-12)
        assert found.pearson == pytest.approx(1.0)
        assert found.line == (pytest.approx(1.5), pytest.approx(-2.0))
        assert found.error_on_line < 1e-12
        expected = np.mean(np.abs(sums - found.measured) / found.measured)
        assert found.mean_relative_error == pytest.approx(expected, rel=1e-12)
        found.write(tmp_path / "a.json")
        plain = json.loads((tmp_path / "a.json").read_text())
        assert plain["metadata"] == {"threads": 1}
        assert plain["networks"]["n3"] == {
            "sum_ms": found.sums[3],
            "measured_ms": found.measured[3],
        }
        found.plot(tmp_path / "a.png")
        assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")

    def test_one_network(self, tmp_path):
        found = Additivity(("n",), np.array([2.0]), np.array([3.0]), {})
        assert (found.pearson, found.line) == (None, (1.0, 1.0))
        assert found.mean_relative_error == pytest.approx(1 / 3)
        found.plot(tmp_path / "a.png")
        found.write(tmp_path / "a.json")
        assert json.loads((tmp_path / "a.json").read_text())["pearson"] is None

    def test_refusals(self):
        table, parts = self.tables()
        with pytest.raises(UserError, match="there is no network"):
            latency.additivity({}, table)
        with pytest.raises(UserError, match="no block 'x'"):
            latency.additivity({"n0": ["x"]}, table)
        other = LatencyTable({"threads": 2}, table.entries)
        with pytest.raises(UserError, match="threads = 2, and 1 is asked for"):
            latency.additivity(parts, table, other)
        table.entries["n0"] = Entry(0.0)
        with pytest.raises(UserError, match="'n0' takes no time"):
            latency.additivity(parts, table)
