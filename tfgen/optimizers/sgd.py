"""Stochastic gradient descent as image classifiers are published with it.

Keras decays weights apart from the gradient, where momentum 0.9 makes the published coefficient a
tenth of what it was, and decays biases and batch norms as well.
"""

import keras

from tfgen.optimizers.compiled import CompiledUpdates


@keras.saving.register_keras_serializable(package="tfgen")
class SGD(CompiledUpdates, keras.optimizers.SGD):
    """SGD with Nesterov momentum, and an L2 penalty in the gradients of kernels alone.

    Args:
        learning_rate: float, or a `keras.optimizers.schedules.LearningRateSchedule`. Defaults to
            `0.1`.
        momentum: float, share of the last step that is taken again. Defaults to `0.9`.
        nesterov: whether the gradient counts as if that were done. Defaults to `True`.
        weight_decay: float, L2 coefficient, added to the gradients of variables of two dimensions
            or more. Defaults to `0.0`.
        name: string, the optimizer's name.
    """

    def __init__(
        self,
        learning_rate=0.1,
        momentum: float = 0.9,
        nesterov: bool = True,
        weight_decay: float = 0.0,
        name: str = "sgd",
        **kwargs,
    ):
        super().__init__(learning_rate, momentum, nesterov, name=name, **kwargs)
        self.l2 = weight_decay

    def update_step(self, gradient, variable, learning_rate):
        if self.l2 and len(variable.shape) > 1:
            gradient = gradient + self.l2 * keras.ops.cast(variable, gradient.dtype)
        super().update_step(gradient, variable, learning_rate)

    def get_config(self):
        return {**super().get_config(), "weight_decay": self.l2}
