"""The energy network: its table, its pieces and what keeps it tame."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.generative.vaebm import EnergyNetwork
from tfgen.generative.vaebm.energy import ARCHITECTURES, lip_swish


def tiny(**options):
    options = {"image_shape": (8, 8, 3), "architecture": "mnist", "num_channels": 4, **options}
    model = EnergyNetwork(**options)
    model.build()
    return model


def images(count=6, shape=(8, 8, 3), seed=0):
    return tf.constant(np.random.default_rng(seed).random((count, *shape)), tf.float32)


def expected_parameters(architecture, channels, image_channels):
    """Counted by hand: kernels, one gain per filter, biases of 3x3 convolutions, the head."""
    conv = lambda a, b: 9 * a * b + 2 * b  # noqa: E731
    total, width = conv(image_channels, channels), channels
    for multiple, down in ARCHITECTURES[architecture]:
        filters = multiple * channels
        total += conv(width, filters) + conv(filters, filters)
        if down or width != filters:
            total += width * filters + filters
        width = filters
    return total + width + 1


@pytest.mark.parametrize(
    ("architecture", "channels", "image_channels", "millions"),
    [
        ("cifar10", 128, 3, 5.14),
        ("celeba64", 64, 3, 4.34),
        ("lsun_church64", 64, 3, 5.81),
        ("celeba_hq256", 64, 3, 14.2),
        ("mnist", 64, 3, 0.68),
    ],
)
def test_parameters_are_those_of_the_paper(architecture, channels, image_channels, millions):
    network = EnergyNetwork((256, 256, image_channels), architecture, channels)
    assert network.num_parameters == expected_parameters(architecture, channels, image_channels)
    digits = 1 if millions > 10 else 2
    assert round(network.num_parameters / 1e6, digits) == millions
    assert not network.weights  # counted without allocating


def test_lip_swish_slopes():
    x = tf.Variable(np.linspace(-20, 20, 400_001))
    with tf.GradientTape() as tape:
        y = lip_swish(x)
    slopes = tape.gradient(y, x).numpy()
    np.testing.assert_allclose(slopes.max(), 0.99985, atol=2e-5)
    np.testing.assert_allclose(slopes.min(), -0.0908, atol=5e-5)
    np.testing.assert_allclose(y, x / (1 + np.exp(-x)) / 1.1, rtol=1e-12)


def test_weight_norm_and_data_initialisation():
    network, batch = tiny(), images(200)
    network.initialize_from_data(batch)
    seen = {}

    class Recorder(type(network.weights_view())):
        def conv(self, conv, x, **kwargs):
            seen[conv] = super().conv(conv, x, **kwargs)
            return seen[conv]

        def pooled_conv(self, conv, x):
            seen[conv] = super().conv(conv, x)  # before the mean
            return super().pooled_conv(conv, x)

    network.energies(Recorder(network.bank), batch)
    assert len(seen) == 1 + 2 * 4 + 2
    for conv, y in seen.items():
        mean, variance = tf.nn.moments(y, [0, 1, 2])
        np.testing.assert_allclose(np.sqrt(variance), 0.2, atol=0.002)
        if conv.bias_row is not None:
            np.testing.assert_allclose(mean, 0.0, atol=1e-3)
        kernel = network.weights_view().kernel(conv).numpy()
        norms = np.linalg.norm(kernel.reshape(-1, conv.filters), axis=0)
        gains = np.exp(network.bank.log_gains[conv.stack].numpy()[conv.row])
        np.testing.assert_allclose(norms, gains, rtol=1e-4)


def test_features_are_summed_over_the_grid():
    # A constant image looks the same everywhere but for the border, which this network has not:
    # with all 3x3 kernels reduced to their centres, twice the side is four times the energy.
    small, large = tiny(), tiny(image_shape=(16, 16, 3))
    for network in (small, large):
        for name, variable in network.bank.kernels.items():
            if name.startswith("conv_3x3"):
                centre = np.zeros(variable.shape)
                centre[:, 1, 1] = variable.numpy()[:, 1, 1]
                variable.assign(centre)
    ones = 0.3 * np.ones([1, 16, 16, 3])
    bias = small.bank.biases[1].numpy()[0, 0]
    a, b = float(small(ones[:, :8, :8])[0]) - bias, float(large(ones)[0]) - bias
    np.testing.assert_allclose(b, 4 * a, rtol=1e-5)
    assert abs(a) > 1e-4


def test_spectral_penalty_meets_svd():
    network = tiny(num_channels=6)
    view = network.weights_view()
    exact = sum(
        np.linalg.norm(matrix, 2)
        for name in network.bank.left
        for matrix in view.effective(name).numpy()
    )
    for _ in range(10):  # 40 iterations
        total, updates = network.weights_view().spectral_sum(4)
        for variable, value in updates:
            variable.assign(value)
    np.testing.assert_allclose(total, exact, rtol=1e-3)
    # Twice the gain is twice the norm.
    for gains in network.bank.log_gains.values():
        gains.assign(gains + np.log(2.0))
    np.testing.assert_allclose(network.weights_view().spectral_sum(4)[0], 2 * total, rtol=1e-3)


def test_gradient_of_the_penalty_is_u_v_through_weight_norm():
    network = tiny(num_channels=6)
    name = network.stem.stack
    raw, gains = network.bank.kernels[name], network.bank.log_gains[name]
    for _ in range(20):
        _, updates = network.weights_view().spectral_sum(4)
        for variable, value in updates:
            variable.assign(value)
    with tf.GradientTape() as tape:
        total, _ = network.weights_view().spectral_sum(4)
    gradient = tape.gradient(total, [raw.value, gains.value])
    w = raw.numpy()[0].reshape(-1, 6).astype(np.float64)
    norms = np.linalg.norm(w, axis=0)
    factor = np.exp(gains.numpy()[0].astype(np.float64)) / (norms + 1e-5)
    u, _, vt = np.linalg.svd(w * factor)
    outer = np.outer(u[:, 0], vt[0])
    inner = np.sum(outer * w, axis=0)
    expected = factor * outer - factor * inner / ((norms + 1e-5) * norms) * w
    np.testing.assert_allclose(
        gradient[0].numpy()[0].reshape(-1, 6), expected, rtol=2e-3, atol=2e-4
    )
    np.testing.assert_allclose(gradient[1].numpy()[0], factor * inner, rtol=2e-3, atol=2e-4)


def test_folded_equals_live():
    network, batch = tiny(), images()
    np.testing.assert_allclose(
        network.energies(network.folded(), batch), network(batch), rtol=1e-5, atol=1e-6
    )


def test_signed_input():
    plain, signed = tiny(), tiny(signed_input=True)
    batch = images()
    np.testing.assert_allclose(signed(batch), plain(2 * batch - 1), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "galaxies"}, "cifar10"),
        ({"image_shape": (2, 2, 1), "architecture": "celeba64"}, "fewer"),
        ({"num_channels": 0}, "at least 1"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ConfigError, match=message):
        EnergyNetwork(**options)
