"""The peer of the resampling benchmark computes what tfgen computes."""

import argparse
import pathlib
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tools" / "benchmarks"


def test_both_sides_choose_the_same_proposals(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    sys.modules.pop("sir", None)
    import sir

    monkeypatch.setattr(sir, "BATCH", 4)
    arguments = argparse.Namespace(
        compile=False, threads=1, rounds=1, num_proposals=6, chunk_size=4, width=16, num_cells=1
    )
    eager = sir.tfgen_variants(arguments)["tfgen eager"]()
    for run in sir.torch_variants(arguments).values():
        np.testing.assert_allclose(run(), eager, atol=1e-5)
