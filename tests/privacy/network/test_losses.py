"""Losses and heads: the gradient is that which Keras differentiates in a step of training."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.privacy.network.shared import SharedNetwork

layers, losses, ops = keras.layers, keras.losses, keras.ops
RNG = np.random.default_rng(0)
IMAGES = RNG.random((4, 4, 4, 1)).astype(np.float32)
LABELS, ONE_HOT = np.array([0, 3, 1, 4]), np.eye(5, dtype=np.float32)[[0, 3, 1, 4]]
REGULARIZER = keras.regularizers.L2(0.02)


def classifier(activation=None, units=5, **options):
    """A dense layer with as many units as classes, and the head behind it."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            layers.Flatten(),
            layers.Dense(5, activation="relu", name="hidden"),
            layers.Dense(units, activation=activation, name="head", **options),
        ]
    )


def after(layer, activation=None):
    """The classifier with something behind it."""
    inputs = keras.Input((4, 4, 1))
    return keras.Model(inputs, layer(classifier(activation)(inputs)))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = classifier()

    def call(self, inputs):
        return tf.nn.softmax(self.inner(inputs))


def built(model):
    model(IMAGES)
    return model


def convolution():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4, 4, 1))
    x = layers.GlobalAveragePooling2D(keepdims=True)(layers.Conv2D(7, 3, activation="relu")(inputs))
    x = layers.Activation("softmax")(layers.Conv2D(5, 1, name="head")(x))
    return keras.Model(inputs, layers.Flatten()(x))


def mixed():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        return after(layers.Activation("softmax", dtype="float32"))
    finally:
        keras.config.set_dtype_policy("float32")


def by_hand(x):
    e = ops.exp(x)
    return e / ops.sum(e, axis=-1, keepdims=True)


# What a model returns; whether the loss is that of logits; the layer labels are restored from.
HEADS = {
    "logits": (classifier, True, "head"),
    "no bias": (lambda: classifier(use_bias=False), True, "head"),
    "softmax": (lambda: classifier("softmax"), False, "head"),
    "tf.nn.softmax": (lambda: classifier(tf.nn.softmax), False, "head"),
    "keras.ops.softmax": (lambda: classifier(ops.softmax), False, "head"),
    "log_softmax": (lambda: classifier("log_softmax"), True, "head"),
    "layer Activation": (lambda: after(layers.Activation("softmax")), False, "head"),
    "layer Softmax": (lambda: after(layers.Softmax()), False, "head"),
    "an operation": (lambda: after(ops.softmax), False, "head"),
    "a Lambda": (lambda: after(layers.Lambda(lambda x: tf.nn.softmax(x / 2.0))), False, "head"),
    "a cast": (lambda: after(lambda x: ops.cast(x, "float64"), "softmax"), False, "head"),
    "mixed precision": (mixed, False, "head"),
    "rescaling in front": (
        lambda: keras.Sequential(
            [keras.Input((4, 4, 1)), layers.Rescaling(0.5), classifier("softmax")]
        ),
        False,
        "head",
    ),
    "nested": (lambda: after(lambda x: x, "softmax"), False, "head"),
    "reshaped": (
        lambda: after(lambda x: layers.Flatten()(layers.Reshape((5, 1))(x))),
        True,
        "head",
    ),
    "temperature": (lambda: after(layers.Rescaling(2.0, offset=0.5)), True, "head"),
    "convolution": (convolution, False, "head"),
    "subclassed": (lambda: built(Subclassed()), False, "head"),
    "mean of two": (
        lambda: after(lambda x: layers.Average()([ops.softmax(x), ops.softmax(2 * x)])),
        False,
        None,
    ),
    "softmax by hand": (lambda: after(by_hand), False, None),
    "batch norm": (lambda: after(layers.BatchNormalization()), True, None),
}


def of_keras(model, labels, training=False, **options):
    """The gradient that Keras takes of a compiled model, in a graph as `fit` does."""

    @tf.function(autograph=False)
    def step(x, y):
        with tf.GradientTape() as tape:
            outputs = model(x, training=training)
            loss = model.compute_loss(x=x, y=y, y_pred=outputs, training=training, **options)
        return tape.gradient(loss, [v.value for v in model.trainable_variables])

    return step(tf.constant(IMAGES), tf.constant(labels))


def flat(gradients):
    return np.concatenate([np.ravel(g) for g in gradients]).astype(np.float64)


def assert_same(found, wanted, tolerance=1e-6):
    found, wanted = flat(found), flat(wanted)
    assert np.linalg.norm(wanted) > 1e-3
    assert np.linalg.norm(found - wanted) < tolerance * np.linalg.norm(wanted)


