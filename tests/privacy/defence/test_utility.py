"""What training on released gradients costs, of any model, with labels and images of any form."""

import keras
import numpy as np
import pytest
from tiny import digits, relu_net

from tfgen.errors import UserError
from tfgen.privacy import NoDefence, SharedNetwork, trained_accuracy


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = relu_net()

    def call(self, inputs):
        return self.inner(inputs)


IMAGES, LABELS = (x[:300] for x in digits())
OPTIONS = dict(batch_size=16, num_steps=60)


@pytest.fixture(scope="module")
def network():
    model = Subclassed()
    model(IMAGES[:1])
    return SharedNetwork(model, batch_norm_mode="train")


@pytest.fixture(scope="module")
def accuracy(network):
    return trained_accuracy(network, NoDefence(), IMAGES, LABELS, IMAGES, LABELS, **OPTIONS)


def test_a_subclassed_model_learns_and_is_as_before(network, accuracy):
    before = [np.array(v) for v in network.model.variables]
    again = trained_accuracy(network, NoDefence(), IMAGES, LABELS, IMAGES, LABELS, **OPTIONS)
    assert accuracy == again > 0.3
    for old, variable in zip(before, network.model.variables, strict=True):
        np.testing.assert_array_equal(old, variable)


def test_weights_come_back_after_a_failure(network):
    class Failing(NoDefence):
        def release(self, network, images, labels, seed=0):
            if seed == 1:
                raise RuntimeError
            return super().release(network, images, labels, seed)

    before = [np.array(v) for v in network.model.variables]
    with pytest.raises(RuntimeError):
        trained_accuracy(network, Failing(), IMAGES, LABELS, IMAGES, LABELS, **OPTIONS)
    for old, variable in zip(before, network.model.variables, strict=True):
        np.testing.assert_array_equal(old, variable)


@pytest.mark.parametrize("labels", [LABELS[:, None], np.eye(10)[LABELS]])
def test_labels_in_any_form(network, accuracy, labels):
    found = trained_accuracy(network, NoDefence(), IMAGES, labels, IMAGES, labels, **OPTIONS)
    assert found == accuracy


def test_images_of_eight_bits(network):
    pixels = np.uint8(np.rint(255 * IMAGES))
    arguments = [[x, LABELS, x, LABELS] for x in (pixels, pixels / np.float32(255))]
    eight, floats = (trained_accuracy(network, NoDefence(), *a, **OPTIONS) for a in arguments)
    assert eight == floats


def test_mistakes(network):
    with pytest.raises(UserError, match="came for 300 images"):
        trained_accuracy(network, NoDefence(), IMAGES, LABELS[:7], IMAGES, LABELS, **OPTIONS)
    with pytest.raises(UserError, match="divide by 255"):
        trained_accuracy(network, NoDefence(), IMAGES, LABELS, 255 * IMAGES, LABELS, **OPTIONS)
