"""Residual cells against their definition, composed of simple float64 steps."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.layers import Cell, InvertedResidual, LiveWeights, ParameterBank, Residual
from tfgen.layers.residual import FactorizedReduce, UpSkip
from tfgen.ops.convolution import upsample_bilinear, upsample_nearest

BODIES = {
    "residual": Residual(),
    "residual 5x5 elu": Residual((5, 3), "elu"),
    "residual without norm": Residual(activation="elu", norm=False),
    "inverted": InvertedResidual(3),
    "inverted in groups": InvertedResidual(2, 3, groups=4),
}
RESAMPLES = {None: (8, 8), "down": (8, 16), "up": (8, 4)}


def shaken(bank):
    """Builds the bank and moves every weight and statistic away from its start."""
    bank.build()
    rng = np.random.default_rng(3)
    for variable in bank.weights:
        variable.assign(variable * rng.uniform(0.5, 1.5, variable.shape))
    for channels, offsets in bank.offsets.items():
        offsets.assign(rng.standard_normal(offsets.shape))
        bank.means[channels].assign(rng.standard_normal(offsets.shape))
    return bank


def images(height=6, width=4, channels=8):
    return tf.random.stateless_normal((3, height, width, channels), [0, 1])


class Composed:
    """What cells ask of a view of the weights, in the definition's own order and in float64."""

    def __init__(self, bank, training):
        self.bank, self.training = bank, training
        self.live = LiveWeights(bank, training)

    def norm(self, norm, x, activation=None):
        x = tf.cast(x, tf.float64)
        scale, offset, mean, variance = (
            tf.cast(v[norm.channels][norm.row], tf.float64)
            for v in (self.bank.scales, self.bank.offsets, self.bank.means, self.bank.variances)
        )
        if self.training:
            mean, variance = tf.nn.moments(x, [0, 1, 2])
        y = (x - mean) / tf.sqrt(variance + 1e-5) * scale + offset
        return {"swish": tf.nn.silu, "elu": tf.nn.elu, None: tf.identity}[activation](y)

    def conv(self, conv, x, stride=1):
        kernel = tf.cast(self.live.kernel(conv), tf.float64)
        x = tf.cast(x, tf.float64)
        pad = (kernel.shape[0] - 1) // 2
        x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        if conv.depthwise:
            y = tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], "VALID")
        else:
            y = tf.concat(
                [
                    tf.nn.conv2d(a, b, stride, "VALID")
                    for a, b in zip(tf.split(x, conv.groups, -1), tf.split(kernel, conv.groups, -1))
                ],
                -1,
            )
        bias = self.live.bias(conv)
        return y if bias is None else y + tf.cast(bias, tf.float64)

    def dense(self, dense, x):
        kernel = tf.cast(self.bank.kernels[dense.stack][dense.row], tf.float64)
        return x @ kernel + tf.cast(self.bank.biases[dense.units][dense.bias_row], tf.float64)


def expected_cell(w, cell, spec, x, resample):
    """The cell as it is defined: the skip's and the body's operations one after the other."""
    stride = 2 if resample == "down" else 1
    body = cell.body
    if isinstance(spec, Residual):
        y = x
        for index, (norm, conv) in enumerate(zip(body.norms, body.convs)):
            y = w.norm(norm, y, spec.activation) if norm else tf.nn.elu(tf.cast(y, tf.float64))
            if index == 0 and resample == "up":
                y = upsample_nearest(y)
            y = w.conv(conv, y, stride if index == 0 else 1)
    else:
        # Doubled before everything: what the cell delays must not show.
        y = upsample_nearest(x) if resample == "up" else x
        y = w.norm(body.norms[0], y)
        y = w.norm(body.norms[1], w.conv(body.expand, y), "swish")
        y = w.norm(body.norms[2], w.conv(body.middle, y, stride), "swish")
        y = w.norm(body.norms[3], w.conv(body.project, y))
    gate = w.dense(cell.squeeze_excite.reduce, tf.reduce_mean(y, [1, 2]))
    gate = tf.sigmoid(w.dense(cell.squeeze_excite.expand, tf.nn.relu(gate)))
    y *= gate[:, None, None, :]
    return expected_skip(w, cell.skip, x) + 0.1 * y