@pytest.mark.parametrize("name", HEADS)
def test_heads(name):
    make, from_logits, head = HEADS[name]
    model = make()
    network = SharedNetwork(model)
    assert (network.head.layer.name if network.head else None) == head
    found = network.gradients(IMAGES, LABELS)
    model.compile("sgd", losses.SparseCategoricalCrossentropy(from_logits=from_logits))
    tolerance = 2e-3 if name == "mixed precision" else 1e-6  # sums of half precision have no order
    assert_same(found, of_keras(model, LABELS), tolerance)


@pytest.mark.parametrize(
    ("make", "sign"),
    [
        (lambda: classifier("sigmoid"), "sigmoid"),
        (lambda: classifier(units=1), "logits"),
        (lambda: after(layers.Rescaling(2.0), "softmax"), "unknown"),
        (lambda: after(layers.Activation("tanh")), "unknown"),
    ],
)
def test_outputs_that_tell_no_loss_are_refused(make, sign):
    with pytest.raises(UserError, match=f"kind '{sign}'.*give the loss"):
        SharedNetwork(make())


class Sparse(losses.Loss):
    """Takes class indices, which only trying can tell."""

    def call(self, y_true, y_pred):
        y_true = ops.cast(y_true, "int32")
        return -(ops.take_along_axis(ops.log_softmax(y_pred), y_true[:, None], axis=1)[:, 0] ** 3)


