"""A network as a pure function: gradients, batch-norm statistics, nothing written."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.privacy.network.cross_entropy import cross_entropy
from tfgen.privacy.network.forward import moments
from tfgen.privacy.network.shared import SharedNetwork

layers = keras.layers
RNG = np.random.default_rng(0)
IMAGES = RNG.random((4, 8, 8, 3)).astype(np.float32)
LABELS = np.array([0, 3, 1, 4])


def batch_norm_net(seed=0, shuffle=True, dropout=0.0):
    keras.utils.set_random_seed(seed)
    inputs = x = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same")(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.BatchNormalization(scale=False)(x)
    x = layers.MaxPooling2D()(layers.Activation("softplus")(x))
    x = layers.Dropout(dropout)(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(5)(x))
    if shuffle:  # so that moving averages differ from the batch's and from (0, 1)
        rng = np.random.default_rng(1)
        for weight in model.weights:
            if "seed" not in weight.path:
                weight.assign(weight + 0.2 * rng.random(weight.shape))
    return model


class Nested(keras.Model):
    """A subclassed model around a functional one."""

    def __init__(self):
        super().__init__()
        self.inner = batch_norm_net()
        self.dense = layers.Dense(5)

    def call(self, inputs, training=False):
        return self.dense(tf.nn.relu(self.inner(inputs, training=training)))


def keras_step(model, training):
    """Loss and gradient as Keras computes them, which writes moving averages."""
    loss_function = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        loss = loss_function(LABELS, model(IMAGES, training=training))
    return loss, tape.gradient(loss, [v.value for v in model.trainable_variables])


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("make", [batch_norm_net, Nested])
def test_gradients_are_those_of_keras(make, mode):
    model = make()
    model(IMAGES)
    network = SharedNetwork(model, batch_norm_mode=mode)
    loss, gradients, _ = network.compute(network.normalize(IMAGES), network.one_hot(LABELS))
    compiled = network.gradients(IMAGES, LABELS)
    want_loss, want = keras_step(model, mode == "train")
    np.testing.assert_allclose(loss, want_loss, rtol=1e-5)
    for ours, graph, theirs in zip(gradients, compiled, want, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(graph, ours, rtol=1e-4, atol=1e-6)


def test_nothing_is_written():
    model = batch_norm_net(dropout=0.5)
    before = [np.array(v) for v in model.variables]
    network = SharedNetwork(model, batch_norm_mode="train")
    network.gradients(IMAGES, LABELS)
    network.compute(network.normalize(IMAGES), network.one_hot(LABELS))
    network.statistics(IMAGES, LABELS)
    network.moving_statistics()
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable, err_msg=variable.path)
    for layer in network.batch_norms:
        assert "call" not in vars(layer)
    keras_step(model, True)  # which does write
    assert any(np.any(old != np.array(v)) for old, v in zip(before, model.variables))


def test_statistics_are_those_that_keras_learns():
    # After one step with momentum 0 Keras' moving averages are the batch's statistics.
    model = batch_norm_net()
    network = SharedNetwork(model, batch_norm_mode="train")
    for layer in network.batch_norms:
        layer.momentum = 0.0
    found = network.statistics(IMAGES, LABELS)
    keras_step(model, True)
    for (mean, variance), layer in zip(found, network.batch_norms, strict=True):
        np.testing.assert_allclose(mean, layer.moving_mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(variance, layer.moving_variance, rtol=1e-4, atol=1e-6)
    for (mean, variance), layer in zip(
        network.moving_statistics(), network.batch_norms, strict=True
    ):
        np.testing.assert_array_equal(mean, layer.moving_mean)
        np.testing.assert_array_equal(variance, layer.moving_variance)


def test_statistics_depend_on_the_mode_of_propagation():
    model = batch_norm_net()
    train, evaluation = (
        SharedNetwork(model, batch_norm_mode=m).statistics(IMAGES, LABELS)
        for m in ("train", "eval")
    )
    np.testing.assert_allclose(train[0][0], evaluation[0][0], rtol=1e-5)  # before any batch norm
    assert np.abs(train[1][0] - evaluation[1][0]).max() > 0.01


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_order_of_a_batch_leaves_no_trace(mode):
    network = SharedNetwork(batch_norm_net(), batch_norm_mode=mode)
    order = [2, 0, 3, 1]
    for a, b in zip(
        network.gradients(IMAGES, LABELS), network.gradients(IMAGES[order], LABELS[order])
    ):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_examples_average_to_the_gradient():
    network = SharedNetwork(batch_norm_net(), batch_norm_mode="eval")
    examples = network.per_example_gradients(IMAGES, LABELS)
    for *parts, whole in zip(*examples, network.gradients(IMAGES, LABELS), strict=True):
        np.testing.assert_allclose(np.mean(parts, axis=0), whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("channels_first_axis", [False, True])
def test_frozen_batch_norms_stay_in_inference(channels_first_axis):
    keras.utils.set_random_seed(0)
    axis = 1 if channels_first_axis else -1
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(axis=axis)(inputs)
    model = keras.Model(inputs, layers.Dense(5)(layers.Flatten()(x)))
    for trainable in (True, False):
        model.layers[1].trainable = trainable
        network = SharedNetwork(model, batch_norm_mode="train")
        ours = network.gradients(IMAGES, LABELS)
        for a, b in zip(ours, keras_step(model, True)[1], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_losses():
    model = batch_norm_net()
    want = SharedNetwork(model).gradients(IMAGES, LABELS)
    sparse = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    own = lambda y, x: tf.nn.softmax_cross_entropy_with_logits(y, x)  # noqa: E731
    probabilities = keras.Model(model.inputs, layers.Softmax()(model.outputs[0]))
    for found in (
        SharedNetwork(model, sparse).gradients(IMAGES, LABELS),
        SharedNetwork(model, own).gradients(IMAGES, LABELS),
        SharedNetwork(probabilities).gradients(IMAGES, LABELS),
        SharedNetwork(probabilities, "sparse_categorical_crossentropy").gradients(IMAGES, LABELS),
    ):
        for a, b in zip(found, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_label_smoothing():
    model = batch_norm_net()
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)
    network = SharedNetwork(model, loss)
    found = network.forward(network.normalize(IMAGES), network.one_hot(LABELS))[0]
    np.testing.assert_allclose(found, loss(np.eye(5)[LABELS], model(IMAGES)), rtol=1e-5)


@pytest.mark.parametrize("by", ["labels", "batch"])
def test_second_derivatives_know_labels_and_batch_statistics(by):
    # TensorFlow's own operations lose both; here against central differences in float64.
    rng = np.random.default_rng(2)
    x, labels, weights = rng.random((3, 4)), rng.random((3, 4)), rng.random((3, 4))

    def first_derivative(value):
        inputs = value if by == "batch" else tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            if by == "batch":
                y = tf.reduce_sum(moments(inputs, [0])[1] ** 2)
            else:
                y = tf.reduce_sum(cross_entropy(value, inputs))
        return tf.reduce_sum(weights * tape.gradient(y, inputs))

    start = x if by == "batch" else labels
    value = tf.constant(start)
    with tf.GradientTape() as tape:
        tape.watch(value)
        derivative = first_derivative(value)
    found = tape.gradient(derivative, value).numpy()
    for index in np.ndindex(3, 4):
        shift = np.zeros((3, 4))
        shift[index] = 1e-5
        ends = [float(first_derivative(tf.constant(start + s * shift))) for s in (1, -1)]
        np.testing.assert_allclose(found[index], (ends[0] - ends[1]) / 2e-5, rtol=1e-6, atol=1e-9)


def test_normalisation():
    model = batch_norm_net()
    network = SharedNetwork(model, pixel_mean=[0.4, 0.5, 0.6], pixel_std=[0.2, 0.25, 0.3])
    np.testing.assert_allclose(network.denormalize(network.normalize(IMAGES)), IMAGES, atol=1e-6)
    plain = SharedNetwork(model)
    inputs = tf.constant((IMAGES - [0.4, 0.5, 0.6]) / [0.2, 0.25, 0.3], tf.float32)
    _, want, _ = plain.compute(inputs, plain.one_hot(LABELS))
    for a, b in zip(network.gradients(IMAGES, LABELS), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_the_head_is_found():
    model = batch_norm_net()
    head = SharedNetwork(model).head
    assert head.layer is model.layers[-1]
    assert model.trainable_variables[head.kernel_index] is head.layer.kernel
    assert model.trainable_variables[head.bias_index] is head.layer.bias
    inputs = keras.Input((8, 8, 3))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(5, 1)(inputs))
    assert SharedNetwork(keras.Model(inputs, pooled)).head is None


def test_half_precision_models_are_attacked_in_float32():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = batch_norm_net()
    finally:
        keras.config.set_dtype_policy("float32")
    network = SharedNetwork(model, batch_norm_mode="train")
    full = SharedNetwork(batch_norm_net(), batch_norm_mode="train")
    for a, b in zip(network.gradients(IMAGES, LABELS), full.gradients(IMAGES, LABELS), strict=True):
        assert a.dtype == tf.float32
        np.testing.assert_allclose(a, b, atol=0.02)


class TestMistakes:
    def test_labels_out_of_range(self):
        network = SharedNetwork(batch_norm_net())
        with pytest.raises(UserError, match=r"label 5 is outside 0\.\.4"):
            network.gradients(IMAGES, [0, 1, 2, 5])
        with pytest.raises(UserError, match="label -1 is outside"):
            network.gradients(IMAGES, [0, 1, -1, 2])

    def test_unbuilt(self):
        with pytest.raises(UserError, match="not built"):
            SharedNetwork(keras.Sequential([layers.Flatten(), layers.Dense(2)]))

    def test_no_classifier(self):
        inputs = keras.Input((8, 8, 3))
        with pytest.raises(UserError, match="one vector of classes"):
            SharedNetwork(keras.Model(inputs, layers.Conv2D(2, 3)(inputs)))
        vector = keras.Input((8,))
        with pytest.raises(UserError, match="expected one batch of images"):
            SharedNetwork(keras.Model(vector, layers.Dense(2)(vector)))
        free = keras.Input((None, None, 3))
        pooled = layers.GlobalAveragePooling2D()(free)
        with pytest.raises(UserError, match="build it with a fixed one"):
            SharedNetwork(keras.Model(free, layers.Dense(2)(pooled)))

    def test_frozen(self):
        model = batch_norm_net()
        model.trainable = False
        with pytest.raises(UserError, match="no trainable variables"):
            SharedNetwork(model)

    def test_a_loss_that_is_none(self):
        with pytest.raises(UserError, match="expected a Keras loss"):
            SharedNetwork(batch_norm_net(), 3)
        with pytest.raises(UserError, match="pixel_std"):
            SharedNetwork(batch_norm_net(), pixel_std=0.0)
