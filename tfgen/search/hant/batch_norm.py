"""Moving statistics of batch norm, taken anew: those of training lag behind the weights."""

from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf

from tfgen import stopping
from tfgen.errors import DataError


def reestimate(model: keras.Model, images: Iterable) -> None:
    """Sets a network's moving statistics to the mean of those of some batches.

    Layers behind see what the batch's own statistics make of it, as in training; so one pass does
    for a network of any depth.

    Args:
        model: the `keras.Model`, whose moving statistics are changed and nothing else.
        images: iterable of batches of images; two thousand images in all do.

    Raises:
        DataError: there is no batch.
    """
    reestimate_all([model], lambda x: model(x, training=True), images)


def reestimate_all(models: Iterable[keras.Model], run: Callable, batches: Iterable) -> None:
    """As `reestimate`, of several models that one function calls.

    Args:
        models: iterable of `keras.Model`.
        run: function of a batch that calls all of them in training.
        batches: iterable of batches.

    Raises:
        DataError: there is no batch.
    """
    norms = [
        layer
        for model in models
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    momenta = [norm.momentum for norm in norms]
    variables = [v for norm in norms for v in (norm.moving_mean, norm.moving_variance)]
    totals, count = [0.0] * len(variables), 0
    try:
        for norm in norms:
            norm.momentum = 0.0  # what moves is then the batch's own
        step = tf.function(run, reduce_retracing=True, autograph=False)
        for batch in batches:
            stopping.check()
            step(batch)
            totals = [total + np.asarray(v, np.float64) for total, v in zip(totals, variables)]
            count += 1
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
    if not count:
        raise DataError("there are no images; expected at least one batch to take statistics of")
    for total, variable in zip(totals, variables):
        variable.assign(total / count)