def expected_skip(w, skip, x):
    if isinstance(skip, UpSkip):
        return w.conv(skip.conv, upsample_bilinear(x))
    if isinstance(skip, FactorizedReduce):
        x = tf.nn.silu(x)
        shifted = [x, x[:, 1:, 1:], x[:, :, 1:], x[:, 1:, :]]  # (0, 0), (1, 1), (0, 1), (1, 0)
        return tf.concat([w.conv(c, s, 2) for c, s in zip(skip.convs, shifted)], -1)
    return tf.cast(x, tf.float64)


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("resample", RESAMPLES)
@pytest.mark.parametrize("name", BODIES)
def test_cell(name, resample, training):
    spec, (channels, filters) = BODIES[name], RESAMPLES[resample]
    bank = ParameterBank()
    cell = Cell(bank, spec, channels, filters, resample)
    shaken(bank)
    x = images(channels=channels)
    y = cell(LiveWeights(bank, training), x)
    expected = expected_cell(Composed(bank, training), cell, spec, x, resample)
    size = {None: (6, 4), "down": (3, 2), "up": (12, 8)}[resample]
    assert y.shape == (3, *size, filters)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_delayed_doubling_records_the_doubled_statistics():
    # Equal pixels change a mean and a biased variance by nothing; the unbiased one counts them.
    bank = ParameterBank()
    cell = Cell(bank, InvertedResidual(2), 8, 4, "up")
    shaken(bank)
    x = images()
    w = LiveWeights(bank, training=True)
    cell(w, x)
    mean, variance = w.moments[cell.body.norms[0]]
    doubled = upsample_nearest(x).numpy().astype(np.float64).reshape(-1, 8)
    np.testing.assert_allclose(mean, doubled.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(variance, doubled.var(0, ddof=1), rtol=1e-5)


def test_without_squeeze_excite():
    bank = ParameterBank()
    cell = Cell(bank, Residual(), 8, 8, squeeze_excite=False)
    shaken(bank)
    x = images()
    w = LiveWeights(bank)
    np.testing.assert_allclose(cell(w, x), x + 0.1 * cell.body(w, x), rtol=1e-5, atol=1e-6)
    assert all(stack.kind != "dense" for stack in bank.stacks.values())


def test_squeeze_excite_width():
    for channels, hidden in ((8, 4), (64, 4), (160, 10)):
        bank = ParameterBank()
        cell = Cell(bank, Residual(), channels, channels)
        assert cell.squeeze_excite.reduce.units == hidden


def test_each_quarter_of_the_reduction_sees_one_phase():
    bank = ParameterBank()
    skip = FactorizedReduce(bank, 3, 11)
    shaken(bank)
    widths = [conv.filters for conv in skip.convs]
    assert widths == [2, 2, 2, 5]
    x = images(4, 4, 3).numpy()
    before = skip(LiveWeights(bank), tf.constant(x)).numpy()
    borders = np.cumsum([0, *widths])
    for quarter, (row, column) in enumerate([(0, 0), (1, 1), (0, 1), (1, 0)]):
        changed = x.copy()
        changed[:, row::2, column::2] += 1.0
        after = skip(LiveWeights(bank), tf.constant(changed)).numpy()
        seen = np.any(before != after, axis=(0, 1, 2))
        inside = (np.arange(11) >= borders[quarter]) & (np.arange(11) < borders[quarter + 1])
        np.testing.assert_array_equal(seen, inside)


def test_up_skip_commutes():
    bank = ParameterBank()
    skip = UpSkip(bank, 8, 4)
    shaken(bank)
    x = images()
    expected = expected_skip(Composed(bank, False), skip, x)
    np.testing.assert_allclose(skip(LiveWeights(bank), x), expected, rtol=1e-4, atol=1e-5)


def test_identity_needs_equal_widths():
    with pytest.raises(ValueError, match="keeps 8 channels, not 4"):
        Cell(ParameterBank(), Residual(), 8, 4)
