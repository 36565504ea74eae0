"""Candidates: they fit, they can be saved, and branches fold into one convolution."""

import keras
import numpy as np
import pytest
import small_networks

from tfgen.errors import ConfigError
from tfgen.search.hant.families import lambda_layer
from tfgen.search.hant.folding import folded, merge_branches
from tfgen.search.hant.network import CutNetwork
from tfgen.search.hant.pool import (
    checked_pool,
    full_pool,
    make_operation,
    operation_name,
    possible,
    small_pool,
    stride_of,
)

# One of every family, the rarer options among them.
EACH = [
    {"family": "efn", "expansion": 3, "kernel": 5, "squeeze": 0.25},
    {"family": "efnv2", "expansion": 1, "kernel": 1, "squeeze": 0.25},
    {"family": "cb_stack", "kernel": 7, "width": 0.5},
    {"family": "cb_bottle", "kernel": 3, "width": 0.1},
    {"family": "cb_res", "kernel": 1},
    {"family": "conv_cs", "kernel": 3, "width": 1.0, "groups": 2},
    {"family": "separable", "kernel": 5},
    {"family": "repvgg", "kernel": 3},
    {"family": "vit", "depth": 1, "dim": 8, "heads": 4},
    {"family": "bot_trans", "expansion": 1.0},
    {"family": "lambda", "expansion": 1.0, "heads": 2, "dim": 3, "scope": 3},
]


@pytest.fixture(scope="module")
def mobile():
    return CutNetwork(small_networks.mobile())


@pytest.fixture(scope="module")
def residual():
    return CutNetwork(small_networks.residual(num_blocks=2))


@pytest.mark.parametrize("operation", EACH, ids=operation_name)
def test_every_family_fits_every_layer(mobile, operation):
    """The third layer halves the grid and changes the width."""
    for number in (1, 2):
        segment = mobile.segments[number]
        made = make_operation(operation, segment)
        assert made.input.shape == segment.input.shape
        assert made.output.shape == segment.output.shape
    x = np.random.default_rng(0).random((2, *segment.input.shape[1:])).astype(np.float32)
    assert np.isfinite(made(x)).all()
    again = type(made).from_config(made.get_config())
    again.set_weights(made.get_weights())
    np.testing.assert_array_equal(again(x), made(x))


def test_in_the_network(mobile):
    made = {k: make_operation(EACH[k], mobile.segments[k]) for k in (1, 2)}
    network = mobile.assemble(made)
    assert network(small_networks.images()).shape == (4, 5)
    assert "block1_add_efnv2_e1_k1_se0p25_add" in {layer.name for layer in network.layers}


class TestPools:
    def test_names_are_unique(self):
        assert len(checked_pool(small_pool())) == 22
        assert len(checked_pool(full_pool())) == 194
        assert operation_name({"family": "efn", "expansion": 3, "kernel": 5}) == "efn_e3_k5"
        assert operation_name({"family": "cb_stack", "kernel": 3, "width": 0.125}) == (
            "cb_stack_k3_w0p125"
        )

    def test_where_the_identity_fits(self, mobile):
        identity = {"family": "identity"}
        assert [possible(identity, s) for s in mobile.segments] == [True, True, False, True]
        assert make_operation(identity, mobile.segments[0]) is None
        with pytest.raises(ConfigError, match="block2_project_bn changes the shape"):
            make_operation(identity, mobile.segments[2])

    def test_strides(self, mobile):
        assert [stride_of(segment) for segment in mobile.segments] == [1, 1, 2, 1]

    @pytest.mark.parametrize(
        ("pool", "message"),
        [
            ([{"family": "conv"}], "the family of an operation is 'conv'; expected one of teacher"),
            ([{"family": "efn", "size": 3}], "option of efn is 'size'; expected one of expansion"),
            ([{"family": "cb_res"}, {"family": "cb_res"}], "the pool has cb_res twice"),
            ([{}], "the family of an operation is None"),
        ],
    )
    def test_refusals(self, pool, message):
        with pytest.raises(ConfigError, match=message):
            checked_pool(pool)


