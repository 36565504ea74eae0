"""Adam whose own second moment bounds each gradient, as energy-based models are trained.

Du & Mordatch (2019, arXiv:1903.08689): an element that is far larger than its history
is cut, so that one bad batch of negatives cannot throw the energy off.
"""

import keras
import tensorflow as tf


def clipped_adam_update(
    p, m, v, g, t, learning_rate, beta_1, beta_2, epsilon, weight_decay, clip_factor, clip_offset
):
    """One step for one tensor.

    Args:
        p: tensor, the parameter.
        m: tensor like `p`, running mean of gradients.
        v: tensor like `p`, running mean of their squares; both from before this step.
        g: tensor like `p`, the gradient.
        t: float scalar, 1 at the first step.
        learning_rate: scalar, step size.
        beta_1: float, decay of `m`.
        beta_2: float, decay of `v`.
        epsilon: float, added to the denominator (PyTorch's place).
        weight_decay: float, L2 coefficient, added to the gradient after clipping.
        clip_factor: float, bound in standard deviations; None does not clip.
        clip_offset: float, added to the bound.

    Returns:
        New `p`, `m`, `v`.
    """
    if clip_factor is not None:
        # The first step has no history: its gradient passes.
        history = tf.maximum(1.0 - tf.pow(tf.cast(beta_2, t.dtype), t - 1.0), 1e-30)
        bound = clip_factor * tf.sqrt(v / tf.cast(history, v.dtype)) + clip_offset
        g = tf.where(t > 1.0, tf.clip_by_value(g, -bound, bound), g)
    g = g + weight_decay * p
    m = beta_1 * m + (1.0 - beta_1) * g
    v = beta_2 * v + (1.0 - beta_2) * tf.square(g)
    first, second = (
        tf.cast(1.0 - tf.pow(tf.cast(beta, t.dtype), t), p.dtype) for beta in (beta_1, beta_2)
    )
    return p - (learning_rate / first) * m / (tf.sqrt(v / second) + epsilon), m, v


@keras.saving.register_keras_serializable(package="tfgen")
class ClippedAdam(keras.optimizers.Optimizer):
    """Adam with element-wise clipping by its second moment and coupled L2 weight decay.

    From the second step on, a gradient's element is cut to +-(clip_factor * sqrt(v_hat) +
    clip_offset), v_hat being the bias-corrected second moment before the step.

    Args:
        learning_rate: float, or a `keras.optimizers.schedules.LearningRateSchedule`. Defaults to
            `4e-5`.
        beta_1: float, decay of the gradient's running mean; VAEBM takes 0.99. Defaults to `0.99`.
        beta_2: float, decay of the running mean of squares. Defaults to `0.999`.
        epsilon: float, added to the denominator. Defaults to `1e-8`.
        weight_decay: float, L2 coefficient, added to every clipped gradient. Defaults to `0.0`.
        clip_factor: float, bound in standard deviations; None does not clip. Defaults to `3.0`.
        clip_offset: float, added to the bound. Defaults to `0.1`.
        name: string, the optimizer's name.

    Attributes:
        rate_factor: scalar variable that multiplies the learning rate, 1 at first; what steers a
            run from outside changes it, and checkpoints keep it.
    """

    def __init__(
        self,
        learning_rate=4e-5,
        beta_1: float = 0.99,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        clip_factor: float | None = 3.0,
        clip_offset: float = 0.1,
        name: str = "clipped_adam",
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.l2 = weight_decay
        self.clip_factor = clip_factor
        self.clip_offset = clip_offset

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._means, self._squares = self.add_optimizer_variables(variables, ["mean", "square"])
        self.rate_factor = self.add_variable(
            shape=(), initializer="ones", dtype="float32", name="rate_factor"
        )

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        states = (variable, self._means[index], self._squares[index])
        tensors = [tf.convert_to_tensor(state) for state in states]
        dtype = tensors[0].dtype
        rate = tf.cast(learning_rate, tf.float32) * tf.convert_to_tensor(self.rate_factor)
        values = clipped_adam_update(
            *tensors,
            tf.cast(tf.convert_to_tensor(gradient), dtype),
            tf.cast(self.iterations + 1, tf.float32),
            tf.cast(rate, dtype),
            self.beta_1,
            self.beta_2,
            self.epsilon,
            self.l2,
            self.clip_factor,
            self.clip_offset,
        )
        for state, value in zip(states, values):
            self.assign(state, value)

    def get_config(self):
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "weight_decay": self.l2,
            "clip_factor": self.clip_factor,
            "clip_offset": self.clip_offset,
        }
