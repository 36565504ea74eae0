"""Labels out of gradients of whole networks: heads, losses and features of every kind."""

import functools

import keras
import numpy as np
import pytest
from tiny import digits, threat_model

from tfgen.errors import UserError
from tfgen.privacy import GradientInversion, SharedNetwork
from tfgen.privacy.attack.labels import present_classes, restore_labels
from tfgen.privacy.attack.restoration import labels_of
from tfgen.privacy.attack.separation import separable_classes
from tfgen.privacy.network.residual import residual_of

layers, losses = keras.layers, keras.losses
LOGITS = losses.SparseCategoricalCrossentropy(from_logits=True)
FEATURES = {
    "relu": layers.ReLU,
    "tanh": lambda: layers.Activation("tanh"),
    "gelu": lambda: layers.Activation("gelu"),
    "layer norm": layers.LayerNormalization,
    "linear": lambda: layers.Activation("linear"),
}


def network(features="relu", classes=20, loss=LOGITS, behind=None, activation=None, **options):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((8, 8, 1))
    x = FEATURES[features]()(layers.Dense(48)(layers.Flatten()(inputs)))
    x = layers.Dense(classes, activation=activation, **options)(x)
    model = keras.Model(inputs, x if behind is None else behind(x))
    return SharedNetwork(model, loss)


def batch(labels):
    rng = np.random.default_rng(1)
    return digits()[0][rng.integers(0, 1797, len(labels))], np.array(labels)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("features", FEATURES)
def test_unknown_batch_size_and_features_of_both_signs(features, use_bias):
    found = network(features, use_bias=use_bias)
    assert found.head.signed_features == (features != "relu")
    gradients = found.gradients(*batch([17, 3, 8, 11]))
    assert labels_of(found, gradients, None, "instance").tolist() == [3, 8, 11, 17]
    assert labels_of(found, gradients, 4, "min").tolist() == [3, 8, 11, 17]


@pytest.mark.parametrize(
    "options",
    [
        dict(loss=losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")),
        dict(loss=losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)),
        dict(loss=losses.BinaryCrossentropy(from_logits=True)),
        dict(loss="binary_crossentropy", activation="sigmoid"),
        dict(kernel_regularizer=keras.regularizers.L2(3.0)),
        dict(behind=layers.Rescaling(-0.5, offset=1.0)),
        dict(loss="sparse_categorical_crossentropy", activation="softmax"),
    ],
)
def test_counts_whatever_the_client_makes_of_the_loss(options):
    labels = [0, 0, 0, 4, 4, 7]
    for features in ("relu", "tanh"):
        found = network(features, classes=10, **options)
        gradients = found.gradients(*batch(labels))
        assert labels_of(found, gradients, 6, "instance").tolist() == labels


@pytest.mark.parametrize(
    ("loss", "link", "gain", "share", "floor"),
    [
        (LOGITS, "softmax", 1, 1, 0),
        (
            losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum"),
            "softmax",
            3,
            1,
            0,
        ),
        (
            losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2),
            "softmax",
            1,
            0.8,
            0.01,
        ),
        (losses.BinaryCrossentropy(from_logits=True), "sigmoid", 1 / 20, 1, 0),
    ],
)
def test_residuals(loss, link, gain, share, floor):
    found = residual_of(network(loss=loss), 3)
    assert found.link == link
    np.testing.assert_allclose(
        [found.gain, found.share, found.floor], [gain, share, floor], rtol=1e-4, atol=1e-6
    )


def test_losses_that_hide_labels_are_refused():
    found = network(loss="mse")
    assert residual_of(found, 2) is None
    with pytest.raises(UserError, match="does not show by its signs"):
        labels_of(found, found.gradients(*batch([1, 2])), 2, "instance")
    single = network(classes=1, loss="binary_crossentropy", activation="sigmoid")
    with pytest.raises(UserError, match="no trainable dense layer with one unit a class"):
        labels_of(single, single.gradients(*batch([1, 0])), 2, "instance")


def test_weights_on_classes_leave_the_signs():
    found = SharedNetwork(network().model, LOGITS, class_weight={3: 4.0, 8: 0.2})
    gradients = found.gradients(*batch([17, 3, 8, 11]))
    assert labels_of(found, gradients, None, "instance").tolist() == [3, 8, 11, 17]


class TestSignedFeatures:
    @functools.cached_property
    def gradients(self):
        rng = np.random.default_rng(0)
        outputs = np.full((4, 30), 1 / 30)
        outputs[np.arange(4), [2, 9, 11, 20]] -= 1
        residuals = outputs / 4
        return rng.standard_normal((16, 4)) @ residuals, residuals.sum(axis=0)

    def test_signs_of_the_bias_prove(self):
        kernel, bias = self.gradients
        assert len(present_classes(kernel, bias)) == 30
        for b in (bias, None):
            found = present_classes(kernel, b, 1e-6, signed_features=True)
            assert found.tolist() == [2, 9, 11, 20]
            found = restore_labels(kernel, b, 4, "min", signed_features=True)
            assert found.tolist() == [2, 9, 11, 20]

    def test_of_full_rank_nothing_is_proved(self):
        rng = np.random.default_rng(0)
        assert not len(separable_classes(rng.standard_normal((16, 5))))
        found = restore_labels(rng.standard_normal((16, 5)), None, 2, "min", signed_features=True)
        assert len(found) == 2


class TestBatchSizes:
    @pytest.mark.parametrize("size", [2.5, 4.0, 0, -1, "4"])
    def test_must_be_whole(self, size):
        attack = GradientInversion(network().model, threat_model=threat_model(), num_steps=1)
        gradients = attack.network.gradients(*batch([1, 2]))
        with pytest.raises(UserError, match="expected a whole number from 1 on"):
            attack.run(gradients, batch_size=size, verbose=0)
        with pytest.raises(UserError, match="expected a whole number from 1 on"):
            attack.restore_labels(gradients, size)
