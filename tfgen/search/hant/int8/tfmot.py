"""Training by TensorFlow Model Optimization, which takes networks of Keras 2 alone.

The network is built again with `tf_keras`, its weights are copied, and the twin is trained.
"""

import contextlib
import importlib
import inspect
import os
import re
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError, UserError, reason_of
from tfgen.search.hant import graph
from tfgen.search.hant.answers import gives_probabilities
from tfgen.search.hant.int8 import rules

_TOLERANCE = 1e-6  # between a network and its twin, in multiples of the largest output


@contextlib.contextmanager
def _environment_kept():
    """Leaves environment variables as they were: child processes would get Keras 2 from one."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def library() -> Any:
    """TensorFlow Model Optimization, imported so that the environment stays as it was.

    Raises:
        UserError: it is not installed.
    """
    try:
        # Each of these looks once which Keras it is: before a variable says another.
        for name in ("tensorflow", "tensorflow.compat.v1", "tensorflow.compat.v2"):
            getattr(importlib.import_module(name).keras, "Model")  # noqa: B009
        with _environment_kept():
            import tensorflow_model_optimization
    except ImportError as error:
        raise UserError(
            "the method 'tfmot' needs 'tensorflow_model_optimization', which is not installed: "
            "pip install 'tfgen[quantize]'"
        ) from error
    return tensorflow_model_optimization


def twin(model: keras.Model) -> Any:
    """The same network with the layers of `tf_keras` and the same weights.

    Args:
        model: functional `keras.Model` of one input and one output.

    Returns:
        A functional `tf_keras.Model`.

    Raises:
        ConfigError: a layer does not exist there, or computes anything else.
    """
    import tf_keras

    flat = graph.flat(model)
    images, layers = flat.inputs[0], {}
    tensors = {id(images): tf_keras.Input(images.shape[1:], name=images.name)}
    for node in graph.nodes_of(flat):
        operation = node.operation
        if id(operation) not in layers:
            layers[id(operation)] = operation, _twin_layer(node)
        inputs = [tensors[id(x)] for x in node.input_tensors]
        made = layers[id(operation)][1](inputs if len(inputs) > 1 else inputs[0])
        tensors[id(node.output_tensors[0])] = made
    found = tf_keras.Model(tensors[id(images)], tensors[id(flat.outputs[0])], name=model.name)
    for operation, layer in layers.values():
        if layer.weights:
            layer.set_weights(operation.get_weights())
    _check(flat, found)
    return found


def _twin_layer(node):
    import tf_keras

    operation, kind = node.operation, type(node.operation).__name__
    name = operation.name
    if not isinstance(operation, keras.layers.Layer):
        known = rules.activation_of(operation)
        if kind in ("Add", "Multiply", "Subtract") and len(node.input_tensors) == 2:
            return getattr(tf_keras.layers, kind)(name=name)
        if known is not None and hasattr(tf_keras.activations, known):
            return tf_keras.layers.Activation(known, name=name)
        raise _refused(name, kind)
    found = getattr(tf_keras.layers, kind, None)
    if found is None or type(operation) is not getattr(keras.layers, kind, None):
        raise _refused(name, kind)
    accepted = {"name", *_parameters(found)}
    config = {
        key: value
        for key, value in operation.get_config().items()
        if key in accepted and not key.endswith(("initializer", "regularizer", "constraint"))
    }
    try:
        return found.from_config(config)
    except (TypeError, ValueError) as error:
        raise _refused(name, kind) from error


def _parameters(kind) -> set[str]:
    """What the constructors of a layer and of those it is of take, but for the type."""
    found = set()
    for each in kind.__mro__:
        if "__init__" in vars(each):
            found.update(inspect.signature(each.__init__).parameters)
    return found - {"self", "dtype", "args", "kwargs"}


def _refused(name, kind):
    return ConfigError(
        f"the layer {name!r} ({kind}) is not known to TensorFlow Model Optimization; expected "
        "convolutions with batch norm, dense layers, sums, concatenations, pooling and rectifiers: "
        "use the method 'fake_quant'"
    )


def _check(model, found):
    """Raises a ConfigError if a twin computes anything else."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((2, *(s or 32 for s in model.inputs[0].shape[1:])))
    images = images.astype(np.float32)
    wanted = np.asarray(model(images, training=False))
    difference = np.abs(np.asarray(found(images, training=False)) - wanted).max()
    if not difference <= _TOLERANCE * np.abs(wanted).max():
        raise ConfigError(
            f"the network {model.name!r} built with tf_keras differs by {difference:.2g}; expected "
            "equal outputs: use the method 'fake_quant'"
        )


def rounded(model: keras.Model) -> Any:
    """A twin that computes as int8 will, to be trained.

    Args:
        model: functional `keras.Model`.

    Returns:
        The `tf_keras.Model`, its layers wrapped.

    Raises:
        ConfigError: TensorFlow Model Optimization refuses a layer.
        UserError: it is not installed.
    """
    methods, made = library().quantization.keras, twin(model)
    try:
        with _environment_kept():
            return methods.quantize_model(made)
    except (RuntimeError, ValueError) as error:
        named = re.search(r"Layer (\S+?):<class '[\w.]*?(\w+)'>", str(error))
        if named is None:
            raise ConfigError(
                "TensorFlow Model Optimization refuses the network: "
                f"{reason_of(error)}; use the method 'fake_quant'"
            ) from error
        raise _refused(*named.groups()) from error


def taught(
    teacher: keras.Model,
    student: keras.Model,
    network: Any,
    data: tf.data.Dataset,
    *,
    epochs: int,
    learning_rate: float,
    temperature: float,
    student_loss_weight: float,
    **fit_options: Any,
) -> Any:
    """Trains a network of Keras 2 on the loss of `fine_tune`, and returns it.

    Args:
        teacher: `keras.Model` of images to logits or probabilities.
        student: `keras.Model`, whose answers are of the network's kind.
        network: `tf_keras.Model`, a twin of it, perhaps with wrapped layers.
        data: `tf.data.Dataset` of batches of images and labels, whose length is known.
        epochs: integer, passes over the data.
        learning_rate: float of Adam at the start.
        temperature: float, by which logits are divided where the two are compared.
        student_loss_weight: float, the share of the labels' cross-entropy.
        **fit_options: keyword arguments of `fit` of `tf_keras`.
    """
    import tf_keras

    log_student, log_teacher = (_logits_of(model) for model in (student, teacher))
    divergence = tf_keras.losses.KLDivergence()

    def seen(images, labels):
        wanted = log_teacher(teacher(images, training=False))
        return images, tf.concat([tf.cast(labels, tf.float32)[:, None], wanted], -1)

    def loss(targets, outputs):
        labels, wanted, found = targets[:, 0], targets[:, 1:], log_student(outputs)
        own = tf_keras.losses.sparse_categorical_crossentropy(labels, found, from_logits=True)
        soft = [tf.nn.softmax(x / temperature) for x in (wanted, found)]
        taught = temperature**2 * divergence(*soft)
        return student_loss_weight * own + (1.0 - student_loss_weight) * taught

    steps = epochs * len(data)
    schedule = tf_keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    network.compile(tf_keras.optimizers.Adam(schedule), loss)
    network.fit(data.map(seen), epochs=epochs, **fit_options)
    return network


def _logits_of(model):
    """A function of a classifier's outputs to logits."""
    return _logarithms if gives_probabilities(model) else tf.identity


def _logarithms(probabilities):
    return tf.math.log(probabilities + 1e-7)
