"""The study of additivity, on a table of known times."""

import json

import numpy as np
import pytest
from scripts import script

from tfgen.search.latency import Entry, LatencyTable, ReplayedBackend
from tfgen.search.unas.latency import BlockSpace


@pytest.fixture(scope="module")
def study(root):
    with script(root / "tools" / "studies" / "latency_additivity.py") as module:
        yield module


def test_report(study, tmp_path, capsys):
    """Networks that take a tenth more than their blocks."""
    space, rng = BlockSpace((64, 64, 3), 10, 0.5), np.random.default_rng(0)
    entries = {b.key: Entry(float(rng.uniform(1, 2)), 0.0, 60) for b in space.blocks}
    table = LatencyTable({"quantile": 0.5}, {**entries, "nothing": Entry(0.0)})
    for name, genotype in study.genotypes(5).items():
        total = table.milliseconds(space.keys(genotype)).sum()
        table.entries[name] = Entry(1.1 * float(total), 0.0, 60)
    report = study.study(tmp_path, ReplayedBackend(table), 64, 0.5, 5)
    assert report.line == (pytest.approx(1.1), pytest.approx(0.0, abs=1e-9))
    assert "mean error 9.1%" in capsys.readouterr().out
    assert json.loads((tmp_path / "additivity.json").read_text())["slope"] == pytest.approx(1.1)
    assert (tmp_path / "additivity.png").exists()
    assert len(LatencyTable.read(tmp_path / "table.json").entries) > 20
