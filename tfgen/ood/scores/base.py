"""What every score of out-of-distribution images is: outputs of a network in, one number out.

    score = Mahalanobis().fit({"features": features}, labels)   # of in-distribution images
    score({"features": others})                                 # [B], larger is further away

A score is a Keras layer. What it learns from data, its statistics, are weights that no training
moves: they are saved and loaded with whatever model holds the score.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError, DataError, UserError


class Head(NamedTuple):
    """The last dense layer of a classifier, `logits = features @ kernel + bias`.

    Attributes:
        kernel: array `[D, C]`.
        bias: array `[C]`.
    """

    kernel: np.ndarray
    bias: np.ndarray


class NoSpread(DataError):
    """The in-distribution images are all alike to a score, which is made of their differences."""


class Score(keras.layers.Layer):
    """Base of the scores: larger is more out-of-distribution.

    A subclass says what it needs and computes `call`; one with statistics overrides `statistics`.

    Args:
        shapes: dict of the shape of each statistic by name, which `fit` finds; None: not fitted.
        name: string, the score's name.

    Attributes:
        needs: tuple of the outputs it is computed from: "logits" `[B, C]` before any softmax,
            "features" `[B, D]` that the last dense layer takes, "images" `[B, H, W, C]`.
        needs_labels: whether `fit` needs labels.
        needs_head: whether `fit` needs the last dense layer.
        fitted_to: tuple of the names of its statistics; empty where there is nothing to fit.
        default_name: string, the name of an instance that is given none.
    """

    needs: tuple[str, ...] = ("logits",)
    needs_labels = False
    needs_head = False
    fitted_to: tuple[str, ...] = ()
    default_name = "score"

    def __init__(self, shapes=None, name=None, **kwargs):
        super().__init__(name=name or self.default_name, autocast=False, **kwargs)
        self.shapes = None if shapes is None else {k: list(shape) for k, shape in shapes.items()}
        self._weights_by_name = {}

    @property
    def is_fitted(self) -> bool:
        """Whether it can be called."""
        return not self.fitted_to or self.shapes is not None

    @property
    def is_blank(self) -> bool:
        """Whether its statistics are all 0, as in a new layer with room for them."""
        return not any(np.any(value_of(weight)) for weight in self._weights_by_name.values())

    def fit(self, outputs: Mapping[str, np.ndarray], labels=None, head: Head | None = None):
        """Learns the statistics from in-distribution data; fitting again starts anew.

        Args:
            outputs: dict of arrays, what the network says of N images, see `needs`.
            labels: `[N]` integers, the classes; None where there are none.
            head: the `Head` of the network; None where it has none.

        Returns:
            The score itself.

        Raises:
            DataError: outputs, labels or head are missing, do not fit, or are not finite.
        """
        if self.fitted_to:
            arrays = self._checked(outputs)
            labels = self._checked_labels(labels, len(arrays[0]))
            if self.needs_head and head is None:
                raise DataError(
                    f"the score {self.name!r} needs the last dense layer of the classifier; give "
                    "fit(..., head=Head(kernel, bias))"
                )
            self._keep(self.statistics(*arrays, labels=labels, head=head))
        return self

    def statistics(self, *arrays: np.ndarray, labels, head) -> dict[str, np.ndarray]:
        """The statistics by name, as in `fitted_to`.

        Args:
            *arrays: `[N, ...]` float64, one for each of `needs`.
            labels: `[N]` int64, or None.
            head: a `Head` or None.
        """
        raise NotImplementedError

    def statistic(self, name: str) -> tf.Tensor:
        """One of them, float32."""
        return tf.convert_to_tensor(self._weights_by_name[name])

    def __call__(self, outputs, *args, **kwargs):
        """`[B]` float32 of a dict of tensors, see `needs`.

        Raises:
            UserError: it is not fitted yet, or an output is missing.
        """
        if not self.is_fitted:
            raise UserError(
                f"the score {self.name!r} is not fitted; call fit(outputs, labels) with what the "
                "network says of in-distribution images"
            )
        self._check_names(outputs)
        return super().__call__({name: outputs[name] for name in self.needs}, *args, **kwargs)

    def call(self, outputs):
        tensors = [tf.cast(outputs[name], tf.float32) for name in self.needs]
        return self.compute(*tensors)

    def compute(self, *tensors: tf.Tensor) -> tf.Tensor:
        """`[B]` float32 of float32 tensors, one for each of `needs`."""
        raise NotImplementedError

    def build(self, input_shape=None):
        del input_shape
        if self.shapes is not None and not self._weights_by_name:
            self._make_weights()
        self.built = True

    def load_own_variables(self, store):
        if len(store):  # else the file is older than this score, which stays as it is
            super().load_own_variables(store)

    def get_build_config(self):
        return {"fitted": self.is_fitted}  # not empty, or Keras would not build it

    def build_from_config(self, config):
        del config
        self.build()

    def get_config(self):
        shapes = {"shapes": self.shapes} if self.fitted_to else {}
        return {**super().get_config(), **shapes}

    def _make_weights(self):
        for name, shape in self.shapes.items():
            self._weights_by_name[name] = self.add_weight(
                shape=tuple(shape), initializer="zeros", trainable=False, dtype="float32", name=name
            )

    def _keep(self, statistics):
        shapes = {name: list(np.shape(value)) for name, value in statistics.items()}
        if shapes != self.shapes:
            self._tracker.unlock()  # as Keras's own layers do that grow after they were built
            for weight in self._weights_by_name.values():
                self._untrack_variable(weight)
            self.shapes, self._weights_by_name = shapes, {}
        if not self._weights_by_name:
            self._make_weights()
        self.build()
        for name, value in statistics.items():
            self._weights_by_name[name].assign(np.asarray(value, np.float32))

    def _check_names(self, outputs):
        missing = [name for name in self.needs if name not in outputs]
        if missing:
            raise DataError(
                f"the score {self.name!r} needs {' and '.join(self.needs)}; the outputs hold "
                f"{', '.join(map(str, outputs)) or 'nothing'}"
            )

    def _checked(self, outputs) -> list[np.ndarray]:
        self._check_names(outputs)
        arrays = [np.asarray(outputs[name], np.float64) for name in self.needs]
        for name, array in zip(self.needs, arrays, strict=True):
            if len(array) < 2 or len(array) != len(arrays[0]):
                raise DataError(
                    f"{name} of {len(array)} images came to fit the score {self.name!r}; expected "
                    "at least 2 images, and all outputs of the same ones"
                )
            if not np.all(np.isfinite(array)):
                raise DataError(
                    f"{name} of in-distribution images hold NaN or infinity, which the score "
                    f"{self.name!r} cannot be fitted to; look at the network's weights and inputs"
                )
        return arrays

    def _checked_labels(self, labels, count):
        if labels is None:
            if self.needs_labels:
                raise DataError(
                    f"the score {self.name!r} needs the classes of the images it is fitted to; "
                    "give fit(outputs, labels)"
                )
            return None
        labels = np.asarray(labels)
        if labels.shape != (count,) or labels.dtype.kind not in "iu":
            raise DataError(
                f"labels of shape {labels.shape} and type {labels.dtype} came for {count} images; "
                "expected one integer an image (tfgen.data.Source makes them of other forms)"
            )
        return labels.astype(np.int64)


def check_score(score: Any) -> None:
    """That something is a `Score`, one that was made.

    Args:
        score: `Score`, or what was given in its place.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(score, Score):
        given = repr(score) if isinstance(score, str) else getattr(score, "__name__", None)
        raise ConfigError(
            f"{given or f'a {type(score).__name__}'} came as a score; expected one that was made, "
            "such as tfgen.ood.scores.KNN(k=50)"
        )


def value_of(variable) -> np.ndarray:
    """A variable's value, also while a graph is traced."""
    with tf.init_scope():
        return np.asarray(variable.numpy())
