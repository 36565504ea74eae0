"""Cross-entropy whose gradient can itself be differentiated, by images and by labels.

`tf.nn.softmax_cross_entropy_with_logits` forgets the labels in its second derivative: attacks that
optimise labels with it never move them. Keras' own cross-entropies are built on it, so where labels
are optimised they are replaced by the same values from simpler operations.
"""

import keras
import tensorflow as tf


def cross_entropy(
    labels: tf.Tensor, outputs: tf.Tensor, from_logits: bool = True, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Cross-entropy of each example, differentiable twice by outputs and labels.

    Args:
        labels: `[K, N]`, one-hot or soft.
        outputs: `[K, N]`, logits or probabilities.
        from_logits: whether outputs are logits.
        label_smoothing: float, share of each label that is spread over all classes.

    Returns:
        `[K]`, in nats.
    """
    labels = tf.cast(labels, outputs.dtype)
    labels = labels * (1.0 - label_smoothing) + label_smoothing / outputs.shape[-1]
    if not from_logits and not tf.executing_eagerly() and outputs.op.type == "Softmax":
        outputs, from_logits = (
            outputs.op.inputs[0],
            True,
        )  # exact where outputs round to 0, as Keras
    if from_logits:
        log_probabilities = tf.nn.log_softmax(outputs)
    else:
        log_probabilities = tf.math.log(tf.maximum(outputs, keras.config.epsilon()))
    return -tf.reduce_sum(labels * log_probabilities, axis=-1)


class SoftCrossEntropy(keras.losses.Loss):
    """`cross_entropy` in the place of Keras' own."""

    def __init__(self, from_logits=False, label_smoothing=0.0, **options):
        super().__init__(**options)
        self.options = dict(from_logits=from_logits, label_smoothing=label_smoothing)

    def call(self, y_true, y_pred):
        return cross_entropy(y_true, y_pred, **self.options)


def differentiable(loss):
    """A loss as `compile` takes it, with `cross_entropy` in the place of Keras' own."""
    if loss in ("ce", "crossentropy"):
        return SoftCrossEntropy()
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    if isinstance(loss, _CROSS_ENTROPIES):
        options = loss.get_config()
        return SoftCrossEntropy(
            options["from_logits"],
            options.get("label_smoothing", 0.0),
            reduction=options["reduction"],
        )
    if loss in (
        keras.losses.sparse_categorical_crossentropy,
        keras.losses.categorical_crossentropy,
    ):
        return SoftCrossEntropy()
    return loss


_CROSS_ENTROPIES = keras.losses.SparseCategoricalCrossentropy, keras.losses.CategoricalCrossentropy
