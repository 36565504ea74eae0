"""Gradients of an expected loss over architectures, from draws of them.

Wanted is the gradient of E L(z) in the logits of p(z), where L may be anything that can be measured
of a discrete architecture. UNAS (arXiv:1912.07651) draws z with a relaxed copy of itself and takes

    (L(z) - S) grad log p(z) + grad S,

where S is a loss of the relaxed copy, whose derivative has the correction that makes the whole
unbiased whatever S is (`tfgen.search.unas.distribution`). Ours beside it: the weight of S can be
tuned while the search runs, and every draw can have the others' mean as a baseline.

An estimator says what to differentiate, as two scalars, and puts their gradients together.
"""

from typing import NamedTuple

import keras
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.ops.checks import in_range, one_of
from tfgen.search.unas.distribution import Architectures


class Objectives(NamedTuple):
    """What an estimator differentiates in the logits.

    Attributes:
        fixed: scalar whose gradient counts once.
        control: scalar whose gradient counts as often as the estimator says; it is 0 on average.
            None where there is none.
    """

    fixed: tf.Tensor
    control: tf.Tensor | None = None


class GradientEstimator(keras.layers.Layer):
    """Base of the estimators.

    Args:
        name: string, the layer's name.

    Attributes:
        corrected: whether relaxed draws need UNAS's correction.
        needs_discrete: whether losses of discrete architectures are used.
        needs_relaxed: whether losses of relaxed architectures are used.
    """

    corrected = False
    needs_discrete = True
    needs_relaxed = False

    def __init__(self, name=None, **kwargs):
        super().__init__(name=name, autocast=False, **kwargs)

    def objectives(self, drawn: Architectures, loss=None, relaxed_loss=None) -> Objectives:
        """What to differentiate for draws and their losses.

        Args:
            drawn: `Architectures` B, within a tape that watches the logits.
            loss: `[B]` losses of the discrete architectures.
            relaxed_loss: `[B]` losses of the relaxed ones, within the same tape.
        """
        raise NotImplementedError

    def combine(self, fixed: list, control: list | None = None) -> list:
        """The estimate from the gradients of both objectives.

        Args:
            fixed: list of tensors, gradient of `Objectives.fixed` in every variable.
            control: list of tensors, that of `Objectives.control`; None where there is none.
        """
        del control
        return fixed

    def gradients(self, tape: tf.GradientTape, objectives: Objectives, variables) -> list:
        """The estimate, as a list of tensors.

        Args:
            tape: persistent `tf.GradientTape` in which the objectives were computed, if there are
                two of them.
            objectives: the `Objectives` to differentiate.
            variables: list of variables.
        """
        fixed = tape.gradient(objectives.fixed, variables, unconnected_gradients="zero")
        control = objectives.control
        if control is not None:
            control = tape.gradient(control, variables, unconnected_gradients="zero")
        return self.combine(fixed, control)

    def build(self, input_shape=None):
        del input_shape
        self.built = True


@keras.saving.register_keras_serializable(package="tfgen")
class GumbelSoftmax(GradientEstimator):
    """The gradient of the relaxed loss alone: little variance, and a bias (SNAS, FBNet).

    Args:
        name: string, the layer's name.
    """

    needs_discrete, needs_relaxed = False, True

    def objectives(self, drawn, loss=None, relaxed_loss=None):
        return Objectives(tf.reduce_mean(relaxed_loss))


@keras.saving.register_keras_serializable(package="tfgen")
class Reinforce(GradientEstimator):
    """The score-function gradient, with a baseline that does not look at the draw.

    Args:
        baseline: string, "none"; "average", the running mean of earlier losses, which starts at 0;
            or "leave_one_out", the mean loss of the other draws. Defaults to `"average"`.
        new_weight: float, what the newest batch counts in the running mean. Defaults to `0.9`.
        name: string, the layer's name.

    Raises:
        ConfigError: there is no such baseline, or the weight is out of (0, 1].
    """

    BASELINES = ("none", "average", "leave_one_out")

    def __init__(self, baseline="average", new_weight=0.9, name=None, **kwargs):
        super().__init__(name=name, **kwargs)
        self.baseline = one_of("baseline", baseline, self.BASELINES)
        in_range("new_weight", new_weight, 0.0, above=True, most=1.0)
        self.new_weight = new_weight

    def build(self, input_shape=None):
        self.average = self.add_weight(
            shape=(), initializer="zeros", trainable=False, dtype="float32", name="average"
        )
        super().build(input_shape)

    def objectives(self, drawn, loss=None, relaxed_loss=None):
        loss = tf.stop_gradient(loss)
        return Objectives(tf.reduce_mean((loss - self._baseline(loss)) * drawn.log_prob))

    def _baseline(self, loss):
        if self.baseline == "none":
            return tf.zeros_like(loss)
        if self.baseline == "leave_one_out":
            return mean_of_others(loss)
        if not self.built:
            self.build()
        before = tf.cast(tf.convert_to_tensor(self.average), loss.dtype)
        now = before + self.new_weight * (tf.reduce_mean(loss) - before)
        self.average.assign(tf.cast(now, tf.float32))
        return before

    def get_config(self):
        return {
            **super().get_config(),
            "baseline": self.baseline,
            "new_weight": self.new_weight,
        }


