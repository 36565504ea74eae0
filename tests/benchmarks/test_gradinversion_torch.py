"""The benchmark's two sides compute the same objective, or their ratio would mean nothing."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen.privacy import AttackSettings, SharedNetwork, build_classifier
from tfgen.privacy.attack.optimization import Optimization
from tfgen.privacy.attack.state import TERMS, Evidence


def weights_as_created(model):
    """Weights layer by layer as the network was written, not by depth as Keras lists them."""

    def number(layer):
        last = layer.name.rpartition("_")[2]
        return int(last) if last.isdigit() else -1

    kinds = keras.layers.Conv2D, keras.layers.BatchNormalization, keras.layers.Dense
    convolutions, norms, dense = (
        sorted((layer for layer in model.layers if isinstance(layer, kind)), key=number)
        for kind in kinds
    )
    ordered = [layer for pair in zip(convolutions, norms, strict=True) for layer in pair] + dense
    return [np.asarray(v) for layer in ordered for v in layer.trainable_variables]


@pytest.mark.parametrize(("network", "width"), [("batch_norm_cnn", 4), ("resnet18", 16)])
def test_objective_and_derivative_are_equal(in_torch, network, width):
    rng = np.random.default_rng(0)
    images, start = rng.standard_normal((2, 3, 32, 32, 3)).astype(np.float32)
    labels = np.arange(3)
    model = build_classifier(network, (32, 32, 3), 10, width=width)
    shared = SharedNetwork(model, batch_norm_mode="train", pixel_mean=0.45, pixel_std=0.25)
    one_hot = shared.one_hot(labels)
    _, gradients, known = shared.compute(tf.constant(images), one_hot)
    settings = AttackSettings(num_seeds=1, group="none")
    loop = Optimization(shared, settings)
    evidence = Evidence(gradients, one_hot, known, [], tf.constant([0]))
    state = loop.start(evidence)
    values = [tf.constant(start)]
    total, derivative = loop.value_and_gradient(values, evidence, state)
    assert TERMS[0] == "total"
    weights = weights_as_created(model)
    for fused in (False, True):
        arguments = (network, width, images, labels, start, False, fused, weights)
        attack = in_torch("gradinversion_torch.py", "Attack", *arguments)
        theirs, gradient = attack.call("value_and_gradient")
        np.testing.assert_allclose(theirs, total, rtol=2e-4)
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(derivative[0] / scale, gradient / scale, atol=2e-3)
