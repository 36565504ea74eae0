"""Forward passes that look inside a Keras model and leave nothing behind.

While a pass is traced, `call` of some layers is replaced on the instances. Keras has no hook there,
and a rewired copy (`clone_model`) exists of functional models alone; this reaches every kind of
model, nested and subclassed ones too.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import tensorflow as tf

from tfgen.ops.precision import at_least_float32

# Mean and biased variance of the input of one batch-norm layer, `[C]` each.
Statistics = tuple[tf.Tensor, tf.Tensor]

_SMALLEST_NORM = 1e-12  # that Keras divides by


def layers_of(model: keras.Model) -> list[keras.Layer]:
    """All layers inside a model, nested ones included."""
    return list(model._flatten_layers(include_self=False))


@contextlib.contextmanager
def replaced_calls(calls: Mapping[keras.Layer, Callable]) -> Iterator[None]:
    """Lets layers compute something else inside the block; afterwards they are as before."""
    try:
        for layer, call in calls.items():
            layer.call = call
        yield
    finally:
        for layer in calls:
            del layer.call  # on the instance; its class has one as before


@contextlib.contextmanager
def exact_moments() -> Iterator[None]:
    """Lets every layer that asks TensorFlow for moments get those that differentiate twice.

    Layer, group and instance normalisation, of Keras or of one's own, all call `tf.nn.moments`. It
    is replaced while a pass is traced, for the whole process: do not trace in two threads.
    """
    original = tf.nn.moments

    def replacement(x, axes, shift=None, keepdims=False, name=None):
        del shift, name
        x = tf.convert_to_tensor(x)
        found = moments(at_least_float32(x), axes, keepdims)
        return tuple(tf.cast(value, x.dtype) for value in found)

    tf.nn.moments = replacement
    try:
        yield
    finally:
        tf.nn.moments = original


def smooth_unit_norms(model: keras.Model) -> contextlib.AbstractContextManager:
    """Lets unit normalisation of a model differentiate twice where a vector is zero.

    Keras takes the inverse root of the square first and bounds it afterwards: the second
    derivative of a vector of zeros, as behind a rectifier, is then NaN. Values and first
    derivatives are the same.
    """

    def replacement(layer):
        def call(inputs):
            square = tf.reduce_sum(tf.square(inputs), layer.axis, keepdims=True)
            bounded = square <= _SMALLEST_NORM**2
            inverse = tf.math.rsqrt(tf.where(bounded, tf.ones_like(square), square))
            return inputs * tf.where(bounded, tf.ones_like(square) / _SMALLEST_NORM, inverse)

        return call

    norms = [x for x in layers_of(model) if isinstance(x, keras.layers.UnitNormalization)]
    return replaced_calls({layer: replacement(layer) for layer in norms})


def random_states(model: keras.Model) -> list[keras.Variable]:
    """The states of all generators that layers draw from, dropout above all; `[2]` each."""
    return [
        generator.state
        for layer in [model, *layers_of(model)]
        for generator in layer._seed_generators
    ]


def redrawn(states: Sequence[keras.Variable], seed: tf.Tensor) -> list[tuple]:
    """Other values for random states, as `keras.StatelessScope` takes them.

    Args:
        states: sequence of the variables of `random_states`.
        seed: integers `[2]`; from equal ones come equal values.
    """
    shape = [len(states), 2]
    drawn = tf.random.stateless_uniform(shape, seed, 0, 2**31 - 1, tf.int64)
    return [(state, tf.cast(row, state.dtype)) for state, row in zip(states, tf.unstack(drawn))]


def pure_batch_norms(
    layers: Sequence[keras.Layer],
    training: bool,
    statistics: list[Statistics],
) -> contextlib.AbstractContextManager:
    """Lets batch-norm layers note the statistics of their input, and write nothing.

    Keras' own call updates moving averages and keeps the batch statistics to itself.

    Args:
        layers: sequence of the batch-norm layers of a model.
        training: whether layers that are not frozen normalise with the statistics of the batch.
        statistics: list that takes mean and biased variance of each layer's input, as they are met.
    """

    def replacement(layer):
        def call(inputs, training=None, mask=None):
            del training, mask
            x = at_least_float32(inputs)
            axis = layer.axis % x.shape.rank
            others = [i for i in range(x.shape.rank) if i != axis]
            mean, variance = moments(x, others)
            statistics.append((mean, variance))
            if not (batch_mode and layer.trainable):
                mean, variance = (
                    tf.cast(v, x.dtype) for v in (layer.moving_mean, layer.moving_variance)
                )
            scale, offset = _affine(layer, mean, variance)
            shape = [-1 if i == axis else 1 for i in range(x.shape.rank)]
            y = x * tf.reshape(scale, shape) + tf.reshape(offset, shape)
            return tf.cast(y, layer.compute_dtype)

        return call

    batch_mode = training
    return replaced_calls({layer: replacement(layer) for layer in layers})


def ordered(
    model: keras.Model, layers: Sequence[keras.Layer], inputs: tf.TensorSpec
) -> list[keras.Layer]:
    """Layers of a model as its forward pass meets them, which need not be their order in lists.

    Args:
        model: the `keras.Model` whose layers they are.
        layers: sequence of the layers to order; those that are not met are left out.
        inputs: shape and type of a batch.
    """
    met: dict[keras.Layer, None] = {}

    def noting(layer, original):
        def call(*arguments, **options):
            met.setdefault(layer)
            return original(*arguments, **options)

        return call

    with replaced_calls({x: noting(x, x.call) for x in layers}), keras.StatelessScope():
        call = tf.function(lambda x: model(x, training=False), autograph=False)
        call.get_concrete_function(inputs)
    return list(met)


def moments(x: tf.Tensor, axes: Sequence[int], keepdims: bool = False) -> Statistics:
    """Mean and biased variance over some axes, differentiable any number of times.

    `tf.nn.moments` stops the gradient at the mean inside its variance. The first derivative does
    not notice; the second, which matching gradients needs, is wrong.
    """
    mean = tf.reduce_mean(x, axes, keepdims=True)
    variance = tf.reduce_mean(tf.square(x - mean), axes, keepdims=keepdims)
    return mean if keepdims else tf.squeeze(mean, axes), variance


def _affine(layer, mean, variance):
    """Batch norm as one multiplication and one addition."""
    scale = tf.math.rsqrt(variance + layer.epsilon)
    if layer.scale:
        scale *= tf.cast(layer.gamma, scale.dtype)
    offset = -mean * scale
    if layer.center:
        offset += tf.cast(layer.beta, scale.dtype)
    return scale, offset
