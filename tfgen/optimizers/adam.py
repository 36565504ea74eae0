"""Keras's Adam and AdamW, whose updates of large tensors are compiled on a CPU."""

import keras

from tfgen.optimizers.compiled import CompiledUpdates


@keras.saving.register_keras_serializable(package="tfgen")
class Adam(CompiledUpdates, keras.optimizers.Adam):
    """`keras.optimizers.Adam`, which on one CPU goes over memory once a step.

    The arguments are those of `keras.optimizers.Adam`.
    """


@keras.saving.register_keras_serializable(package="tfgen")
class AdamW(CompiledUpdates, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW`, which on one CPU goes over memory once a step.

    The arguments are those of `keras.optimizers.AdamW`.
    """
