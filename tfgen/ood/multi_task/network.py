"""The backbone, its heads, and everything they say of a batch."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError, reason_of
from tfgen.ood.backbones import build_backbone
from tfgen.ood.multi_task.tasks import Copies, Task, level_losses
from tfgen.ops import random_streams

Outputs = dict[str, tf.Tensor]


class Network:
    """What `MultiTaskOOD` computes with; the layers are its attributes, and the model's.

    Args:
        backbone: a `keras.Model`, name or dict, see `tfgen.ood.backbones.build_backbone`.
        tasks: sequence of the `Task` with some weight.
        image_shape: sequence `(H, W, C)`.
        num_classes: integer C, or None.
        head_width: integer, hidden units of the tasks' heads; None: as many as features.
        normalisation: pair of float or sequence, mean and standard deviation of pixels.
        seed: integer, seed of the weights.
        dtype: the `keras.DTypePolicy` of the layers.
        projection_width: integer, units of a projection of features; None: none.

    Attributes:
        num_features: integer D, of the backbone.

    Raises:
        ConfigError: the backbone does not take such images.
    """

    def __init__(
        self,
        backbone: Any,
        tasks: Sequence[Task],
        image_shape: Sequence[int],
        num_classes: int | None,
        head_width: int | None,
        normalisation: tuple,
        seed: int,
        dtype,
        projection_width: int | None = None,
    ):
        self.tasks = tuple(tasks)
        self.backbone = build_backbone(backbone, image_shape, seed, dtype)
        self._mean, self._std = (np.asarray(value, np.float32) for value in normalisation)
        self.num_features = self._num_features(image_shape)
        self._make = _HeadMaker(self.num_features, head_width, seed, dtype)
        self.main = None if num_classes is None else self._make.linear("main", num_classes)
        self.ssl = {
            task.name: self._make.mlp(f"ssl_{task.name}", sum(task.transformation.head_sizes))
            for task in self.ssl_tasks
        }
        self.supervised = {
            task.name: self._make.mlp(f"supervised_{task.name}", num_classes)
            for task in self.supervised_tasks
        }
        self.projection = None
        if projection_width is not None:
            self.projection = self._make.mlp("projection", projection_width)

    @property
    def heads(self) -> list[keras.Model]:
        """All but the classifier's, in an order that stays."""
        found = [*self.ssl.values(), *self.supervised.values()]
        return found if self.projection is None else [*found, self.projection]

    @property
    def ssl_tasks(self) -> list[Task]:
        """Those whose levels are asked for."""
        return [task for task in self.tasks if task.ssl_weight]

    @property
    def supervised_tasks(self) -> list[Task]:
        """Those whose copies are classified."""
        return [task for task in self.tasks if task.supervised_weight]

    def copies(self, plain: bool, shared: bool = True, levels: bool = True) -> Copies:
        """Which copies of a batch are computed; none but the images without `levels`."""
        return Copies(self.tasks if levels else (), plain or self.main is not None, shared)

    def features(self, images: tf.Tensor, training: bool = False):
        """Features of images, and what batch norms would remember.

        Args:
            images: float32 `[B, H, W, C]` in [0, 1].
            training: whether batch norms use the statistics of the batch. Defaults to `False`.

        Returns:
            `[B, D]`; and pairs of a variable and its next value, which nothing was assigned.
        """
        images = (images - self._mean) / self._std
        if not training:
            return self._pooled(self.backbone(images, training=False)), []
        # Read as they are, written nowhere: a step that is refused must not move them.
        with keras.StatelessScope() as scope:
            features = self._pooled(self.backbone(images, training=True))
        values = ((v, scope.get_current_value(v)) for v in self.backbone.non_trainable_variables)
        return features, [(v, value) for v, value in values if value is not None]

    def outputs(self, features: tf.Tensor, copies: Copies) -> Outputs:
        """What all heads say.

        Args:
            features: `[count * B, D]` of copies of a batch.
            copies: the `Copies` that they are of.

        Returns:
            float32 tensors: "features" `[B, D]` of the images themselves and "logits" `[B, C]`,
            where there are such; of every task "ssl_NAME" `[B, K, S]` and "supervised_NAME"
            `[B, K, C]`, logits, and with a projection "projections_NAME" `[B, K, P]`;
            "task_losses" `[B, N]`, how badly the levels are told, and "ensemble" `[B, C]`,
            log-probabilities of all classifiers together.
        """
        parts, found = tf.split(features, copies.count), {}
        if copies.has_plain:
            found["features"] = tf.cast(parts[0], tf.float32)
        if self.main is not None:
            found["logits"] = tf.cast(self.main(parts[0]), tf.float32)
        if not copies.positions:
            return found
        groups = {"ssl": self.ssl, "supervised": self.supervised}
        if self.projection is not None:
            groups["projections"] = dict.fromkeys(self.ssl, self.projection)
        for prefix, heads in groups.items():
            for name, head in heads.items():
                rows = tf.cast(head(copies.of_task(parts, name)), tf.float32)
                count = len(copies.positions[name])
                rows = tf.reshape(rows, [count, -1, rows.shape[-1]])
                found[f"{prefix}_{name}"] = tf.transpose(rows, [1, 0, 2])
        return {**found, **self._together(found)}

    def _together(self, found: Outputs) -> Outputs:
        together = {}
        losses = [
            tf.reduce_mean(level_losses(found[f"ssl_{task.name}"], task.transformation), axis=1)
            for task in self.ssl_tasks
        ]
        if losses:
            together["task_losses"] = tf.stack(losses, axis=1)
        if self.supervised:
            log_p = [tf.nn.log_softmax(found["logits"])]
            for name in self.supervised:
                each = tf.nn.log_softmax(found[f"supervised_{name}"])
                log_p.append(tf.reduce_logsumexp(each, axis=1) - np.log(each.shape[1]))
            together["ensemble"] = tf.reduce_logsumexp(log_p, axis=0) - np.log(len(log_p))
        return together

    def _pooled(self, features):
        if features.shape.rank == 4:
            return tf.reduce_mean(features, [1, 2])
        if features.shape.rank != 2:
            raise ConfigError(
                f"the backbone {self.backbone.name!r} gives {tuple(features.shape)}; expected "
                "[B, features] or [B, h, w, features]"
            )
        return features

    def _num_features(self, image_shape) -> int:
        try:
            return self.features(tf.zeros([1, *image_shape]))[0].shape[-1]
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(
                f"the backbone {self.backbone.name!r} does not take images of shape "
                f"{tuple(image_shape)}: {reason_of(error)}"
            ) from error


class _HeadMaker:
    """Dense layers on features, each with a name and a seed of its own."""

    def __init__(self, num_features, head_width, seed, dtype):
        self.num_features, self._seed, self._dtype = num_features, seed, dtype
        self._width = num_features if head_width is None else head_width

    def linear(self, name, units, inputs=None, activation=None):
        word = random_streams.hashed("head", name, self._seed) % 2**31
        layer = keras.layers.Dense(
            units,
            activation,
            kernel_initializer=keras.initializers.GlorotUniform(word),
            dtype=self._dtype,
            name=name,
        )
        layer.build((None, inputs or self.num_features))
        return layer

    def mlp(self, name, units):
        hidden = self.linear(f"{name}_hidden", self._width, activation="relu")
        outputs = self.linear(f"{name}_outputs", units, self._width)
        inputs = keras.Input((self.num_features,), dtype=hidden.compute_dtype)
        return keras.Model(inputs, outputs(hidden(inputs)), name=name)
