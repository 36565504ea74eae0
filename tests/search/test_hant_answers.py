"""What classifiers answer: a softmax of any make is seen, what is no classifier is refused."""

import keras
import numpy as np
import pytest
import small_networks
import tensorflow as tf
from keras import layers

from tfgen.errors import ConfigError
from tfgen.search.hant import HANT, fine_tune
from tfgen.search.hant.answers import gives_probabilities
from tfgen.search.hant.network import CutNetwork

POOL = [{"family": "identity"}]


def ending(*parts, classes=5):
    """A small network behind whose dense layer come other layers."""
    x = y = keras.Input((8, 8, 3))
    for k in range(3):
        y = layers.Conv2D(3, 3, padding="same", activation="relu", name=f"c{k}")(y)
    y = layers.Dense(classes, name="dense")(layers.GlobalAveragePooling2D()(y))
    for part in parts:
        y = part(y)
    return keras.Model(x, y, name="ending")


class TestGivesProbabilities:
    @pytest.mark.parametrize(
        ("parts", "expected"),
        [
            ((), False),
            ((layers.Activation("linear"),), False),
            ((layers.Rescaling(2.0),), False),
            ((keras.ops.log_softmax,), False),
            ((layers.Softmax(),), True),
            ((layers.Activation("softmax"),), True),
            ((layers.Activation(tf.nn.softmax),), True),
            ((keras.ops.softmax,), True),
            ((lambda y: keras.ops.cast(keras.ops.softmax(y), "float32"),), True),
            ((layers.Softmax(), layers.Identity()), True),
            ((keras.ops.exp, lambda y: y / keras.ops.sum(y, axis=-1, keepdims=True)), True),
        ],
    )
    def test_of_any_make(self, parts, expected):
        assert gives_probabilities(ending(*parts)) == expected

    def test_within_a_traced_step(self):
        model = ending(layers.Activation(tf.nn.softmax))

        @tf.function(autograph=False)
        def step(x):
            return model(x) if gives_probabilities(model) else x

        assert step(small_networks.images()).shape == (4, 5)


class TestRefused:
    def test_sigmoids(self):
        with pytest.raises(ConfigError, match="ends in sigmoids, which name any number of classes"):
            gives_probabilities(ending(layers.Activation("sigmoid")))

    def test_one_number(self, tmp_path):
        with pytest.raises(ConfigError, match=r"answers with \(1,\) an image; expected a vector"):
            HANT(ending(classes=1), tmp_path, POOL)

    def test_a_dict(self, tmp_path):
        model = ending()
        named = keras.Model(model.inputs[0], {"classes": model.outputs[0]}, name="named")
        with pytest.raises(ConfigError, match=r"answers with a dict; .* network.outputs\[0\]\)"):
            HANT(named, tmp_path, POOL)

    def test_what_keras_cannot_make_anew_before_anything_is_trained(self):
        with pytest.raises(ConfigError, match=r"the layer 'own' \(Activation\) anew .*softmax_v2"):
            CutNetwork(ending(layers.Activation(tf.nn.softmax, name="own")))


class TestOtherLayers:
    def test_functions_of_the_callers_own(self):
        cut = CutNetwork(ending(layers.Lambda(lambda y: 2.0 * y)))
        x = small_networks.images()
        np.testing.assert_allclose(cut.assemble({})(x), cut.network(x), rtol=1e-6)

    @pytest.mark.parametrize(
        ("dtype", "rounding"),
        [("mixed_float16", 1e-3), ("mixed_bfloat16", 8e-3), ("float64", 1e-7)],
    )
    def test_other_precisions_are_taken_in_float32(self, dtype, rounding):
        before = keras.config.dtype_policy()
        try:
            keras.config.set_dtype_policy(dtype)
            model = small_networks.residual()
        finally:
            keras.config.set_dtype_policy(before)
        cut = CutNetwork(model)
        assert cut.network is not model
        x = small_networks.images()
        assert cut.network(x).dtype == "float32"
        values = np.asarray(model(x), np.float32)
        tolerance = 20 * rounding * np.abs(values).max()  # a dozen layers round one after another
        np.testing.assert_allclose(cut.network(x), values, rtol=0, atol=tolerance)
        np.testing.assert_allclose(cut.assemble({})(x), cut.network(x), rtol=1e-5, atol=1e-6)
        student = cut.assemble({0: None})
        labels = np.arange(4) % 5
        fine_tune(model, student, x, labels, epochs=1, batch_size=4, verbose=0)
