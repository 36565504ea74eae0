"""Halving and doubling grids, against sums over taps written out pixel by pixel."""

import numpy as np
import pytest

from tfgen.ops.resampling import downsample, upsample

TAPS = np.array([1.0, 3.0, 3.0, 1.0]) / 8.0
X = np.random.default_rng(0).standard_normal((2, 4, 6, 3)).astype(np.float32)


def halved(line):
    """Along the first axis: output i is the weighted sum of inputs 2i - 1 to 2i + 2."""
    count = len(line)
    return np.stack(
        [
            sum(TAPS[k] * line[2 * i - 1 + k] for k in range(4) if 0 <= 2 * i - 1 + k < count)
            for i in range(count // 2)
        ]
    )


def doubled(line):
    """Along the first axis: output 2i + p is 3/4 of input i and 1/4 of its neighbour."""
    zero = np.zeros_like(line[:1])
    before, after = np.concatenate([zero, line[:-1]]), np.concatenate([line[1:], zero])
    both = [0.25 * before + 0.75 * line, 0.75 * line + 0.25 * after]
    return np.stack(both, axis=1).reshape(-1, *line.shape[1:])


def along_both(function, x):
    rows = np.moveaxis(function(np.moveaxis(x, 1, 0)), 0, 1)
    return np.moveaxis(function(np.moveaxis(rows, 2, 0)), 0, 2)


@pytest.mark.parametrize(("ours", "direct"), [(downsample, halved), (upsample, doubled)])
def test_filtered(ours, direct):
    np.testing.assert_allclose(ours(X, filtered=True), along_both(direct, X), atol=1e-6)


def test_plain():
    repeated = np.repeat(np.repeat(X, 2, axis=1), 2, axis=2)
    np.testing.assert_array_equal(upsample(X), repeated)
    np.testing.assert_allclose(downsample(repeated), X, atol=1e-6)


def test_a_flat_grid_stays_flat_inside():
    flat = np.ones((1, 8, 8, 1), np.float32)
    np.testing.assert_allclose(downsample(flat, filtered=True)[:, 1:-1, 1:-1], 1.0, atol=1e-6)
    np.testing.assert_allclose(upsample(flat, filtered=True)[:, 1:-1, 1:-1], 1.0, atol=1e-6)
