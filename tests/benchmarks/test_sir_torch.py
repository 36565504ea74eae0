"""The peer of the resampling benchmark computes what tfgen computes."""

import argparse

import numpy as np


def test_both_sides_choose_the_same_proposals(in_torch, monkeypatch):
    import sir

    monkeypatch.setattr(sir, "BATCH", 4)
    arguments = argparse.Namespace(
        compile=False, threads=1, rounds=1, num_proposals=6, chunk_size=4, width=16, num_cells=1
    )
    _, eager = sir.tfgen_variants(arguments)["tfgen eager"]()
    for run in sir.torch_variants(arguments).values():
        np.testing.assert_allclose(run()[1], eager, atol=1e-5)
