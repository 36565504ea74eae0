"""Score networks: their sizes, what they start from, and what stays float32."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.generative.lsgm import ScoreMLP, ScoreUNet
from tfgen.generative.lsgm.mixing import NoisePredictor
from tfgen.layers import ParameterBank
from tfgen.layers.diffusion import SelfAttention, TimeEmbedding, scaled_conv
from tfgen.layers.weights import LiveWeights
from tfgen.ops.diffusion import VESDE, VPSDE, GeometricVPSDE, SubVPSDE

TINY = dict(num_channels=8, multipliers=(1, 2), num_blocks=1, embedding_dims=8)
RNG = np.random.default_rng(0)
SDES = [VPSDE(), SubVPSDE(), VESDE(), GeometricVPSDE()]


def tensor(*shape):
    return tf.constant(RNG.standard_normal(shape), tf.float32)


def disturbed(network, scale=0.1):
    """The network with nothing at zero."""
    network.build()
    for variable in network.trainable_variables:
        variable.assign_add(scale * tensor(*variable.shape))
    return network


@pytest.mark.parametrize(
    ("shape", "options", "millions"),
    [
        ((16, 16, 180), dict(num_channels=512, multipliers=(1, 1, 1), filtered=True), 375.6),
        ((8, 8, 40), dict(num_channels=256, multipliers=(1, 1)), 63.8),
        ((16, 16, 60), dict(num_channels=256, multipliers=(1, 1, 1)), 97.8),
        ((32, 32, 160), dict(num_channels=256, multipliers=(1, 2, 2, 2), filtered=True), 408.4),
    ],
    ids=["CIFAR-10", "MNIST", "OMNIGLOT", "CelebA-HQ"],
)
def test_published_sizes_without_making_a_variable(shape, options, millions):
    network = ScoreUNet(shape, **options)
    assert round(network.num_parameters / 1e6, 1) == millions
    assert not network.variables


@pytest.mark.parametrize("filtered", [False, True])
def test_declared_parameters_are_those_built(filtered):
    network = ScoreUNet((4, 4, 3), attention_grids=(4,), filtered=filtered, **TINY)
    network.build()
    built = sum(int(np.prod(v.shape)) for v in network.trainable_variables)
    assert network.num_parameters == built


@pytest.mark.parametrize("sde", SDES, ids=lambda sde: type(sde).__name__)
@pytest.mark.parametrize(
    "network", [ScoreUNet((4, 4, 3), **TINY), ScoreMLP((3,), width=8, num_blocks=1)]
)
def test_starts_as_the_normal_prior(network, sde):
    z, t = tensor(2, *network.latent_shape), tf.constant([0.1, 0.9])
    assert np.abs(network(z, t)).max() < 1e-3
    alpha = tf.fill([3], 0.25)
    predict = NoisePredictor(sde, network.predict, network.weights_view(), alpha)
    c = sde.std(t) / ((1 - sde.initial_variance) * sde.mean(t) ** 2 + sde.variance(t))
    c = tf.reshape(c, [-1] + [1] * (z.shape.rank - 1))
    np.testing.assert_allclose(predict(z, t), 0.75 * c * z, atol=1e-3)


@pytest.mark.parametrize("sde", SDES, ids=lambda sde: type(sde).__name__)
def test_velocity_is_what_the_normal_leaves(sde):
    """s^2 is the variance of eps - c z_t, and a network of zeros is the Normal prior."""

    def predictor(network):
        w, alpha = network.weights_view(), tf.fill([3], 0.5)
        return NoisePredictor(sde, network.predict, w, alpha, velocity=True)

    z, t = tensor(3, 4, 4, 3), tf.constant([0.02, 0.4, 0.9])
    predict = predictor(ScoreUNet((4, 4, 3), **TINY))
    left, wide = predict.error_of_normal(t), tf.cast(t, tf.float64)
    variance = 1.0 - sde.normal_coefficient(wide) * sde.std(wide)
    np.testing.assert_allclose(left**2, variance, rtol=1e-4)
    np.testing.assert_allclose(predict(z, t), predict.normal(z, t), atol=1e-3)
    network = disturbed(ScoreUNet((4, 4, 3), **TINY))
    expected = predict.normal(z, t) + 0.5 * left[:, None, None, None] * network(z, t)
    np.testing.assert_allclose(predictor(network)(z, t), expected, atol=1e-5)


def test_spread_of_initial_weights():
    bank = ParameterBank()
    conv = scaled_conv(bank, 32, 64)
    bank.build()
    kernel = bank.kernels[conv.stack].numpy()
    expected = 1.0 / (0.5 * 9 * (32 + 64))
    np.testing.assert_allclose(kernel.var(), expected, rtol=0.05)
    assert not bank.biases[64].numpy().any()


def test_attention_is_a_softmax_over_pixels():
    bank = ParameterBank()
    attention = SelfAttention(bank, 8)
    bank.build()
    for variable in bank.trainable_variables:
        variable.assign_add(tensor(*variable.shape))
    w, x = LiveWeights(bank), tensor(2, 3, 2, 8)
    h = w.group_norm(attention.norm, x).numpy().reshape(2, 6, 8).astype(np.float64)
    kernels = [w.kernel(c).numpy()[0, 0] for c in (*attention.inputs, attention.output)]
    biases = [w.bias(c).numpy() for c in (*attention.inputs, attention.output)]
    q, k, v = (h @ kernel + bias for kernel, bias in zip(kernels[:3], biases[:3]))
    scores = np.exp(np.einsum("bic,bjc->bij", q, k) / np.sqrt(8))
    weights = scores / scores.sum(-1, keepdims=True)
    out = (weights @ v @ kernels[3] + biases[3]).reshape(x.shape)
    np.testing.assert_allclose(attention(w, x), (x + out) / np.sqrt(2), rtol=1e-3, atol=1e-4)


def test_time_is_embedded_by_the_published_frequencies():
    bank = ParameterBank()
    embedding = TimeEmbedding(bank, 6, 24, "sinusoidal")
    bank.build()
    dense = []

    class Recording(LiveWeights):
        def dense(self, part, x, activation=None):
            dense.append(x)
            return super().dense(part, x, activation)

    embedding(Recording(bank, dtype="bfloat16"), tf.constant([0.25]))
    angles = 250.0 * np.exp(-np.log(1e4) * np.arange(3) / 2)
    np.testing.assert_allclose(dense[0][0], [*np.sin(angles), *np.cos(angles)], atol=1e-4)
    assert [x.dtype for x in dense] == [tf.float32, tf.float32]  # under mixed precision too


def test_random_frequencies_differ_by_seed_and_bear_time_zero():
    z, t = tensor(2, 4, 4, 3), tf.constant([0.0, 1.0])
    one, same, other = (
        disturbed(ScoreUNet((4, 4, 3), embedding="fourier", seed=s, **TINY), 0.0) for s in (0, 0, 1)
    )
    values = [n.embedding(n.weights_view(), t).numpy() for n in (one, same, other)]
    np.testing.assert_array_equal(values[0], values[1])
    assert np.abs(values[0] - values[2]).max() > 0.01
    assert np.isfinite(one(z, t)).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda **kwargs: ScoreUNet((4, 4, 3), attention_grids=(4,), dropout=0.5, **TINY, **kwargs),
        lambda **kwargs: ScoreMLP((3,), width=8, num_blocks=2, dropout=0.5, **kwargs),
    ],
)
class TestEveryNetwork:
    def test_dropout_follows_its_seed(self, make):
        network = disturbed(make())
        z, t = tensor(2, *network.latent_shape), tf.constant([0.1, 0.9])
        w = network.weights_view(training=True)
        plain, first, again, second = (
            network.predict(w, z, t, seed).numpy() for seed in (None, (0, 1), (0, 1), (0, 2))
        )
        np.testing.assert_array_equal(first, again)
        assert np.abs(first - plain).max() > 1e-4
        assert np.abs(first - second).max() > 1e-4
        np.testing.assert_allclose(network(z, t), plain, rtol=1e-5, atol=1e-6)

    def test_half_precision_predicts_float32(self, make):
        network = make(dtype="mixed_bfloat16")
        z, t = tensor(2, *network.latent_shape), tf.constant([0.1, 0.9])
        coarse = disturbed(network)(z, t)
        fine = make()
        fine.build()
        fine.set_weights(network.get_weights())
        assert coarse.dtype == tf.float32
        np.testing.assert_allclose(coarse, fine(z, t), atol=0.1 * np.abs(fine(z, t)).max())
        assert np.abs(coarse - fine(z, t)).max() > 0

    def test_comes_back(self, make):
        network = make(seed=3)
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(network))
        network.build()
        again.build()
        for a, b in zip(network.get_weights(), again.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_inactive_channels_neither_see_nor_feel_the_network():
    network = disturbed(ScoreUNet((4, 4, 3), **TINY))
    active = tf.constant([1.0, 0.0, 1.0])
    predict = NoisePredictor(
        VPSDE(), network.predict, network.weights_view(), tf.fill([3], 0.5), active
    )
    z, t = tensor(2, 4, 4, 3), tf.constant([0.3, 0.6])
    before = predict(z, t)
    np.testing.assert_allclose(before[..., 1], predict.normal(z, t)[..., 1])
    other = z + tf.constant([0.0, 5.0, 0.0])
    np.testing.assert_allclose(predict(other, t)[..., ::2], before[..., ::2], atol=1e-6)


def test_mixing_logit_learns_from_the_start():
    logit = tf.Variable(tf.fill([3], -6.0))
    network = ScoreMLP((3,), width=8, num_blocks=1)
    z = tensor(4, 3)
    with tf.GradientTape() as tape:
        alpha = tf.sigmoid(logit)
        w = network.weights_view()
        eps = NoisePredictor(VPSDE(), network.predict, w, alpha)(z, tf.constant(0.5))
        loss = tf.reduce_sum(eps**2)
    np.testing.assert_allclose(alpha, 0.00247262, rtol=1e-5)
    assert np.abs(tape.gradient(loss, logit)).min() > 1e-6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ScoreUNet((6, 6, 3), multipliers=(1, 1, 1)), "divide by 4"),
        (lambda: ScoreUNet((7,)), "ScoreMLP for vectors"),
        (lambda: ScoreUNet((4, 4, 3), num_channels=0), "num_channels is 0"),
        (lambda: ScoreUNet((4, 4, 3), dropout=1.0), "dropout is 1.0"),
        (lambda: ScoreUNet((4, 4, 3), embedding="learned"), "one of sinusoidal, fourier"),
        (lambda: ScoreMLP((4,), embedding_dims=5), "even number"),
        (lambda: ScoreMLP((4,), width=0.5), "width is 0.5"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
