"""Cross-entropy whose gradient can itself be differentiated, by images and by labels.

`tf.nn.softmax_cross_entropy_with_logits` forgets the labels in its second derivative: attacks that
optimise labels with it never move them. Keras' own cross-entropies are built on it, so they are
replaced here by the same values from simpler operations.
"""

import functools
from collections.abc import Callable

import keras
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.privacy.network.forward import layers_of


def cross_entropy(
    labels: tf.Tensor, outputs: tf.Tensor, from_logits: bool = True, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Cross-entropy of each example.

    Args:
        labels: `[K, N]`, one-hot or soft.
        outputs: `[K, N]`, logits or probabilities.
        from_logits: which of the two.
        label_smoothing: share of each label that is spread over all classes.

    Returns:
        `[K]`, in nats.
    """
    labels = tf.cast(labels, outputs.dtype)
    labels = labels * (1.0 - label_smoothing) + label_smoothing / outputs.shape[-1]
    if from_logits:
        log_probabilities = tf.nn.log_softmax(outputs)
    else:
        log_probabilities = tf.math.log(tf.maximum(outputs, keras.config.epsilon()))
    return -tf.reduce_sum(labels * log_probabilities, axis=-1)


def loss_function(
    loss: keras.losses.Loss | str | Callable | None, model: keras.Model
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """The loss as a function of labels `[K, N]` and outputs `[K, N]`.

    Args:
        loss: see `SharedNetwork`.
        model: whose last layer says whether it returns probabilities.

    Raises:
        UserError: no loss.
    """
    if loss is None:
        last = layers_of(model)[-1]
        activation = getattr(last, "activation", None)
        probabilities = (
            isinstance(last, keras.layers.Softmax) or activation is keras.activations.softmax
        )
        return functools.partial(cross_entropy, from_logits=not probabilities)
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    crossed = keras.losses.SparseCategoricalCrossentropy, keras.losses.CategoricalCrossentropy
    if isinstance(loss, crossed):
        options = loss.get_config()
        return functools.partial(
            cross_entropy,
            from_logits=options["from_logits"],
            label_smoothing=options.get("label_smoothing", 0.0),
        )
    if loss in (
        keras.losses.sparse_categorical_crossentropy,
        keras.losses.categorical_crossentropy,
    ):
        return functools.partial(cross_entropy, from_logits=False)
    if not callable(loss):
        raise UserError(f"loss is {loss!r}; expected a Keras loss or a function of labels, outputs")
    return loss
