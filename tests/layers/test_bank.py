"""Where parameters live: declaration, counting, initial values, whole-network quantities."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.layers import (
    Cell,
    FoldedWeights,
    InvertedResidual,
    LiveWeights,
    ParameterBank,
    Residual,
)


def declared(bank):
    """A little of everything, with several rows of a shape."""
    mask = np.triu(np.ones((4, 6), np.float32))[None, None]
    parts = {
        "plain": [bank.conv(4, 6, 1, bias=False, weight_norm=False) for _ in range(2)],
        "normed": [bank.conv(4, 6, 3) for _ in range(3)],
        "masked": [bank.conv(4, 6, 1, mask=mask, mask_name="upper", log_gain_shift=-1.0)],
        "depthwise": [bank.conv(6, 6, 5, bias=False, depthwise=True)],
        "grouped": [bank.conv(4, 6, 3, groups=2)],
        "dense": [bank.dense(4, 6), bank.dense(6, 4)],
        "norms": [bank.batch_norm(6), bank.batch_norm(6), bank.batch_norm(4)],
    }
    bank.free("start", (2, 3, 4))
    return parts


@pytest.fixture(scope="module")
def bank():
    bank = ParameterBank(seed=5)
    bank.parts = declared(bank)
    bank.build()
    return bank


def test_counts_from_declarations_alone(bank):
    unbuilt = ParameterBank()
    declared(unbuilt)
    assert not unbuilt.weights
    assert unbuilt.num_convs == 2 + 3 + 1 + 1 + 1
    assert unbuilt.num_batch_norms == 3
    plain, normed, masked = 2 * 24, 3 * (9 * 24 + 6 + 6), 24 + 6 + 6
    depthwise, grouped = 25 * 6 + 6, 9 * 2 * 6 + 6 + 6
    dense, norms, free = 30 + 28, 2 * (6 + 6 + 4), 24
    total = plain + normed + masked + depthwise + grouped + dense + norms + free
    assert unbuilt.num_parameters == total
    assert sum(int(np.prod(v.shape)) for v in bank.trainable_weights) == total


def test_same_shapes_share_a_variable(bank):
    stacks = {part.stack for kind in ("plain", "normed", "masked") for part in bank.parts[kind]}
    assert len(stacks) == 3
    assert [part.row for part in bank.parts["normed"]] == [0, 1, 2]
    assert bank.kernels[bank.parts["normed"][0].stack].shape == (3, 3, 3, 4, 6)


def test_initial_values(bank):
    # PyTorch's defaults: uniform in +-1 / sqrt(fan in), kernels and biases alike.
    for kind, fan_in in (("plain", 4), ("normed", 36), ("depthwise", 25), ("grouped", 18)):
        kernel = bank.kernels[bank.parts[kind][0].stack].numpy()
        bound = fan_in**-0.5
        assert np.abs(kernel).max() <= bound
        assert np.abs(kernel).max() > 0.8 * bound
        # The standard deviation of the mean of n such values is bound / sqrt(3 n).
        assert abs(kernel.mean()) < 5 * bound / np.sqrt(3 * kernel.size)
    fans = bank.bias_fans[6]
    assert fans == [36, 36, 36, 4, 18, 4]
    assert np.all(np.abs(bank.biases[6]) <= np.power(fans, -0.5)[:, None])
    start = bank.tensors["start"].numpy()
    assert start.min() >= 0
    assert start.max() < 1
    assert len(np.unique(start)) == start.size


def test_a_dense_layer_may_start_at_zero():
    bank = ParameterBank()
    zero, usual, large = (bank.dense(3, 2, gain=gain) for gain in (0.0, 1.0, 9.0))
    bank.build()
    assert zero.stack != usual.stack
    np.testing.assert_array_equal(bank.kernels[zero.stack], np.zeros((1, 3, 2)))
    biases = bank.biases[2].numpy()
    np.testing.assert_array_equal(biases[zero.bias_row], np.zeros(2))
    assert np.all(biases[[usual.bias_row, large.bias_row]] != 0)
    bound = 3**-0.5
    assert 0 < np.abs(bank.kernels[usual.stack].numpy()).max() <= bound
    assert bound < np.abs(bank.kernels[large.stack].numpy()).max() <= 9 * bound


def test_constants_are_not_trained():
    bank = ParameterBank()
    bank.free("fixed", (2, 3), trainable=False)
    bank.free("trained", (4,))
    bank.build()
    assert not bank.tensors["fixed"].trainable
    assert bank.num_parameters == 4 == sum(v.shape[0] for v in bank.trainable_weights)


def test_initial_values_depend_on_the_seed_only():
    values = []
    for seed in (5, 5, 6):
        bank = ParameterBank(seed=seed)
        declared(bank)
        bank.build()
        values.append(np.concatenate([np.ravel(v) for v in bank.weights]))
    np.testing.assert_array_equal(values[0], values[1])
    assert np.mean(values[0] == values[2]) < 0.5


def test_weight_norm_of_masked_kernels(bank):
    (conv,) = bank.parts["masked"]
    raw = bank.kernels[conv.stack].numpy()[0, 0, 0] * np.triu(np.ones((4, 6)))
    norm = np.linalg.norm(raw, axis=0)
    gain = (norm + 1e-2) * np.exp(-1.0)
    effective = LiveWeights(bank).kernel(conv)[0, 0]
    np.testing.assert_allclose(effective, raw * gain / (norm + 1e-5), rtol=1e-5, atol=1e-7)
    assert np.all(effective.numpy()[np.tril_indices(4, -1)] == 0)


def test_spectral_sum_is_that_of_the_flattened_effective_kernels(bank):
    view = LiveWeights(bank)
    total = 0.0
    for kind in ("plain", "normed", "masked", "depthwise", "grouped"):
        for conv in bank.parts[kind]:
            kernel = view.kernel(conv).numpy().astype(np.float64)
            flat = kernel.reshape(25, 6) if conv.depthwise else kernel.reshape(-1, conv.filters)
            total += np.linalg.norm(flat, 2)
    value, updates = view.spectral_sum(100)
    np.testing.assert_allclose(value, total, rtol=1e-4)
    assert len(updates) == 2 * 5
    assert all(not variable.trainable for variable, _ in updates)


def test_scale_penalty(bank):
    fresh = ParameterBank()
    declared(fresh)
    fresh.build()
    assert float(fresh.scale_penalty()) == 3.0
    fresh.scales[6].assign([[1, -4, 2, 0, 0, 0], [0.5] * 6])
    assert float(fresh.scale_penalty()) == 4.0 + 0.5 + 1.0
    empty = ParameterBank()
    empty.build()
    assert float(empty.scale_penalty()) == 0.0


def test_running_statistics_move_by_a_twentieth():
    bank = ParameterBank()
    used, unused = bank.batch_norm(4), bank.batch_norm(4)
    other = bank.batch_norm(3)
    bank.build()
    x = 2.0 + 3.0 * tf.random.stateless_normal((5, 3, 2, 4), [0, 1])
    w = LiveWeights(bank, training=True)
    w.norm(used, x, "swish")
    updates = w.statistics_updates()
    assert [variable is v for (variable, _), v in zip(updates, (bank.means[4], bank.variances[4]))]
    assert not any(variable is bank.means[other.channels] for variable, _ in updates)
    (_, mean), (_, variance) = updates
    flat = x.numpy().astype(np.float64).reshape(-1, 4)
    np.testing.assert_allclose(mean[used.row], 0.05 * flat.mean(0), rtol=1e-4)
    np.testing.assert_allclose(variance[used.row], 0.95 + 0.05 * flat.var(0, ddof=1), rtol=1e-4)
    np.testing.assert_allclose(mean[unused.row], np.zeros(4), atol=1e-7)
    np.testing.assert_allclose(variance[unused.row], np.ones(4), rtol=1e-6)


def test_constant_statistics_converge_geometrically():
    # After n updates: old + (1 - 0.95^n) (m - old).
    bank = ParameterBank()
    norm = bank.batch_norm(2)
    bank.build()
    x = tf.constant([[[[3.0, -1.0]]], [[[5.0, 1.0]]]])  # mean (4, 0), unbiased variance 2
    for n in range(1, 6):
        w = LiveWeights(bank, training=True)
        w.norm(norm, x)
        for variable, value in w.statistics_updates():
            variable.assign(value)
        share = 1 - 0.95**n
        np.testing.assert_allclose(bank.means[2][0], [4 * share, 0], atol=1e-5)
        np.testing.assert_allclose(bank.variances[2][0], [1 + share] * 2, atol=1e-5)


@pytest.mark.parametrize("resample", [None, "down", "up"])
@pytest.mark.parametrize("body", [Residual(), InvertedResidual(2), Residual(norm=False)])
def test_folded_equals_live(body, resample):
    bank = ParameterBank()
    cell = Cell(bank, body, 8, {None: 8, "down": 16, "up": 4}[resample], resample)
    bank.build()
    rng = np.random.default_rng(1)
    for variable in bank.weights:
        variable.assign(variable + rng.uniform(0.1, 0.5, variable.shape))
    x = tf.random.stateless_normal((2, 6, 4, 8), [0, 1])
    view = FoldedWeights(LiveWeights(bank))
    first = cell(view, x)
    np.testing.assert_allclose(first, cell(LiveWeights(bank), x), rtol=1e-4, atol=1e-4)
    # What was folded stands on its own.
    np.testing.assert_array_equal(cell(FoldedWeights(None, view.folded), x), first)


def test_config_round_trip():
    bank = ParameterBank(seed=7, name="bank")
    again = ParameterBank.from_config(bank.get_config())
    assert (again.seed, again.name) == (7, "bank")