class OwnLoss(keras.Sequential):
    """Computes the loss of a step itself."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        plain = losses.sparse_categorical_crossentropy(y, y_pred, from_logits=True)
        return ops.mean(plain) + 0.1 * ops.mean(ops.square(y_pred)) + ops.sum(self.losses)


class Penalty(layers.Layer):
    def call(self, inputs):
        self.add_loss(0.1 * ops.mean(ops.square(inputs)))
        return inputs


def crossentropy(y, x):
    return losses.categorical_crossentropy(y, x, from_logits=True)


IGNORED = np.where(LABELS == 3, -1, LABELS)
CE, SCE = losses.CategoricalCrossentropy, losses.SparseCategoricalCrossentropy
# What a client trains with: a model, the arguments of `compile`, labels as that loss takes them.
CLIENTS = {
    "sparse": (classifier, dict(loss=SCE(from_logits=True)), LABELS),
    "sum": (classifier, dict(loss=SCE(from_logits=True, reduction="sum")), LABELS),
    "not reduced": (classifier, dict(loss=SCE(from_logits=True, reduction=None)), LABELS),
    "ignored class": (classifier, dict(loss=SCE(from_logits=True, ignore_class=3)), LABELS),
    "ignored index": (classifier, dict(loss=SCE(from_logits=True, ignore_class=-1)), IGNORED),
    "smoothing": (classifier, dict(loss=CE(from_logits=True, label_smoothing=0.1)), ONE_HOT),
    "focal": (
        classifier,
        dict(loss=losses.CategoricalFocalCrossentropy(from_logits=True)),
        ONE_HOT,
    ),
    "name": (lambda: classifier("softmax"), dict(loss="sparse_categorical_crossentropy"), LABELS),
    "class": (lambda: classifier("softmax"), dict(loss="CategoricalCrossentropy"), ONE_HOT),
    "crossentropy": (lambda: classifier("softmax"), dict(loss="crossentropy"), LABELS),
    "function": (classifier, dict(loss=crossentropy), ONE_HOT),
    "own sparse loss": (classifier, dict(loss=Sparse()), LABELS),
    "binary, many": (lambda: classifier("sigmoid"), dict(loss="binary_crossentropy"), ONE_HOT),
    "binary, logits": (classifier, dict(loss=losses.BinaryCrossentropy(from_logits=True)), ONE_HOT),
    "binary, one": (
        lambda: classifier("sigmoid", 1),
        dict(loss="binary_crossentropy"),
        np.array([[0.0], [1.0], [1.0], [0.0]]),
    ),
    "regression": (classifier, dict(loss="mse"), RNG.standard_normal((4, 5))),
    "divergence": (lambda: classifier("softmax"), dict(loss=losses.KLDivergence()), ONE_HOT),
    "list": (classifier, dict(loss=[SCE(from_logits=True)], loss_weights=[0.3]), LABELS),
    "mapping": (lambda: after(layers.Identity(name="out")), dict(loss={"out": SCE(True)}), LABELS),
    "weight": (classifier, dict(loss=SCE(from_logits=True), loss_weights=0.3), LABELS),
    "weight decay": (
        lambda: classifier(kernel_regularizer=REGULARIZER, bias_regularizer=REGULARIZER),
        dict(loss=SCE(from_logits=True)),
        LABELS,
    ),
    "activity": (
        lambda: classifier(activity_regularizer=REGULARIZER),
        dict(loss=SCE(from_logits=True)),
        LABELS,
    ),
    "loss of a layer": (lambda: after(Penalty()), dict(loss=SCE(from_logits=True)), LABELS),
    "own compute_loss": (
        lambda: OwnLoss([keras.Input((4, 4, 1)), *classifier().layers]),
        dict(loss="mse"),
        LABELS,
    ),
}


@pytest.mark.parametrize("name", CLIENTS)
def test_compiled_models(name):
    make, options, labels = CLIENTS[name]
    model = make()
    model.compile("sgd", **options)
    assert_same(SharedNetwork(model).gradients(IMAGES, labels), of_keras(model, labels))


@pytest.mark.parametrize(
    "name", ["sum", "ignored class", "weight decay", "own sparse loss", "mapping"]
)
def test_losses_that_are_given(name):
    make, options, labels = CLIENTS[name]
    found = SharedNetwork(make(), options["loss"]).gradients(IMAGES, labels)
    model = make()
    model.compile("sgd", **options)
    assert_same(found, of_keras(model, labels))


def test_a_loss_that_is_given_goes_before_that_of_the_model():
    model = classifier()
    model.compile("sgd", "mse")
    found = SharedNetwork(model, SCE(from_logits=True)).gradients(IMAGES, LABELS)
    assert model.loss == "mse"
    model.compile("sgd", SCE(from_logits=True))
    assert_same(found, of_keras(model, LABELS))


@pytest.mark.parametrize("kind", ["class_weight", "sample_weight"])
def test_weights_are_those_of_fit(kind):
    given = {0: 2.0, 4: 0.3} if kind == "class_weight" else np.array([0.5, 2.0, 1.0, 0.1])
    model = classifier()
    of_network = {kind: given} if kind == "class_weight" else {}
    network = SharedNetwork(model, SCE(from_logits=True), **of_network)
    of_call = {} if of_network else {kind: given}
    found = network.gradients(IMAGES, LABELS, **of_call)
    before = [v.numpy() for v in model.trainable_variables]
    model.compile(keras.optimizers.SGD(1.0), SCE(from_logits=True))
    model.fit(IMAGES, LABELS, batch_size=4, verbose=0, **{kind: given})
    step = [old - v.numpy() for old, v in zip(before, model.trainable_variables)]
    assert_same(found, step, 1e-5)  # differences of weights round


@pytest.mark.parametrize("name", ["sparse", "smoothing", "name", "crossentropy", "weight decay"])
def test_labels_can_be_differentiated(name):
    make, options, labels = CLIENTS[name]
    network = SharedNetwork(make(), **options, differentiable_labels=True)
    model = make()
    model.compile("sgd", **options)
    assert_same(network.gradients(IMAGES, labels), of_keras(model, labels), 2e-6)
    targets = network.one_hot(labels)
    with tf.GradientTape() as tape:
        tape.watch(targets)
        size = tf.linalg.global_norm(network.compute(tf.constant(IMAGES), targets)[1])
    assert np.all(np.abs(tape.gradient(size, targets)) > 1e-6)


def test_mistakes():
    class OwnStep(keras.Sequential):
        def train_step(self, data):
            raise NotImplementedError

    model = OwnStep([keras.Input((4, 4, 1)), *classifier().layers])
    model.compile("sgd", "mse")
    with pytest.raises(UserError, match="a train_step of its own"):
        SharedNetwork(model)
    with pytest.raises(UserError, match="takes neither one-hot labels nor indices"):
        SharedNetwork(classifier(), "nonsense")
    with pytest.raises(UserError, match="labels cannot be optimised through the loss Sparse"):
        SharedNetwork(classifier(), Sparse(), differentiable_labels=True)
    with pytest.raises(UserError, match="class_weight names class 7"):
        SharedNetwork(classifier(), class_weight={7: 1.0})
    network = SharedNetwork(classifier())
    with pytest.raises(UserError, match=r"sample_weight has shape \(2,\)"):
        network.gradients(IMAGES, LABELS, sample_weight=[1.0, 2.0])
    with pytest.raises(UserError, match="2 outputs"):
        SharedNetwork(after(lambda x: [x, x]))