def test_a_last_activation_stays(residual, mobile):
    made = make_operation(EACH[4], residual.segments[0])
    assert isinstance(made.layers[-1], keras.layers.ReLU)
    assert not isinstance(make_operation(EACH[4], mobile.segments[0]).layers[-1], keras.layers.ReLU)


def test_a_lambda_layer_is_the_sum_over_places():
    """In float64, place by place: `(sum of softmax(K) V + sum of E V) q` of every query."""
    rng, (side, heads, dim, values, scope) = np.random.default_rng(0), (4, 2, 3, 5, 3)
    x = keras.Input((side, side, 4))
    model = keras.Model(x, lambda_layer(x, heads * values, heads, dim, scope, name="l"))
    small_networks.randomized(model)
    names = ("l_heads", "l_flat_keys", "l_flat_values")
    parts = keras.Model(x, [model.get_layer(name).output for name in names])
    images = rng.standard_normal((2, side, side, 4)).astype(np.float32)
    queries, keys, given = (np.float64(y) for y in parts(images, training=False))
    keys = np.exp(keys) / np.exp(keys).sum(1, keepdims=True)
    kernel = np.float64(model.get_layer("l_positions").kernel)[:, :, 0, 0]  # [scope, scope, dim]
    expected = np.zeros((2, side, side, heads, values))
    for row, column in np.ndindex(side, side):
        function = np.einsum("bnk,bnv->bkv", keys, given)
        for i, j in np.ndindex(scope, scope):
            y, z = row + i - scope // 2, column + j - scope // 2
            if 0 <= y < side and 0 <= z < side:
                function += kernel[i, j][:, None] * given[:, y * side + z][:, None]
        expected[:, row, column] = np.einsum("bhk,bkv->bhv", queries[:, row, column], function)
    found = model(images, training=False)
    np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=1e-4, atol=1e-5)


class TestFolding:
    @pytest.mark.parametrize("depthwise", [False, True])
    def test_batch_norm(self, depthwise):
        x = keras.Input((5, 5, 3))
        kind = keras.layers.DepthwiseConv2D if depthwise else keras.layers.Conv2D
        conv = kind(3) if depthwise else kind(4, 3)
        norm = keras.layers.BatchNormalization()
        model = small_networks.randomized(keras.Model(x, norm(conv(x))))
        kernel, bias = folded(conv.kernel.numpy(), conv.bias.numpy(), norm)
        plain = kind(3) if depthwise else kind(4, 3)
        plain.build((None, 5, 5, 3))
        plain.set_weights([kernel, bias])
        images = small_networks.images(3, 5)
        np.testing.assert_allclose(plain(images), model(images), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize(("layer", "side"), [(1, 8), (2, 8), (2, 9)])
    def test_three_branches_are_one_convolution(self, layer, side):
        """Of a stride of two the padding is not the same on both sides of an even grid."""
        cut = CutNetwork(small_networks.mobile(side))
        block = make_operation({"family": "repvgg", "kernel": 3}, cut.segments[layer])
        small_networks.randomized(block)
        merged = merge_branches(block)
        assert len(merged.layers) == 2
        shape = (2, *block.inputs[0].shape[1:])
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        np.testing.assert_allclose(merged(x), block(x), rtol=1e-5, atol=1e-5)
        assert merged.name == block.name

    def test_its_activation_stays(self, residual):
        block = make_operation({"family": "repvgg", "kernel": 3}, residual.segments[0])
        small_networks.randomized(block)
        merged, x = merge_branches(block), small_networks.images(2, 8)[..., [0, 1, 2, 0]]
        np.testing.assert_allclose(merged(x), block(x), rtol=1e-5, atol=1e-5)
        assert isinstance(merged.layers[-1], keras.layers.ReLU)

    def test_something_else(self, mobile):
        with pytest.raises(ConfigError, match="is no block of three branches"):
            merge_branches(make_operation(EACH[4], mobile.segments[0]))
