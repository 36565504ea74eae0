"""Two views of every image that are to be told from all others: CSI's losses, beside the heads.

Tack et al. (2020, arXiv:2007.08176): an image and its transformed copies count as different, two
views of one copy as the same. Without classes that is NT-Xent, with classes SupCon, for which all
copies of one class and level are the same. Not part of multi-task transformation learning itself.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.ood.multi_task.tasks import Task
from tfgen.ood.transformations import ColorJitter
from tfgen.ops.checks import in_range, whole_number

UNLABELLED, LABELLED = 0.5, 0.07  # temperatures, the published ones


@dataclasses.dataclass(frozen=True)
class Contrast:
    """What the contrastive loss counts, and how views are made.

    Attributes:
        weight: float above 0, of the loss. Defaults to `1.0`.
        temperature: float above 0, which similarities are divided by. Defaults to `0.5`.
        width: integer, units of the projection that is compared. Defaults to `128`.
        jitter: float, at least 0 and below 1, by how much brightness, contrast and, of colours,
            saturation of a view differ. Defaults to `0.4`.
    """

    weight: float = 1.0
    temperature: float = UNLABELLED
    width: int = 128
    jitter: float = 0.4

    @classmethod
    def of(cls, given: Mapping[str, Any] | None, labelled: bool) -> "Contrast | None":
        """That of a model's argument, a `Contrast`, or None for None.

        Args:
            given: dict of any of the attributes, or None.
            labelled: whether there are classes, for which the temperature is 0.07 unless given.

        Raises:
            ConfigError: an attribute that there is not, or out of range.
        """
        if given is None:
            return None
        known = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(given, Mapping) or not set(given) <= set(known):
            raise ConfigError(
                f"contrastive is {given!r}; expected a dict of some of {', '.join(known)}"
            )
        found = cls(**{"temperature": LABELLED if labelled else UNLABELLED, **given})
        in_range("contrastive.weight", found.weight, 0.0, above=True)
        in_range("contrastive.temperature", found.temperature, 0.0, above=True)
        in_range("contrastive.jitter", found.jitter, 0.0, below=1.0)
        whole_number("contrastive.width", found.width, 1)
        return found

    def check(self, tasks: Sequence[Task], is_moved: bool, is_shared: bool) -> None:
        """Refuses what would make views or copies that cannot be told apart, or must not.

        Args:
            tasks: sequence of the model's `Task`.
            is_moved: whether views are shifted or mirrored.
            is_shared: whether levels that are the image itself are computed once.

        Raises:
            ConfigError: see there.
        """
        if not self.jitter and not is_moved:
            raise ConfigError(
                "the two views of contrastive are the same image; give contrastive.jitter, "
                "crop_padding or flip"
            )
        if self.jitter and any(isinstance(task.transformation, ColorJitter) for task in tasks):
            raise ConfigError(
                "contrastive.jitter changes colours at random, and the transformation "
                "'color_jitter' asks whether they are changed; set one of the two to 0"
            )
        if not is_shared:
            raise ConfigError(
                "contrastive tells all copies apart, and share_identity=False makes several of the "
                "image itself; leave one of the two out"
            )

    def losses(self, projections: tf.Tensor, count: int, labels: tf.Tensor | None) -> tf.Tensor:
        """The loss of every copy of both views, `[count * 2 B]`.

        Args:
            projections: `[count * 2 B, P]`, of copies of a batch of first and then second views.
            count: integer, copies.
            labels: int32 `[2 B]`, classes; None: every image is a class of its own.
        """
        both = tf.shape(projections)[0] // count
        if labels is None:
            labels = tf.math.floormod(tf.range(both), both // 2)
        span = tf.reduce_max(labels) + 1
        groups = labels[None] + span * tf.range(count, dtype=labels.dtype)[:, None]
        return contrastive_losses(projections, tf.reshape(groups, [-1]), self.temperature)

    def get_config(self) -> dict[str, Any]:
        """As plain values."""
        return dataclasses.asdict(self)


def contrastive_losses(embeddings: tf.Tensor, groups: tf.Tensor, temperature: float) -> tf.Tensor:
    """Supervised contrastive losses in nats (Khosla et al., 2020, L_out), `[M]`.

    With s the cosine over the temperature, and P(i) the others of i's group,

        L_i = -1 / |P(i)| sum_{p in P(i)} log( exp s_ip / sum_{a != i} exp s_ia ).

    With groups of two views each that is NT-Xent. One that is alone in its group has the loss 0.

    Args:
        embeddings: `[M, P]`, of any length.
        groups: int32 `[M]`.
        temperature: float above 0.
    """
    unit = tf.math.l2_normalize(embeddings, axis=1)
    similar = tf.matmul(unit, unit, transpose_b=True) / temperature
    self_ = tf.eye(tf.shape(similar)[0], dtype=tf.bool)
    log_p = tf.nn.log_softmax(tf.where(self_, similar.dtype.min, similar), axis=1)
    same = tf.equal(groups[:, None], groups[None]) & ~self_
    total = tf.reduce_sum(tf.where(same, log_p, 0.0), axis=1)
    return -tf.math.divide_no_nan(total, tf.reduce_sum(tf.cast(same, total.dtype), axis=1))
