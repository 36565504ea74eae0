"""What an attack holds candidates against, and what it changes."""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tfgen.privacy.network.forward import Statistics

# The terms of an objective, in the order in which they are kept.
TERMS = ("total", "gradient", "tv", "l2", "batch_norm", "group", "label")


class Evidence(NamedTuple):
    """What candidates are held against; fixed during an attack.

    Attributes:
        gradients: sequence of tensors, the shared gradient.
        labels: `[K, N]`, one-hot; only their shape counts where labels are optimised.
        statistics: sequence of known batch-norm statistics, or empty.
        masks: sequence of tensors, where the gradient says something, or empty: everywhere.
        seeds: int32 `[G]`.
        sample_weight: `[K]`, the client's factors on the loss of each image, or None.
        metric: sequence of the factors of every tensor, see `gradient_metric`, or empty.
    """

    gradients: Sequence[tf.Tensor]
    labels: tf.Tensor
    statistics: Sequence[Statistics]
    masks: Sequence[tf.Tensor]
    seeds: tf.Tensor
    sample_weight: tf.Tensor | None = None
    metric: Sequence[Sequence[tf.Tensor]] = ()


class State(NamedTuple):
    """What an attack changes, and all that going on with it needs.

    Attributes:
        step: int32, updates made.
        values: the candidates `[G, K, H, W, C]` in the network's units, and where labels are
            optimised their logits `[G, K, N]`.
        means: Adam's first moments, like `values`.
        squares: Adam's second moments, like `values`.
        consensus: E, `[K, H, W, C]`.
        terms: `[len(TERMS), G]`, the objective of every seed before the last update.
    """

    step: tf.Tensor
    values: list[tf.Tensor]
    means: list[tf.Tensor]
    squares: list[tf.Tensor]
    consensus: tf.Tensor
    terms: tf.Tensor
