"""LSGM's benchmark compares equals: same weights, same predictions, losses and gradients."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.generative.lsgm import official
from tfgen.generative.lsgm.objective import Draw

OPTIONS = dict(
    latent_shape=(8, 8, 4),
    num_channels=8,
    multipliers=(1, 2),
    num_blocks=1,
    attention_grids=(4,),
    embedding_dims=8,
    dropout=0.0,
)
RATE, DECAY, EPSILON = 1e-3, 3e-4, 1e-4


@pytest.fixture(scope="module")
def ours(benchmarks):
    """The benchmark's own side, of a small network with attention on a grid and between grids."""
    import lsgm

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lsgm, "network_options", lambda config: dict(OPTIONS))
        patch.setattr(lsgm, "DISTURBANCE", 0.1)
        yield lsgm.Ours("small", batch_size=3)


@pytest.fixture(scope="module")
def peer(ours, in_torch):
    return in_torch(
        "lsgm_torch.py",
        "Peer",
        OPTIONS,
        ours.network_state(),
        ours.latents,
        1,
        float(ours.model.mixing_logit.numpy()[0]),
        RATE,
        DECAY,
        EPSILON,
    )


def _close(actual, expected, tolerance=1e-4):
    np.testing.assert_allclose(actual, expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("layout", ["NCHW", "channels_last"])
def test_predictions(ours, peer, layout):
    _close(peer.call("evaluated", layout), ours.evaluate())


def test_parameters(ours, peer):
    assert peer.call("parameters") == ours.model.num_score_parameters
    assert peer.call("gflop", "train") > 2.0 * peer.call("gflop", "evaluate") > 0.0


def test_losses_and_gradients(ours, peer):
    rng = np.random.default_rng(1)
    eps = rng.standard_normal(ours.latents.shape).astype(np.float32)
    rho = np.array([0.05, 0.4, 0.95])
    model, times = ours.model, ours.model.objective.prior_times
    t = times.times(tf.constant(rho))
    network = model.network
    with tf.GradientTape() as tape:
        squares = model.objective.squared_errors(
            model._predictors()[0], tf.constant(ours.latents), Draw(t, tf.constant(eps))
        )
        losses = tf.cast(times.coefficient(t), tf.float32) * tf.reduce_sum(squares, [1, 2, 3])
    variables = [v.value for v in (*network.trainable_variables, model.mixing_logit)]
    *gradients, of_logit = tape.gradient(losses, variables)
    found, named = peer.call("losses", ours.latents, eps, rho.astype(np.float32))
    _close(found, losses.numpy())
    by_variable = {id(v): g for v, g in zip(network.trainable_variables, gradients)}
    expected = {"mixing_logit": of_logit.numpy().reshape(1, -1, 1, 1)}
    for name, (variable, row, order) in official.slots(network).items():
        gradient = tf.convert_to_tensor(by_variable[id(variable)])[row].numpy()
        back = [order.index(k) for k in range(gradient.ndim)]
        expected[f"network.{name}"] = gradient.transpose(back)
    assert named.keys() == expected.keys()
    for name, gradient in named.items():  # that of the keys' biases is zero
        bound = 1e-3 * np.abs(expected[name]).max() + 1e-6
        np.testing.assert_allclose(gradient, expected[name], atol=bound, err_msg=name)
