"""The loss of a client's training step, asked of Keras itself.

What a client differentiates is `compute_loss` of its model: the loss it was compiled with, reduced
and weighted as Keras does it, label smoothing, ignored classes, regularisers and whatever layers
added. Labels go in as the loss takes them, one-hot rows or class indices.
"""

from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.privacy.network.cross_entropy import differentiable
from tfgen.privacy.network.head import Ending
from tfgen.privacy.network.outputs import LOGITS, PROBABILITIES


def loss_of(model: keras.Model, ending: Ending, num_classes: int) -> keras.losses.Loss | None:
    """The loss of a client that names none.

    Args:
        model: the client's `keras.Model`.
        ending: the `Ending` of the model.
        num_classes: numbers it returns for an image.

    Returns:
        None where the model is compiled with one, or computes one itself; else cross-entropy.

    Raises:
        UserError: none can be told for sure.
    """
    if overrides(model, "compute_loss"):
        return None
    if model.compiled and model.loss is not None:
        if not overrides(model, "train_step"):
            return None
        raise UserError(
            "the model has a train_step of its own, which need not use the loss it is compiled "
            "with; give the loss that the client trains with"
        )
    if ending.kind not in (LOGITS, PROBABILITIES) or num_classes == 1:
        raise UserError(
            "the model is not compiled with a loss, and none can be told from its outputs, which "
            f"are of kind {ending.kind!r} (operation {ending.outputs.source}); give the loss that "
            "the client trains with"
        )
    # That of rows: it sees soft labels as they are.
    return keras.losses.CategoricalCrossentropy(from_logits=ending.kind == LOGITS)


