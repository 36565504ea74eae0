"""Folded weights kept in variables: what a frozen form of a model owns."""

import tensorflow as tf

from tfgen.layers.weights import FoldedWeights


class StoredWeights:
    """Folded weights in variables of their own, in any dtype; what computes reads float32.

    Not a `tf.Module`, because its keys are declared parts, which TensorFlow's attribute tracking
    does not take: whoever holds one also holds its `variables` in an attribute.

    Args:
        view: `FoldedWeights` of which every part has been asked for, so that all are folded.
        storage: dtype of the variables. Defaults to `"float32"`.
    """

    def __init__(self, view: FoldedWeights, storage: str = "float32"):
        def keep(tensor):
            return tf.Variable(tf.cast(tensor, storage), trainable=False)

        self._kept = _each(keep, view.folded)

    @property
    def variables(self) -> list[tf.Variable]:
        """All of them, in one list."""
        return tf.nest.flatten(list(self._kept.values()))

    def view(self) -> FoldedWeights:
        """The weights as they are now, read before any loop that may use them."""
        return FoldedWeights(None, _each(lambda v: tf.cast(v, tf.float32), self._kept))


def _each(function, folded: dict) -> dict:
    return {part: tf.nest.map_structure(function, tensors) for part, tensors in folded.items()}
