"""The autoregressive flow: what it may look at, its Jacobian, its inverse."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_nvae import draw_images, normals, shaken_nvae

from tfgen.generative.nvae.flow import ShiftFlow, causal_mask
from tfgen.layers import FoldedWeights, LiveWeights, ParameterBank

SHAPE = (3, 4, 2)  # of a latent: 24 variables
SIZE = int(np.prod(SHAPE))


@pytest.fixture(scope="module", params=[0, 5], ids=["unconditional", "conditional"])
def flows(request):
    """A pair of steps over one bank with large weights, and features to condition on."""
    bank = ParameterBank()
    pair = [ShiftFlow(bank, SHAPE[-1], mirror, request.param) for mirror in (False, True)]
    bank.build()
    for gains in bank.log_gains.values():
        gains.assign_add(tf.ones(gains.shape))
    features = tf.random.stateless_normal((2, 3, 4, request.param), [1, 2])
    return pair, LiveWeights(bank), features if request.param else None


def latents():
    return tf.random.stateless_normal((2, *SHAPE), [3, 4])


def jacobian(function, features):
    z = latents()[:1]
    features = None if features is None else features[:1]
    with tf.GradientTape() as tape:
        tape.watch(z)
        y = tf.reshape(function(z, features), [-1])
    return tape.jacobian(y, z).numpy().reshape(SIZE, SIZE)


@pytest.mark.parametrize("mirror", [False, True], ids=["raster", "mirrored"])
def test_jacobian_is_unit_triangular_in_its_own_order(flows, mirror):
    pair, w, features = flows
    matrix = jacobian(lambda z, f: pair[mirror](w, z, f), features)
    order = np.arange(SIZE).reshape(-1, SHAPE[-1])
    order = (order[::-1] if mirror else order).reshape(-1)  # channels stay in their order
    matrix = matrix[np.ix_(order, order)]
    np.testing.assert_array_equal(np.triu(matrix, 1), 0.0)
    np.testing.assert_array_equal(np.diag(matrix), 1.0)
    assert np.abs(np.tril(matrix, -1)).max() > 1e-2


def test_pair_keeps_the_volume_and_mixes_everything(flows):
    (first, second), w, features = flows
    matrix = jacobian(lambda z, f: second(w, first(w, z, f), f), features)
    np.testing.assert_allclose(abs(np.linalg.det(matrix.astype(np.float64))), 1.0, atol=1e-5)
    off = matrix[~np.eye(SIZE, dtype=bool)]
    assert np.mean(off != 0) > 0.9


@pytest.mark.parametrize("mirror", [False, True], ids=["raster", "mirrored"])
def test_inverse(flows, mirror):
    pair, w, features = flows
    flow, z = pair[mirror], latents()
    inverse = tf.function(lambda y: flow.inverse(w, y, features), autograph=False)
    np.testing.assert_allclose(inverse(flow(w, z, features)), z, atol=1e-4)
    np.testing.assert_allclose(flow(w, inverse(z), features), z, atol=1e-4)


def test_features_matter_where_they_are_asked_for(flows):
    (flow, _), w, features = flows
    z = latents()
    if features is None:
        assert flow.condition is None
    else:
        assert np.all(np.any(flow(w, z, features) != flow(w, z, 2 * features), axis=(1, 2, 3)))


def test_folded_equals_live(flows):
    (flow, _), w, features = flows
    z = latents()
    folded = flow(FoldedWeights(w), z, features)
    np.testing.assert_allclose(folded, flow(w, z, features), rtol=1e-5, atol=1e-5)


class TestMask:
    def test_rows_above_and_pixels_left(self):
        mask = causal_mask(5, 2, 4, strict=True, mirror=False)
        assert mask.shape == (5, 5, 2, 4)
        assert np.all(mask[:2] == 1)
        assert np.all(mask[2, :2] == 1)
        assert np.all(mask[2, 3:] == 0)
        assert np.all(mask[3:] == 0)

    def test_centre_in_blocks(self):
        # Two latent channels, three hidden ones each.
        strict = causal_mask(3, 2, 6, strict=True, mirror=False)[1, 1]
        np.testing.assert_array_equal(strict, [[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]])
        loose = causal_mask(1, 6, 2, strict=False, mirror=False)[0, 0]
        np.testing.assert_array_equal(loose, [[1, 1]] * 3 + [[0, 1]] * 3)

    def test_mirrored_in_space_only(self):
        mask = causal_mask(3, 2, 6, strict=True, mirror=False)
        mirrored = causal_mask(3, 2, 6, strict=True, mirror=True)
        np.testing.assert_array_equal(mirrored, mask[::-1, ::-1])


class TestInNVAE:
    @pytest.fixture(scope="class")
    def model(self):
        return shaken_nvae(num_scales=1, num_flows=2, conditional_flow=True)

    def test_counts(self, model):
        # Each group: two pairs of two steps of three masked convolutions and a condition.
        assert [len(group) for group in model.network.flows] == [4, 4]
        bare = shaken_nvae(num_scales=1)
        assert model.bank.num_convs - bare.bank.num_convs == 2 * 4 * 4

    def test_flow_of_a_group_can_be_undone(self, model):
        w = model.weights_view()
        features = model.network.bottom_up(w, tf.constant(2.0 * draw_images(model, 2) - 1.0))
        z = tf.random.stateless_normal((2, *model.network.latent_shapes[1]), [0, 1])
        y = model.network.flow(w, 1, z, features)
        assert np.abs(y - z).max() > 1e-3
        for step in reversed(model.network.flows[1]):
            y = tf.function(lambda y, step=step: step.inverse(w, y, features[1]), autograph=False)(
                y
            )
        np.testing.assert_allclose(y, z, atol=1e-4)

    def test_prior_sampling_does_without(self, model):
        noise, images = normals(model, 2), draw_images(model, 2)
        sample, score = model.generate(noise), model.negative_elbo(images, [1, 2])["nelbo"]
        masked = [name for name in model.bank.kernels if name.endswith(("raster", "mirror"))]
        assert len(masked) == 6
        for name in masked:
            model.bank.log_gains[name].assign_add(tf.ones(model.bank.log_gains[name].shape))
        np.testing.assert_array_equal(model.generate(noise), sample)
        assert np.all(model.negative_elbo(images, [1, 2])["nelbo"] != score)
