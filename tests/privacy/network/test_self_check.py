"""Networks that this machine would differentiate wrongly are refused."""

import os
import platform
import subprocess
import sys

import keras
import numpy as np
import pytest

from tfgen.errors import UserError
from tfgen.privacy import SharedNetwork
from tfgen.privacy.network import self_check

layers = keras.layers


def network(channels=3, kernel=1, strides=2):
    return keras.Sequential(
        [
            keras.Input((8, 8, channels)),
            layers.Conv2D(6, kernel, strides, name="narrow"),
            layers.Flatten(),
            layers.Dense(4),
        ]
    )


@pytest.mark.parametrize("channels", [3, 8, 24])
def test_vectors_that_are_not_full_are_refused_with_onednn(monkeypatch, channels):
    monkeypatch.setattr(self_check, "onednn_is_on", lambda: True)
    with pytest.raises(UserError, match=r"'narrow'.*TF_ENABLE_ONEDNN_OPTS=0"):
        SharedNetwork(network(channels))


@pytest.mark.parametrize("harmless", [{"channels": 16}, {"kernel": 3}, {"strides": 1}])
def test_other_layers_are_not(monkeypatch, harmless):
    monkeypatch.setattr(self_check, "onednn_is_on", lambda: True)
    SharedNetwork(network(**harmless))


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN is for x86")
def test_sees_that_onednn_is_on():
    run("1", "from tfgen.privacy.network import self_check\nassert self_check.onednn_is_on()")


def test_without_onednn_the_gradient_is_right():
    """Whatever the processor."""
    code = "from tfgen.privacy.network import self_check\nassert not self_check.onednn_is_on()\n"
    run("0", code + "import test_self_check as t; t.compare_gradient()")


def run(onednn, code):
    path = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": onednn, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def compare_gradient():
    """The shared gradient of `network` against sums written out."""
    model, rng = network(), np.random.default_rng(0)
    shared = SharedNetwork(model, loss=lambda labels, outputs: labels[:, :1] * outputs[:, :1])
    images = rng.standard_normal((2, 8, 8, 3)).astype(np.float32)
    _, gradients, _ = shared.compute(images, shared.one_hot(np.zeros(2, int)))
    column = model.layers[-1].kernel.numpy()[:, 0].reshape(4, 4, 6)
    expected = np.einsum("bhwc,hwf->cf", images[:, ::2, ::2], column) / 2
    np.testing.assert_allclose(gradients[0][0, 0], expected, rtol=1e-4, atol=1e-6)
