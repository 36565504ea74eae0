"""What is asked of transformed images: which tasks, of what weight, on which copies of a batch."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfgen.ood.transformations import Transformation
from tfgen.ops import random_streams


class Task(NamedTuple):
    """One transformation with its weights.

    Attributes:
        transformation: the `Transformation`.
        ssl_weight: float lambda, of telling its levels; 0: nothing asks for them.
        supervised_weight: float lambda', of telling the class at every level; 0: likewise.
    """

    transformation: Transformation
    ssl_weight: float
    supervised_weight: float

    @property
    def name(self) -> str:
        return self.transformation.name


class Copies:
    """A batch and its transformed copies, one after the other.

    Args:
        tasks: sequence of the `Task` to make copies for.
        plain: whether the images themselves are wanted, at position 0.
        shared: whether levels that are the images themselves are not made again. Defaults to
            `True`.

    Attributes:
        count: integer, copies of the batch.
        positions: dict of the copies of each task's levels, by the task's name.
    """

    def __init__(self, tasks: Sequence[Task], plain: bool, shared: bool = True):
        self._tasks = tasks
        shares = [shared and task.transformation.identity_first for task in tasks]
        self.has_plain = plain or any(shares)
        self._first = dict(zip((task.name for task in tasks), map(int, shares)))
        self.count = int(self.has_plain)
        self.positions: dict[str, list[int]] = {}
        for task in tasks:
            first = self._first[task.name]
            own = range(self.count, self.count + task.transformation.num_levels - first)
            self.positions[task.name] = [0] * first + list(own)
            self.count += len(own)

    def make(self, images: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """`[count * B, H, W, C]` of images `[B, H, W, C]`."""
        found = [images] if self.has_plain else []
        for task in self._tasks:
            own = None
            if seed is not None:  # by name: no task's numbers depend on which others there are
                word = random_streams.hashed("transformation", task.name) % 2**31
                own = random_streams.fold_in(seed, word)
            found += task.transformation.levels(images, own, self._first[task.name])
        return tf.concat(found, axis=0)

    def of_task(self, copies: Sequence[tf.Tensor], name: str) -> tf.Tensor:
        """`[K * B, D]`, the rows of a task's levels, of as many `[B, D]` as there are copies."""
        return tf.concat([copies[position] for position in self.positions[name]], axis=0)


def level_losses(logits: tf.Tensor, transformation: Transformation) -> tf.Tensor:
    """How badly heads tell the levels: cross-entropy in nats, the mean over heads, `[B, K]`.

    Args:
        logits: float32 `[B, K, S]`, S the sum of `head_sizes`.
        transformation: the `Transformation` whose levels they are.
    """
    losses, labels = [], transformation.level_labels
    for head, part in enumerate(tf.split(logits, transformation.head_sizes, axis=-1)):
        wanted = tf.constant(np.eye(part.shape[-1], dtype=np.float32)[labels[:, head]])
        losses.append(-tf.reduce_sum(wanted * tf.nn.log_softmax(part), axis=-1))
    return tf.add_n(losses) / len(losses)


def class_losses(logits: tf.Tensor, labels: tf.Tensor, smoothing: float = 0.0) -> tf.Tensor:
    """Cross-entropy in nats of classes, the mean over levels, `[B]`.

    Args:
        logits: float32 `[B, C]`, or `[B, K, C]`.
        labels: int32 `[B]`.
        smoothing: float, share of each label that is spread over all classes. Defaults to `0.0`.
    """
    wanted = tf.one_hot(labels, logits.shape[-1]) * (1.0 - smoothing)
    wanted += smoothing / logits.shape[-1]
    log_p = tf.nn.log_softmax(logits)
    if log_p.shape.rank == 3:
        log_p = tf.reduce_mean(log_p, axis=1)
    # A label that is no class has to be seen: a row of zeros would be a loss of zero.
    known = tf.cast((labels >= 0) & (labels < logits.shape[-1]), tf.float32)
    return -tf.reduce_sum(wanted * log_p, axis=-1) / known
