"""Moving averages of the weights, which Keras optimizers keep with `use_ema=True`."""

import contextlib
from collections.abc import Iterator

import keras

from tfgen.training.joint_optimizer import plain_optimizers


def moving_averages(model: keras.Model) -> list[tuple[keras.Variable, keras.Variable]]:
    """Pairs of a weight and its moving average; empty if the optimizer keeps none."""
    pairs = []
    for optimizer in plain_optimizers(getattr(model, "optimizer", None)).values():
        if optimizer.use_ema and optimizer.built:
            averages = optimizer._model_variables_moving_average
            pairs += zip(optimizer._trainable_variables, averages)
    return [(weight, average) for weight, average in pairs if average is not None]


@contextlib.contextmanager
def weights_kept(model: keras.Model) -> Iterator[None]:
    """Within the block `fit` ends with the weights that training ended with.

    Keras's `fit` replaces them by their averages at its end, for good. A run that is completed by
    several calls, as one that was stopped within an epoch, would go on from the averages.

    Args:
        model: a compiled `keras.Model`.
    """
    optimizer = model.optimizer
    optimizer.finalize_variable_values = lambda var_list: None
    try:
        yield
    finally:
        del optimizer.finalize_variable_values


@contextlib.contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Within the block the model has its averaged weights, if the optimizer keeps any.

    The weights come back bit-equal, which Keras's `SwapEMAWeights` does not promise: it swaps by
    adding and subtracting in floating point.

    Args:
        model: a compiled `keras.Model`.
    """
    pairs = moving_averages(model)
    if pairs and int(model.optimizer.iterations.numpy()) == 0:
        pairs = []  # before the first update the averages are still zero
    kept = [weight.numpy() for weight, _ in pairs]
    for weight, average in pairs:
        weight.assign(average.numpy())
    try:
        yield
    finally:
        for (weight, _), value in zip(pairs, kept):
            weight.assign(value)
