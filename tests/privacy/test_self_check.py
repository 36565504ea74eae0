"""Networks that this machine would differentiate wrongly are refused."""

import os
import subprocess
import sys

import keras
import pytest
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.privacy import SharedNetwork, self_check

layers = keras.layers


def network(channels=3, kernel=1, strides=2):
    return keras.Sequential(
        [
            keras.Input((8, 8, channels)),
            layers.Conv2D(6, kernel, strides),
            layers.Flatten(),
            layers.Dense(4),
        ]
    )


def test_a_wrong_gradient_is_refused(monkeypatch):
    monkeypatch.setattr(self_check, "_error", lambda *_: 0.5)
    with pytest.raises(UserError, match="TF_ENABLE_ONEDNN_OPTS=0"):
        SharedNetwork(network())


def test_an_error_is_seen(monkeypatch):
    conv2d = tf.nn.conv2d
    monkeypatch.setattr(tf.nn, "conv2d", lambda *arguments: 2.0 * conv2d(*arguments))
    assert self_check._error(8, 16, (2, 2)) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("harmless", [{"channels": 8}, {"kernel": 3}, {"strides": 1}])
def test_other_layers_are_not_tried(monkeypatch, harmless):
    monkeypatch.setattr(self_check, "_error", lambda *_: pytest.fail("tried"))
    SharedNetwork(network(**harmless))


def test_a_right_gradient_passes():
    """Without oneDNN, whatever the processor."""
    code = (
        "import test_self_check as t; from tfgen.privacy import SharedNetwork, self_check\n"
        "SharedNetwork(t.network())\n"
        "assert self_check._error(3, 16, (2, 2)) < 1e-5"
    )
    path = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0", "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