@keras.saving.register_keras_serializable(package="tfgen")
class UnbiasedEstimator(GradientEstimator):
    """UNAS's gradient: the score function with a relaxed loss as its control variate.

    The estimate is a + s b, where a is REINFORCE's, s a scale and b the control variate, whose mean
    is 0. The scale that leaves the least variance is -E<a, b> / E<b, b>, of which running means are
    kept where it is tuned.

    Args:
        scale: float s, with which the estimate is UNAS's at 1. Defaults to `1.0`.
        tuned: whether the scale is tuned from `scale` on while the search runs. A batch's own
            scale comes from earlier batches, which leaves the estimate unbiased. Defaults to
            `False`.
        leave_one_out: whether every draw has the mean of the others' as a baseline. Defaults to
            `False`.
        momentum: float, what the past counts in running means. Defaults to `0.99`.
        name: string, the layer's name.

    Raises:
        ConfigError: a number is out of range.
    """

    corrected, needs_relaxed = True, True

    def __init__(
        self, scale=1.0, tuned=False, leave_one_out=False, momentum=0.99, name=None, **kwargs
    ):
        super().__init__(name=name, **kwargs)
        in_range("scale", scale, 0.0)
        in_range("momentum", momentum, 0.0, below=1.0)
        self.scale, self.tuned, self.leave_one_out = scale, tuned, leave_one_out
        self.momentum = momentum

    def build(self, input_shape=None):
        self.products = self.add_weight(  # running means of <a, b> and <b, b>, not yet debiased
            shape=(2,), initializer="zeros", trainable=False, dtype="float32", name="products"
        )
        super().build(input_shape)

    def objectives(self, drawn, loss=None, relaxed_loss=None):
        loss, surrogate = tf.stop_gradient(loss), tf.stop_gradient(relaxed_loss)
        if self.leave_one_out:
            loss, surrogate = (x - mean_of_others(x) for x in (loss, surrogate))
        return Objectives(
            tf.reduce_mean(loss * drawn.log_prob),
            tf.reduce_mean(relaxed_loss - surrogate * drawn.log_prob),
        )

    def current_scale(self) -> tf.Tensor:
        """s, a scalar."""
        if not self.tuned:
            return tf.constant(self.scale, tf.float32)
        if not self.built:
            self.build()
        cross, square = tf.unstack(tf.convert_to_tensor(self.products))
        return tf.where(square > 0.0, -tf.math.divide_no_nan(cross, square), self.scale)

    def combine(self, fixed, control=None):
        scale = self.current_scale()
        if self.tuned:
            cross = tf.add_n([tf.reduce_sum(a * b) for a, b in zip(fixed, control)])
            square = tf.add_n([tf.reduce_sum(b * b) for b in control])
            now = tf.cast(tf.stack([cross, square]), tf.float32)
            before = tf.convert_to_tensor(self.products)
            self.products.assign(before + (1.0 - self.momentum) * (now - before))
        return [a + tf.cast(scale, a.dtype) * b for a, b in zip(fixed, control)]

    def get_config(self):
        return {
            **super().get_config(),
            "scale": self.scale,
            "tuned": self.tuned,
            "leave_one_out": self.leave_one_out,
            "momentum": self.momentum,
        }


def mean_of_others(values) -> tf.Tensor:
    """For every draw the mean of the other draws' values, `[B]`.

    Args:
        values: `[B]`, of independent draws.

    Raises:
        UserError: there is only one.
    """
    count = values.shape[0]
    if count is not None and count < 2:
        raise UserError(
            "a leave-one-out baseline is the mean of other architectures, and one was drawn; draw "
            "at least two a step, or leave the baseline out"
        )
    number = tf.cast(tf.shape(values)[0], values.dtype)
    return (tf.reduce_sum(values) - values) / (number - 1.0)


ESTIMATORS = {
    "unas": UnbiasedEstimator,
    "reinforce": Reinforce,
    "gumbel_softmax": GumbelSoftmax,
}
