"""Adamax as NVAE uses it: epsilon inside the maximum, L2 penalty in the gradient.

`keras.optimizers.Adamax` adds epsilon to the denominator and decays weights apart from the
gradient; neither reproduces the published training.
"""

import keras
import tensorflow as tf

from tfgen.optimizers.compiled import CompiledUpdates


def adamax_update(
    p, m, u, g, learning_rate, bias_correction, beta_1, beta_2, epsilon, weight_decay
):
    """One step for one tensor (Kingma & Ba, 2015, section 7.1).

    Args:
        p: tensor, the parameter.
        m: tensor like `p`, running mean of gradients.
        u: tensor like `p`, decaying maximum of gradient magnitudes.
        g: tensor like `p`, the gradient.
        learning_rate: scalar, step size before bias correction.
        bias_correction: scalar `1 - beta_1**t` at step t >= 1.
        beta_1: float, decay of `m`.
        beta_2: float, decay of `u`.
        epsilon: float, added to |g| inside the maximum.
        weight_decay: float, L2 coefficient added to the gradient.

    Returns:
        New `p`, `m`, `u`.
    """
    g = g + weight_decay * p
    m = beta_1 * m + (1.0 - beta_1) * g
    u = tf.maximum(beta_2 * u, tf.abs(g) + epsilon)
    return p - (learning_rate / bias_correction) * m / u, m, u


@keras.saving.register_keras_serializable(package="tfgen")
class Adamax(CompiledUpdates, keras.optimizers.Optimizer):
    """Adamax with epsilon inside the maximum and classic (coupled) L2 weight decay.

    On one CPU the updates of large tensors run as one XLA computation that goes over memory once,
    in place.

    Args:
        learning_rate: float, or a `keras.optimizers.schedules.LearningRateSchedule`. Defaults to
            `1e-3`.
        beta_1: float, decay of the gradient's running mean. Defaults to `0.9`.
        beta_2: float, decay of the running maximum. Defaults to `0.999`.
        epsilon: float, floor inside the maximum. Defaults to `1e-3`.
        weight_decay: float, L2 coefficient, added to every gradient. Defaults to `0.0`.
        name: string, the optimizer's name.
    """

    def __init__(
        self,
        learning_rate=1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-3,
        weight_decay: float = 0.0,
        name: str = "adamax",
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.l2 = weight_decay

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._means, self._maxima = self.add_optimizer_variables(variables, ["mean", "maximum"])

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        states = (variable, self._means[index], self._maxima[index])
        values = self._updated(states, gradient, learning_rate)
        for state, value in zip(states, values):
            self.assign(state, value)

    def _updated(self, states, gradient, learning_rate):
        dtype = states[0].dtype
        step = tf.cast(self.iterations + 1, tf.float32)
        correction = tf.cast(1.0 - tf.pow(tf.constant(self.beta_1), step), dtype)
        tensors = [tf.convert_to_tensor(s) for s in states]
        return adamax_update(
            *tensors,
            tf.cast(tf.convert_to_tensor(gradient), dtype),
            tf.cast(learning_rate, dtype),
            correction,
            self.beta_1,
            self.beta_2,
            self.epsilon,
            self.l2,
        )

    def get_config(self):
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "weight_decay": self.l2,
        }
