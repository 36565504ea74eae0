"""Keras's Adam and AdamW, whose updates of large tensors are compiled on a CPU."""

import keras

from tfgen.optimizers.compiled import CompiledUpdates


@keras.saving.register_keras_serializable(package="tfgen")
class Adam(CompiledUpdates, keras.optimizers.Adam):
    """`keras.optimizers.Adam`, which on one CPU goes over memory once a step.

    Args:
        learning_rate: float, or a `keras.optimizers.schedules.LearningRateSchedule`. Defaults to
            `1e-3`.
        beta_1: float, decay of the gradient's running mean. Defaults to `0.9`.
        beta_2: float, decay of the running mean of squares. Defaults to `0.999`.
        epsilon: float, added to the denominator. Defaults to `1e-7`.
        name: string, the optimizer's name. Defaults to `"adam"`.
        **kwargs: further arguments of `keras.optimizers.Adam`.
    """

    def __init__(
        self,
        learning_rate=1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        name: str = "adam",
        **kwargs,
    ):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, name=name, **kwargs)


@keras.saving.register_keras_serializable(package="tfgen")
class AdamW(CompiledUpdates, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW`, which on one CPU goes over memory once a step.

    Args:
        learning_rate: float, or a `keras.optimizers.schedules.LearningRateSchedule`. Defaults to
            `1e-3`.
        weight_decay: float, share of a weight that a step takes off, times the learning rate.
            Defaults to `0.004`.
        beta_1: float, decay of the gradient's running mean. Defaults to `0.9`.
        beta_2: float, decay of the running mean of squares. Defaults to `0.999`.
        epsilon: float, added to the denominator. Defaults to `1e-7`.
        name: string, the optimizer's name; None: one that Keras makes.
        **kwargs: further arguments of `keras.optimizers.AdamW`.
    """

    def __init__(
        self,
        learning_rate=1e-3,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        name: str | None = None,
        **kwargs,
    ):
        super().__init__(learning_rate, weight_decay, beta_1, beta_2, epsilon, name=name, **kwargs)