class ClientLoss:
    """The loss of one step as a function of targets and outputs.

    Args:
        model: the client's `keras.Model`.
        loss: what it trains with: see `SharedNetwork`; None: what the model is compiled with.
        num_classes: N, numbers the model returns for an image.
        image_shape: `(H, W, C)`.
        class_weight: dict of factors by class index, as `fit` takes them; None: all one.
        differentiable_labels: whether its derivative has to know the labels.

    Raises:
        UserError: no loss, or one that takes neither one-hot labels nor indices.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: keras.losses.Loss | str | Callable | None,
        num_classes: int,
        image_shape: tuple[int, ...],
        class_weight: Mapping[int, float] | None = None,
        differentiable_labels: bool = False,
    ):
        self.num_classes = num_classes
        self.name, asked = _named(loss), loss
        if loss is None:
            self.name = _named(model.loss)
            asked = None if overrides(model, "compute_loss") else model.loss
        self.ignored = _ignored(asked)
        self.class_weight = _class_weights(class_weight, num_classes)
        if asked is None:
            self._trained = model
        else:
            weights = None if loss is not None else model.get_compile_config().get("loss_weights")
            if differentiable_labels:
                asked = keras.tree.map_structure(differentiable, asked)
            self._trained = _Client(model, asked, weights)
        self.takes_indices = False
        self._settle_labels(image_shape, differentiable_labels)

    def __call__(
        self,
        inputs: tf.Tensor,
        targets: tf.Tensor,
        outputs: tf.Tensor,
        training: bool,
        sample_weight: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """What the client differentiates; a scalar unless the loss is not reduced.

        Args:
            inputs: `[K, H, W, C]`, as the network takes them.
            targets: `[K, N]`.
            outputs: what the network returned, `[K, N]`.
            training: whether it was called for training.
            sample_weight: `[K]`, or None.
        """
        if self.class_weight is not None:
            weight = tf.gather(self.class_weight, self._classes(targets))
            sample_weight = weight if sample_weight is None else weight * sample_weight
        y = self._indices(targets) if self.takes_indices else targets
        return self._trained.compute_loss(
            x=inputs, y=y, y_pred=outputs, sample_weight=sample_weight, training=training
        )

    def check_targets(self, targets: np.ndarray) -> None:
        """Refuses soft labels where the loss would see nothing but their likeliest class.

        Args:
            targets: `[K, N]`.

        Raises:
            UserError: they are soft, and the loss takes class indices.
        """
        if not self.takes_indices or self.num_classes == 1:
            return
        hard = np.all((targets == 0) | (targets == 1)) and np.all(targets.sum(axis=1) <= 1)
        if not hard:
            raise UserError(
                f"the labels are soft, and the loss {self.name} takes one class an image; give a "
                "loss of rows, such as keras.losses.CategoricalCrossentropy"
            )

    def _classes(self, targets):
        """`[K]`, the likeliest class; of one output, 0 or 1."""
        if self.num_classes == 1:
            return tf.cast(targets[:, 0] > 0.5, tf.int64)
        return tf.argmax(targets, axis=-1)

    def _indices(self, targets):
        indices = self._classes(targets)
        if self.ignored is None:
            return indices
        empty = tf.reduce_sum(targets, axis=-1) == 0
        return tf.where(empty, tf.constant(self.ignored, indices.dtype), indices)

    def _settle_labels(self, image_shape, differentiable):
        """Finds out which labels the loss takes, by giving it some."""
        inputs, first = tf.zeros([2, *image_shape]), None
        outputs = tf.fill([2, self.num_classes], 1.0 / self.num_classes)
        targets = tf.one_hot([0, 0], self.num_classes)
        values = [(v, v.value) for v in self._trained.trainable_variables]
        for self.takes_indices in (False, True):
            try:
                with keras.StatelessScope(values, collect_losses=True):
                    self(inputs, targets, outputs, False)
            except Exception as error:  # a loss of the user's may raise anything
                first = first or error
                continue
            if self.takes_indices and differentiable:
                raise UserError(
                    f"labels cannot be optimised through the loss {self.name}, which takes class "
                    "indices; give one that takes one-hot labels"
                )
            self._check_traceable(values, inputs, targets, outputs)
            return
        raise UserError(
            f"the loss {self.name} takes neither one-hot labels nor indices of {self.num_classes} "
            f"classes ({str(first).strip().splitlines()[0]}); give one that does"
        )

    def _check_traceable(self, values, *batch):
        """Refuses what computes values, and no operations of a graph."""
        specs = [tf.TensorSpec(x.shape, x.dtype) for x in batch]

        def traced(*symbolic):
            with keras.StatelessScope(values, collect_losses=True):
                return self(*symbolic, False)

        try:
            tf.function(traced, autograph=False).get_concrete_function(*specs)
        except Exception as error:  # as above
            raise UserError(
                f"the loss {self.name} is no graph of operations "
                f"({str(error).strip().splitlines()[0]}); give a function made of TensorFlow or "
                "Keras operations"
            ) from error


class _Client(keras.Model):
    """A model compiled with a loss, while the model itself stays as it is."""

    def __init__(self, model, loss, loss_weights):
        super().__init__()
        self.inner = model
        if hasattr(model, "output_names"):
            self.output_names = model.output_names
        self.compile(loss=loss, loss_weights=loss_weights, jit_compile=False)


def overrides(model: keras.Model, method: str) -> bool:
    """Whether the class of a model replaces a method of `keras.Model`."""
    return getattr(type(model), method) is not getattr(keras.Model, method)


def check_loss(loss):
    """The loss, or why it can be none.

    Raises:
        UserError: neither a name nor a function, nor lists or mappings of such.
    """
    for leaf in keras.tree.flatten(loss):
        if not isinstance(leaf, str) and not callable(leaf):
            raise UserError(
                f"loss is {loss!r}; expected a Keras loss, its name, or a function of labels and "
                "outputs"
            )
    return loss


def _ignored(loss):
    """The class that one of some losses ignores, or None."""
    for leaf in keras.tree.flatten(loss):
        if isinstance(leaf, keras.losses.SparseCategoricalCrossentropy):
            return leaf.get_config()["ignore_class"]
    return None


def _named(loss) -> str:
    """A loss in words that tell it from others."""
    if isinstance(loss, keras.losses.Loss):
        return f"{type(loss).__name__}({loss.get_config()})"
    if isinstance(loss, list | tuple | dict):
        return str(keras.tree.map_structure(_named, loss))
    return loss if isinstance(loss, str) else getattr(loss, "__qualname__", str(loss))


def _class_weights(weights, num_classes):
    if weights is None:
        return None
    classes = range(max(num_classes, 2))
    for name in weights:
        if name not in classes:
            raise UserError(
                f"class_weight names class {name!r}; expected 0..{classes[-1]}, the classes of "
                "the network"
            )
    return tf.constant([weights.get(c, 1.0) for c in classes], tf.float32)
