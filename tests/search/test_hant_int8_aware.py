"""Training that knows of int8: it computes what LiteRT computes, and leaves all else alone."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import small_networks
import tensorflow as tf
from keras import layers

from tfgen.errors import ConfigError, DataError
from tfgen.search.hant import fine_tune, quantize, quantize_aware
from tfgen.search.hant.answers import gives_probabilities
from tfgen.search.hant.int8 import FakeQuantize, rules
from tfgen.search.hant.int8.fake_quantization import rounded_kernel
from tfgen.search.hant.int8.inputs import checked_model
from tfgen.search.hant.int8.model import Int8Model
from tfgen.search.hant.int8.post_training import converted
from tfgen.search.hant.int8.training_graph import deployed, fake_quantized, logits_of

IMAGES = small_networks.images(64)


def head(x, **options):
    return layers.Dense(5, name="logits", **options)(layers.GlobalAveragePooling2D()(x))


def every_kind(x):
    """Whatever is rounded in a way of its own, one after the other."""
    x = layers.Rescaling(2.0, -1.0)(x)
    x = layers.BatchNormalization()(layers.Conv2D(6, 3, use_bias=False)(layers.ZeroPadding2D()(x)))
    x = layers.Activation("silu")(x)
    y = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
    gate = layers.Conv2D(12, 1)(layers.GlobalAveragePooling2D(keepdims=True)(y))
    gate = layers.ReLU(6.0)(gate + 3.0) * (1 / 6)
    y = layers.Conv2D(6, 1)(layers.Multiply()([y, gate]))
    x = layers.ReLU()(layers.Add()([x, y, layers.Conv2D(6, 1, activation="silu")(x)]))
    y = layers.SeparableConv2D(4, 3, padding="same", activation="relu")(x)
    x = layers.Concatenate()([layers.MaxPooling2D()(x), layers.MaxPooling2D()(y)])
    x = layers.BatchNormalization()(layers.Dropout(0.5)(x))
    return head(x)


def network(build, name="network"):
    keras.utils.set_random_seed(0)
    x = keras.Input((8, 8, 3))
    return small_networks.randomized(keras.Model(x, build(x), name=name))


def steps_apart(model, images=IMAGES):
    """The training graph, folded, what LiteRT makes of it, and how far apart they are in steps."""
    with_norms = fake_quantized(model, images)
    trained = deployed(with_norms)
    int8 = Int8Model(converted(trained, None, 16, False, 0), "fake_quant")
    outputs = trained(images, training=False).numpy()
    steps = np.abs(outputs - int8.predict(images)) / int8.output_step
    return with_norms, trained, int8, steps


@pytest.fixture(scope="module")
def whole():
    model = network(every_kind)
    return model, *steps_apart(model)


def test_litert_computes_what_training_does(whole):
    """But for ties, of which float32 decides some otherwise: they go on through what follows."""
    model, _, trained, int8, steps = whole
    assert np.mean(steps > 1.01) < 0.01
    assert steps.max() < 2.01
    assert int8.operators["float32"] == 0
    assert int8.operators["conversion"] == 2
    outputs = model(IMAGES).numpy()
    error = np.abs(trained(IMAGES, training=False) - outputs).mean()
    assert 0 < error < 0.03 * np.abs(outputs).mean()


def test_batch_norm_stays_for_training_and_is_folded_at_the_end(whole):
    """Scaling the channels of a rounded kernel leaves its integers as they are."""
    _, trained, folded, int8, _ = whole
    names = [n.name for n in trained.layers if isinstance(n, layers.BatchNormalization)]
    assert len(names) == 2  # the third follows a concatenation: a convolution of its own
    assert not any(isinstance(n, layers.BatchNormalization) for n in folded.layers)
    apart = np.abs(trained(IMAGES, training=False) - folded(IMAGES)) / int8.output_step
    assert np.mean(apart > 0.01) < 0.1
    assert apart.max() < 2.01


def test_every_number_is_one_of_256(whole):
    """Kernels lie on steps of their channel, tensors on those of their range; zero is a step."""
    _, _, trained, int8, _ = whole
    outputs = trained(IMAGES, training=False).numpy() / int8.output_step
    np.testing.assert_allclose(outputs, np.round(outputs), atol=1e-3)


def test_the_graph_is_a_plain_keras_model(whole, tmp_path):
    _, _, trained, _, _ = whole
    trained.save(tmp_path / "trained.keras")
    again = keras.models.load_model(tmp_path / "trained.keras")
    np.testing.assert_array_equal(again(IMAGES), trained(IMAGES))


def test_ranges_of_a_concatenation_are_one(whole):
    """Of all that goes in, though pooling lies between."""
    _, _, trained, _, _ = whole
    shared = [n for n in trained.layers if isinstance(n, FakeQuantize) and n.num_tensors > 1]
    assert [n.num_tensors for n in shared] == [2]
    assert np.all(shared[0].maximum.numpy() > 0)


ROUGHER = {  # LiteRT rounds within these: one step each, which adds up over many
    "hard_silu": lambda x: layers.Activation("hard_silu")(layers.Conv2D(6, 3)(x)),
    "leaky_relu": lambda x: layers.LeakyReLU(0.2)(layers.Conv2D(6, 3)(x)),
    "average": lambda x: layers.AveragePooling2D(2)(layers.Conv2D(6, 3)(x)),
}


@pytest.mark.parametrize(
    "name", [n if n == "average" else pytest.param(n, marks=pytest.mark.slow) for n in ROUGHER]
)
def test_kernels_that_round_within(name):
    *_, int8, steps = steps_apart(network(ROUGHER[name]))
    assert np.mean(steps > 1.01) < 0.001  # where a tie comes before it
    assert int8.operators["float32"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "activation", [*rules.CLIPS, *rules.LIMITS, "silu", "hard_sigmoid", "gelu"]
)
def test_every_activation(activation):
    """Within a layer and behind it, the same layer twice."""
    own = layers.Activation(activation)

    def build(x):
        return head(own(layers.Conv2D(6, 3)(own(layers.Conv2D(6, 3, activation=activation)(x)))))

    *_, int8, steps = steps_apart(network(build))
    assert np.mean(steps > 1.01) < 0.01
    assert int8.operators["float32"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobile", "residual", "plain"])
def test_small_networks(name):
    keras.utils.set_random_seed(0)
    *_, int8, steps = steps_apart(getattr(small_networks, name)())
    assert np.mean(steps > 1.01) < 0.01
    assert steps.max() < 2.01
    assert int8.operators["float32"] == 0


def test_a_softmax_is_trained_on_logits():
    model = network(lambda x: head(layers.Conv2D(4, 3)(x), activation="softmax"))
    trained = fake_quantized(model, IMAGES)
    logits = logits_of(trained)(IMAGES).numpy()
    found = trained(IMAGES).numpy()
    np.testing.assert_allclose(found, tf.nn.softmax(logits), atol=0.5 / 256 + 1e-6)
    np.testing.assert_array_equal(found, np.round(256 * found) / 256)


def test_models_in_models():
    model, same = (small_networks.around_models(wrapped) for wrapped in (True, False))
    assert gives_probabilities(model)
    found = [fake_quantized(checked_model(each), IMAGES) for each in (model, same)]
    np.testing.assert_array_equal(*(each(IMAGES, training=False) for each in found))
    assert logits_of(found[0]) is not found[0]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fake_quant", "tfmot"])
def test_training_models_in_models(method):
    """A model of models learns what the same layers in a row do."""
    labels, answers = np.arange(len(IMAGES)) % 3, []
    for wrapped in (True, False):
        model = small_networks.around_models(wrapped)
        options = dict(method=method, epochs=1, learning_rate=1e-3, verbose=0)
        found = quantize_aware(model, model, IMAGES, labels, **options)
        assert found.operators["float32"] == 0
        answers.append(found.predict(IMAGES))
    assert np.abs(answers[0] - answers[1]).max() <= 2 / 256


def test_rounding_to_limits():
    """Against float64, with the gradient of the identity within the limits alone."""
    layer = FakeQuantize(limits=(-1.0, 3.0))
    x = np.random.default_rng(0).uniform(-2, 4, (50,)).astype(np.float32)
    step, zero = 4 / 255, np.round(255 / 4)  # of integers from 0
    wanted = step * (np.clip(np.round(x / step) + zero, 0, 255) - zero)
    with tf.GradientTape() as tape:
        given = tf.Variable(x)
        found = layer(given)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    inside = (x >= -step * zero) & (x <= step * (255 - zero))
    np.testing.assert_array_equal(tape.gradient(found, given), inside.astype(np.float32))


def test_kernels_are_symmetric_by_channels():
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((3, 3, 4, 5)) * 10.0 ** np.linspace(-1.5, 1.5, 5)
    step = np.abs(kernel).max((0, 1, 2)) / 127
    found = rounded_kernel(tf.constant(kernel, tf.float32), tf.zeros(5)).numpy()
    np.testing.assert_allclose(found / step, np.round(kernel / step), atol=2e-3)
    dead = rounded_kernel(tf.zeros((1, 1, 2, 2)), tf.constant([1.0, 0.0])).numpy()
    np.testing.assert_array_equal(dead, 0.0)


def test_moving_averages_and_what_does_not_move():
    x = tf.constant([[-1.0, 3.0]])
    moving, frozen, learnt = (
        FakeQuantize(ranges=r, momentum=0.75) for r in ("moving_average", "frozen", "learnt")
    )
    for layer in (moving, frozen, learnt):
        layer.observing = True
        layer(2.0 * x)
        layer.observing = False
        layer(x)  # without training nothing moves
        np.testing.assert_allclose([layer.minimum[0], layer.maximum[0]], [-2.0, 6.0])
        layer(x, training=True)
        layer(x, slot=None, training=True)
    np.testing.assert_allclose([moving.minimum[0], moving.maximum[0]], [-1.75, 5.25])
    np.testing.assert_allclose([frozen.minimum[0], frozen.maximum[0]], [-2.0, 6.0])
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(learnt(tf.constant([[-9.0, 9.0]])))
    np.testing.assert_allclose(
        tape.gradient(y, [v.value for v in learnt.trainable_variables]), [[1.0], [1.0]]
    )
    assert not moving.trainable_variables


def test_training_leaves_teacher_and_student_alone():
    model = network(lambda x: head(layers.Conv2D(4, 3, activation="relu")(x)))
    before = [w.copy() for w in model.get_weights()]
    labels = np.arange(64) % 5
    options = {"epochs": 1, "learning_rate": 0.01, "verbose": 0, "deployed_batch_size": 64}
    found = quantize_aware(model, model, IMAGES, labels, integer_ends=True, **options)
    assert found.operators == {"int8": 5, "float32": 0}
    assert "training, at first 64 of 64 images" in found.calibration
    for value, old in zip(model.get_weights(), before):
        np.testing.assert_array_equal(value, old)
    kernel = found.network.get_layer("logits").kernel.numpy()
    assert np.abs(kernel - model.get_layer("logits").kernel).max() > 0
    distance = np.abs(found.predict(IMAGES) - found.network(IMAGES)) / found.output_step
    assert distance.max() < 1.01


def test_one_sentence():
    x = keras.Input((8, 8, 3))
    model = keras.Model(x, head(layers.LayerNormalization(name="own")(layers.Conv2D(4, 3)(x))))
    with pytest.raises(
        ConfigError, match=r"'own' \(LayerNormalization\) cannot be trained in int8"
    ):
        quantize_aware(model, model, IMAGES)

    class Add(layers.Layer):
        """Which does not add."""

        def call(self, x):
            return 2.0 * x

    renamed = keras.Model(x, head(Add(name="other")(x)))
    with pytest.raises(ConfigError, match=r"'other' \(Add\) cannot be trained in int8"):
        quantize_aware(renamed, renamed, IMAGES)
    gate = layers.Activation("sigmoid")(layers.Conv2D(4, 3)(x))
    both = keras.Model(x, head(layers.Concatenate()([gate, layers.Conv2D(4, 3)(x)])))
    with pytest.raises(ConfigError, match=r"puts out 0 to 0\.996 in int8 and is concatenated"):
        quantize_aware(both, both, IMAGES)
    with pytest.raises(DataError, match=r"labels of shape \(2,\).*expected 64 integers"):
        quantize_aware(model, model, IMAGES, [0, 1])
    with pytest.raises(DataError, match=r"labels range from 0 to 9; the network .* has 5 classes"):
        quantize_aware(model, model, IMAGES, np.arange(64) % 10)
    other = keras.Model(x, layers.Dense(4)(layers.Flatten()(x)))
    with pytest.raises(ConfigError, match=r"the teacher turns .* into \(4,\) and the student"):
        quantize_aware(other, model, IMAGES)
    with pytest.raises(DataError, match="there are no images"):
        quantize_aware(model, model, IMAGES[:0])
    with pytest.raises(ConfigError, match="method is 'both'"):
        quantize_aware(model, model, IMAGES, method="both")
    with pytest.raises(ConfigError, match="ranges is 'all'"):
        quantize_aware(model, model, IMAGES, ranges="all")
    with pytest.raises(ConfigError, match="epochs is 0"):
        quantize_aware(model, model, IMAGES, epochs=0)


class TestTensorFlowModelOptimization:
    """It takes networks of Keras 2 alone."""

    @pytest.fixture(autouse=True)
    def installed(self):
        if importlib.util.find_spec("tensorflow_model_optimization") is None:
            pytest.skip("the extra quantize is not installed")

    def test_the_twin_is_equal(self):
        from tfgen.search.hant.int8.tfmot import twin

        model = small_networks.residual()
        found = twin(model)
        wanted = model(IMAGES).numpy()
        assert np.abs(found(IMAGES) - wanted).max() <= 1e-6 * np.abs(wanted).max()
        assert [layer.name for layer in found.layers] == [layer.name for layer in model.layers]

    @pytest.mark.parametrize("name", ["scale", "gated"])
    def test_what_it_refuses(self, name):
        """Rescaling and the product of squeeze-and-excitation, in one sentence."""
        x = keras.Input((8, 8, 3))
        y = layers.Rescaling(2.0, name="scale")(x) if name == "scale" else layers.Conv2D(3, 1)(x)
        if name == "gated":
            y = layers.Multiply(name="gated")([y, layers.Conv2D(3, 1)(x)])
        model = keras.Model(x, head(y))
        with pytest.raises(ConfigError, match=f"{name}'.* not known to TensorFlow Model Optim"):
            quantize_aware(model, model, IMAGES, method="tfmot", epochs=1)

    def test_the_environment_stays(self, monkeypatch):
        from tfgen.search.hant.int8.tfmot import _environment_kept, library

        monkeypatch.delenv("TF_USE_LEGACY_KERAS", raising=False)
        monkeypatch.setenv("KEPT", "1")
        before = dict(os.environ)
        with _environment_kept():
            os.environ.update(TF_USE_LEGACY_KERAS="1", KEPT="2")
        assert dict(os.environ) == before
        assert hasattr(library().quantization.keras, "quantize_model")
        assert dict(os.environ) == before

    @pytest.mark.slow
    def test_child_processes_get_keras_3(self):
        """In a process in which nothing was imported before."""
        code = (
            "import os, subprocess, sys\n"
            "import tensorflow as tf\n"
            "from tfgen.search.hant.int8.tfmot import library\n"
            "before = dict(os.environ)\n"
            "assert hasattr(library().quantization.keras, 'quantize_model')\n"
            "assert dict(os.environ) == before\n"
            "assert tf.keras.Model.__module__.startswith('keras.')\n"
            "assert tf.compat.v2.keras.Model.__module__.startswith('keras.')\n"
            "import tensorflow_probability\n"
        )
        environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)

    @pytest.mark.slow
    def test_it_trains_and_converts(self):
        model = small_networks.residual(num_blocks=1)
        found = quantize_aware(
            model, model, IMAGES, np.arange(64) % 5, method="tfmot", epochs=1, verbose=0
        )
        assert found.operators["float32"] == 0
        steps = np.abs(found.predict(IMAGES) - found.network(IMAGES)) / found.output_step
        assert steps.max() < 1.01
        assert found.compare(model, IMAGES).relative_error < 0.2
        assert "TF_USE_LEGACY_KERAS" not in os.environ


@pytest.mark.slow
def test_accuracy_on_digits():
    """Within 1 point of float32 without training, and 0.3 with it: the network trained as long."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.repeat((digits.images / 16.0)[..., None], 3, -1).astype(np.float32)
    labels = digits.target
    keras.utils.set_random_seed(0)
    model = small_networks.residual(num_blocks=2, width=8, num_classes=10)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.9
    model.compile(
        keras.optimizers.Adam(0.005), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(images[:1200], labels[:1200], epochs=20, verbose=0)
    rest = images[1200:], labels[1200:]
    found = quantize(model, images[:1200]).compare(model, *rest)
    assert found.float_accuracy > 0.9
    assert found.accuracy > found.float_accuracy - 0.01
    assert found.agreement > 0.98
    longer = keras.models.clone_model(model)
    longer.set_weights(model.get_weights())
    fine_tune(model, longer, images[:1200], labels[:1200], epochs=2, verbose=0, learning_rate=1e-4)
    aware = quantize_aware(model, model, images[:1200], labels[:1200], epochs=2, verbose=0)
    compared = aware.compare(longer, *rest)
    assert compared.accuracy > compared.float_accuracy - 0.003
