"""LSGM's score network against the authors' own program: same weights, same latents, same numbers.

The reference values were computed in float64. Here a tensor agrees when its largest deviation is
below 1e-4 of its largest magnitude, a gradient's norm when it is within 1e-3 of itself.
"""

import ast

import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import CheckpointError
from tfgen.generative.lsgm import official
from tfgen.generative.lsgm.mixing import NoisePredictor
from tfgen.generative.lsgm.unet import ScoreUNet
from tfgen.ops.diffusion import VPSDE


class Reference:
    """The authors' weights in a network of ours, and what their program makes of them."""

    def __init__(self, values):
        self.values = values
        self.config = ast.literal_eval(str(values["config"]))
        names = [name for name in values.files if name.startswith("weights/all_modules")]
        self.state = {name.removeprefix("weights/"): values[name] for name in names}
        self.z, self.t = self.nhwc("z_t"), tf.constant(values["t"], tf.float32)
        options = official.options_from_official(self.config, self.state, grid=8)
        self.network = ScoreUNet(**options)
        official.load_official(self.network, self.state)
        self.alpha = tf.constant(tf.sigmoid(values["weights/mixing_logit"].ravel()))

    def nhwc(self, name):
        return tf.constant(self.values[name].transpose(0, 2, 3, 1), tf.float32)

    def assert_same(self, actual, name):
        expected = self.nhwc(name)
        deviation = np.abs(actual - expected).max()
        assert deviation <= 1e-4 * np.abs(expected).max(), (name, deviation)


@pytest.fixture(scope="module")
def reference(reference_values):
    return Reference(reference_values("lsgm_score_mnist"))


@pytest.mark.parametrize("form", ["live", "folded"])
def test_network_and_mixture(reference, form):
    network = reference.network
    w = network.weights_view() if form == "live" else network.folded()
    predict = NoisePredictor(VPSDE(), network.predict, w, reference.alpha)
    reference.assert_same(network.predict(w, reference.z, reference.t), "network_output")
    reference.assert_same(predict(reference.z, reference.t), "mixed_prediction_vpsde")


@pytest.mark.parametrize("recompute", [False, True])
def test_gradients(reference, recompute):
    network = reference.network
    if recompute:
        config = {**network.get_config(), "recompute": True}
        network = ScoreUNet.from_config(config)
        official.load_official(network, reference.state)
    logit = tf.Variable(reference.values["weights/mixing_logit"].ravel())
    with tf.GradientTape() as tape:
        w = network.weights_view(training=True)
        predict = NoisePredictor(VPSDE(), network.predict, w, tf.sigmoid(logit))
        loss = tf.reduce_sum(predict(reference.z, reference.t) ** 2)
    variables = [v.value for v in network.trainable_variables]
    *found, of_logit = tape.gradient(loss, [*variables, logit])
    found = {id(v): g for v, g in zip(network.trainable_variables, found)}
    norms = {"mixing_logit": np.linalg.norm(of_logit)}
    for name, (variable, row, _) in official.slots(network).items():
        gradient = tf.convert_to_tensor(found[id(variable)])[row]
        name = name.replace("weight", "W").replace("bias", "b") if "NIN" in name else name
        norms[name] = np.linalg.norm(gradient)
    names = reference.values["grad_norms_names"]
    expected = dict(zip(names, reference.values["grad_norms_of_squared_sum"]))
    assert norms.keys() == expected.keys()
    for name, norm in norms.items():
        np.testing.assert_allclose(norm, expected[name], rtol=1e-3, atol=1e-6, err_msg=name)


def test_parameters(reference):
    mixing = reference.z.shape[-1]
    assert reference.network.num_parameters + mixing == int(reference.values["parameters"])


def test_refuses_others(reference):
    network, state = reference.network, dict(reference.state)
    before = network.bank.get_weights()
    del state["all_modules.9.NIN_0.W"]
    with pytest.raises(CheckpointError, match="1 entries are missing"):
        official.load_official(network, state)
    for a, b in zip(before, network.bank.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(CheckpointError, match="no score network"):
        official.options_from_official(reference.config, {}, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_scales_dae": None}, "lack num_scales_dae"),
        ({"progressive_input": "residual"}, "progressive"),
        ({"embedding_type": "fourier"}, "embeds the time"),
    ],
)
def test_refuses_options(reference, changes, message):
    config = {k: v for k, v in {**reference.config, **changes}.items() if v is not None}
    with pytest.raises(CheckpointError, match=message):
        official.options_from_official(config, reference.state, 8)
