"""The peer of the resampling benchmark computes what tfgen computes."""

import argparse

import numpy as np
import pytest


@pytest.fixture
def arguments(monkeypatch):
    import sir

    monkeypatch.setattr(sir, "BATCH", 4)
    return argparse.Namespace(
        compile=False,
        draw=False,
        threads=1,
        rounds=1,
        num_proposals=6,
        chunk_size=4,
        width=16,
        num_cells=1,
        skip=[],
    )


def test_both_sides_choose_the_same_proposals(in_torch, arguments):
    import sir

    _, eager = sir.tfgen_variants(arguments)["tfgen eager"]()
    for run in sir.torch_variants(arguments).values():
        np.testing.assert_allclose(run()[1], eager, atol=1e-5)


def test_parts_side_by_side_choose_the_same(in_torch, arguments):
    import sir

    arguments.threads = 2
    chosen = {name: run()[1] for name, run in sir.torch_variants(arguments).items()}
    parts = {name for name in chosen if name.endswith(", in parts")}
    assert len(parts) == len(chosen) / 2
    for name in parts:
        whole = chosen[name.removesuffix(", in parts")]
        np.testing.assert_allclose(chosen[name], whole, atol=1e-5)


def test_both_sides_draw_proposals_of_their_own(in_torch, arguments):
    """Chosen noise is still nearly standard: of 5,120 numbers the mean square strays by 0.02 (one
    standard error), and the untrained classifier's choice moves it less than by half."""
    import sir

    arguments.draw = True
    found = sir.compare(arguments)
    assert found["same_choice"] is None
    variants = {**sir.tfgen_variants(arguments), **sir.torch_variants(arguments)}
    chosen = {name: run()[1] for name, run in variants.items() if "XLA" not in name}
    for noise in chosen.values():
        assert noise.shape == (4, 8, 8, 20)
        assert abs(np.mean(noise**2) - 1) < 0.5
    ours, theirs = chosen["tfgen eager"], chosen["torch contiguous"]
    np.testing.assert_allclose(ours, chosen["tfgen plain graph"], atol=1e-5)
    assert not np.allclose(ours, theirs)
