"""Keras's Adam and AdamW, whose updates of large tensors are compiled on a CPU."""

import keras

from tfgen.optimizers.compiled import CompiledUpdates


@keras.saving.register_keras_serializable(package="tfgen")
class Adam(CompiledUpdates, keras.optimizers.Adam):
    """`keras.optimizers.Adam`, which on one CPU goes over memory once a step.

    Args:
        learning_rate: float, or a `keras.optimizers.schedules.LearningRateSchedule`. Defaults to
            `1e-3`.
        **options: keyword arguments of `keras.optimizers.Adam`.
    """

    def __init__(self, learning_rate=1e-3, **options):
        super().__init__(learning_rate, **options)


@keras.saving.register_keras_serializable(package="tfgen")
class AdamW(CompiledUpdates, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW`, which on one CPU goes over memory once a step.

    Args:
        learning_rate: float, or a `keras.optimizers.schedules.LearningRateSchedule`. Defaults to
            `1e-3`.
        weight_decay: float, share of the learning rate by which weights shrink a step. Defaults to
            `4e-3`.
        **options: keyword arguments of `keras.optimizers.AdamW`.
    """

    def __init__(self, learning_rate=1e-3, weight_decay: float = 4e-3, **options):
        super().__init__(learning_rate, weight_decay, **options)
