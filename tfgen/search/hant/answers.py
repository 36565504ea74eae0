"""What a classifier answers: probabilities, or logits."""

import weakref

import keras
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.privacy.network import outputs as graphs
from tfgen.privacy.network.head import Ending
from tfgen.search.hant import graph

_known: weakref.WeakKeyDictionary[keras.Model, bool] = weakref.WeakKeyDictionary()


def check_classifier(network: keras.Model) -> None:
    """Refuses a network whose answers are not one vector of classes an image.

    Args:
        network: functional `keras.Model` of one input and one output.

    Raises:
        ConfigError: it has another output, or its outputs are of no softmax.
    """
    answer = network._outputs_struct
    if not isinstance(answer, keras.KerasTensor):
        raise ConfigError(
            f"the network {network.name!r} answers with a {type(answer).__name__}; expected a "
            "tensor: give keras.Model(network.inputs, network.outputs[0])"
        )
    shape = tuple(network.outputs[0].shape[1:])
    if len(shape) != 1 or shape[0] is None or shape[0] < 2:
        raise ConfigError(
            f"the network {network.name!r} answers with {shape} an image; expected a vector of two "
            "classes or more"
        )
    gives_probabilities(network)


def gives_probabilities(network: keras.Model) -> bool:
    """Whether a classifier ends with a softmax of any make; otherwise its outputs are logits.

    Args:
        network: a functional or sequential `keras.Model`; it may end with a model.

    Raises:
        ConfigError: it ends with sigmoids, which are of no distribution over classes.
    """
    if network not in _known:
        _known[network] = _ends_in_softmax(network)
    return _known[network]


def _ends_in_softmax(network):
    last = network
    while (nested := graph.functional(last)) is not None:
        last = nested.outputs[0]._keras_history.operation
    activation = getattr(last, "activation", None)
    if activation is keras.activations.softmax or isinstance(last, keras.layers.Softmax):
        return True
    if isinstance(last, keras.layers.Dense) and activation is keras.activations.linear:
        return False
    images = network.inputs[0]
    with tf.init_scope():  # perhaps a step is being traced
        shape = tuple(8 if size is None else size for size in images.shape[1:])
        dtype = tf.as_dtype(images.dtype)
        kind = Ending(network, lambda x: tf.cast(x, dtype), shape, dtype).kind
    if kind == graphs.SIGMOID:
        raise ConfigError(
            f"the network {network.name!r} ends in sigmoids, which name any number of classes at "
            "once; expected a softmax, or logits"
        )
    return kind == graphs.PROBABILITIES


def log_probabilities(outputs, probabilities: bool) -> tf.Tensor:
    """Of a classifier's outputs, `[B, classes]` float32.

    Args:
        outputs: `[B, classes]`, logits or probabilities.
        probabilities: whether they are probabilities.
    """
    outputs = tf.cast(outputs, tf.float32)
    return tf.math.log(outputs + 1e-12) if probabilities else tf.nn.log_softmax(outputs)
