"""What one training step computes, before anything of it is applied."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf


class StepOutput(NamedTuple):
    """The result of `Model.training_loss`.

    Attributes:
        loss: float32 scalar, the mean over this replica's batch; reported as `"loss"`.
        logs: dict of scalars and vectors of fixed length to report, by name.
        updates: sequence of pairs of a variable that moves without a gradient (batch-norm
            statistics, vectors of a power iteration) and its next value. They are assigned together
            with the weights, or not at all; replicas assign the mean of their values. Defaults to
            `()`.
        extras: whatever the model wants back in `Model.after_step`, of any structure. Defaults to
            `None`.
    """

    loss: tf.Tensor
    logs: Mapping[str, tf.Tensor]
    updates: Sequence[tuple[keras.Variable, tf.Tensor]] = ()
    extras: Any = None
