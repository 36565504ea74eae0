"""What sums of parts are worth: the factor, its stated error, and where both are kept."""

import json

import numpy as np
import pytest
from timers import KnownBackend

from tfgen.errors import UserError
from tfgen.search.latency import (
    Additivity,
    Calibration,
    LatencyTable,
    Network,
    ReplayedBackend,
    calibration,
    measure,
)


def simulated(rng, count, factor=1.1, noise=0.03):
    """Sums and what networks take: a factor, and noise of so many parts."""
    sums = rng.uniform(4.0, 10.0, count)
    return sums, factor * sums * np.exp(noise * rng.normal(size=count))


@pytest.mark.parametrize("known", [(0.0, 0.0), (6.0, 7.5)])
def test_the_factor_is_that_of_the_least_mean_relative_error(known):
    sums, measured = simulated(np.random.default_rng(0), 9, noise=0.1)
    found = Calibration.of(sums, measured, known)

    def mean_error(factors):
        predicted = known[1] + np.multiply.outer(factors, sums - known[0])
        return np.mean(np.abs(predicted - measured) / measured, axis=-1)

    least = mean_error(np.linspace(0.0, 3.0, 30001)).min()
    assert mean_error(found.factor) <= least + 1e-12


def test_the_stated_error_is_met_by_networks_that_were_not_measured():
    """Its mean over 400 calibrations has a standard error of about 1 % of itself: wrong in fewer
    than one run of 10^5."""
    rng, stated, met = np.random.default_rng(0), [], []
    for _ in range(400):
        found = Calibration.of(*simulated(rng, 8))
        sums, measured = simulated(rng, 200)
        stated.append(found.error)
        met.append(np.mean(np.abs(found.factor * sums - measured) / measured))
    assert np.mean(stated) == pytest.approx(np.mean(met), rel=0.05)
    assert np.mean(met) < 0.03  # of the noise alone it is 0.024


def test_one_network_that_was_disturbed_moves_little():
    sums, measured = simulated(np.random.default_rng(1), 8)
    measured[3] *= 3.0
    assert Calibration.of(sums, measured).factor == pytest.approx(1.1, rel=0.03)


def test_networks_at_the_known_one_say_nothing():
    assert Calibration.of([2.0] * 4, [3.0] * 4, (2.0, 3.0)) == Calibration(1.0, 0.0, 4)


def test_too_few_and_none():
    with pytest.raises(UserError, match="3 whole networks were measured beside their parts"):
        Calibration.of([1.0] * 3, [1.0] * 3)
    with pytest.raises(UserError, match="a whole network takes no time"):
        Calibration.of([1.0] * 4, [1.0, 1.0, 0.0, 1.0])
    with pytest.raises(UserError, match=r"0 whole networks .* calibrate=8"):
        calibration(LatencyTable({}))


class TestTable:
    def asked(self):
        blocks = [(f"b{k}", "item") for k in range(4)]
        networks = [
            Network(f"n{k}", "unloadable" if k == 5 else "item", ("b0", f"b{k % 4}", "b3"))
            for k in range(6)
        ]
        return blocks, networks

    def backend(self):
        """A block takes one more than its number, a network 1.2 times that of its own."""

        def times(key, timer, run):
            del timer, run
            if key.startswith("b"):
                return float(key[1:]) + 1.0
            return 1.2 * (6.0 + int(key[1:]) % 4)

        return KnownBackend(times)

    def test_it_is_kept_and_replayed(self, tmp_path):
        blocks, networks = self.asked()
        path = tmp_path / "t.json"
        measure(blocks, self.backend(), path)
        with pytest.warns(UserWarning, match="1 of 10 blocks have no latency"):
            table = measure(blocks, self.backend(), path, networks=networks, repeat=0)
        assert calibration(table) == Calibration(
            pytest.approx(1.2), pytest.approx(0.0, abs=1e-12), 5
        )
        read = LatencyTable.read(path)
        assert read.networks == table.networks == {n.key: list(n.parts) for n in networks}
        assert calibration(ReplayedBackend(path).table) == calibration(table)
        # Nothing is timed again; measured without networks, the table keeps them.
        backend = self.backend()
        assert measure(blocks, backend, path, repeat=0).networks == table.networks
        assert not backend.timers
        with pytest.warns(UserWarning, match="no latency"):
            replayed = measure(blocks, ReplayedBackend(path), networks=networks, repeat=0)
        assert calibration(replayed) == calibration(table)

    def test_a_table_without_them_is_read_and_a_damaged_one_refused(self, tmp_path):
        path = tmp_path / "t.json"
        measure([("b0", 1)], self.backend(), path)
        plain = json.loads(path.read_text())
        del plain["networks"]  # as tables were before
        path.write_text(json.dumps(plain))
        assert LatencyTable.read(path).networks == {}
        for networks in ([], {"n0": "b0"}, {"n0": [1]}):
            path.write_text(json.dumps({**plain, "networks": networks}))
            with pytest.raises(UserError, match="no table of latencies"):
                LatencyTable.read(path)


def test_of_a_study_the_others_are_held_out():
    sums, measured = simulated(np.random.default_rng(2), 30)
    report = Additivity(tuple(map(str, range(30))), sums, measured, {})
    found, error = report.held_out(8)
    assert found == Calibration.of(sums[:8], measured[:8])
    expected = np.abs(found.factor * sums[8:] - measured[8:]) / measured[8:]
    assert error == pytest.approx(np.mean(expected), rel=1e-12)
    with pytest.raises(UserError, match="expected more than the 30"):
        report.held_out(30)
