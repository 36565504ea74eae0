"""A small model with every kind of state that training has to carry."""

import os

import keras
import numpy as np
import tensorflow as tf

from tfgen.training import KLWarmup, Model, StepOutput


@keras.saving.register_keras_serializable(package="tfgen_tests")
class ToyModel(Model):
    """Two dense layers, noise, a KL schedule, statistics and a power-iteration vector.

    Args:
        bad_steps: steps whose loss is NaN.
        bad_gradient_steps: steps whose loss is finite but whose gradient is not.
        width: units of the hidden layer.
    """

    def __init__(self, bad_steps=(), bad_gradient_steps=(), width=3, **kwargs):
        super().__init__(**kwargs)
        self.bad_steps = tuple(bad_steps)
        self.bad_gradient_steps = tuple(bad_gradient_steps)
        self.width = width
        self.warmup = KLWarmup(total_steps=20, ramp=0.5)
        self.hidden = keras.layers.Dense(width, name="hidden", dtype=self.dtype_policy)
        self.output_layer = keras.layers.Dense(1, name="output", dtype=self.dtype_policy)
        self.hidden.build((None, 4))
        self.output_layer.build((None, width))
        self.statistics = self.add_weight(
            shape=(width,), trainable=False, initializer="zeros", name="statistics"
        )
        self.vector = self.add_weight(
            shape=(width,), trainable=False, initializer="ones", name="vector"
        )
        self.built = True

    def training_loss(self, data):
        images = data["images"]
        hidden = tf.cast(self.hidden(images + 0.1 * self._noise(tf.shape(images))), tf.float32)
        error = tf.cast(self.output_layer(hidden), tf.float32) - 1.0
        loss = tf.reduce_mean(tf.square(error))
        penalty, vector = self._power_iteration()
        loss += self.warmup(self.train_steps.value) * penalty
        for step in self.bad_steps:
            loss = tf.where(tf.equal(self.train_steps.value, step), np.nan, loss)
        for step in self.bad_gradient_steps:
            here = tf.cast(tf.equal(self.train_steps.value, step), tf.float32)
            # The square root is zero here, and its slope is infinite.
            kernel = tf.convert_to_tensor(self.hidden.kernel)
            loss += here * tf.sqrt(tf.reduce_sum(kernel - tf.stop_gradient(kernel)))
        mean = tf.reduce_mean(hidden, axis=0)
        statistics = 0.9 * self.statistics.value + 0.1 * mean
        updates = [(self.vector, vector), (self.statistics, statistics)]
        return StepOutput(loss, {"penalty": penalty, "hidden": mean}, updates)

    def _noise(self, shape):
        # From integers: XLA draws other floating-point numbers than the plain graph.
        seed = self.step_seed("noise")
        bits = tf.random.stateless_uniform(shape, seed, None, None, tf.int32, alg="philox")
        return tf.cast(bits, tf.float32) / 2.0**31

    def _power_iteration(self):
        kernel = tf.cast(self.hidden.kernel, tf.float32)
        left = tf.linalg.l2_normalize(tf.linalg.matvec(kernel, self.vector.value))
        right = tf.linalg.l2_normalize(tf.linalg.matvec(kernel, left, transpose_a=True))
        left, right = tf.stop_gradient(left), tf.stop_gradient(right)
        return tf.tensordot(left, tf.linalg.matvec(kernel, right), 1), right

    def evaluation_logs(self, data):
        return {"loss": tf.reduce_sum(data["images"], axis=1), "pixels": data["images"]}

    def sample(self, num_images, temperature=1.0, seed=0):
        shape = (num_images, 8, 8, 1)
        return temperature * tf.random.stateless_uniform(shape, [seed, 0])

    def get_config(self):
        return {"bad_steps": self.bad_steps, "width": self.width, "name": self.name}


IMAGES = np.random.RandomState(0).normal(size=(64, 4)).astype("float32")


def batches(start_step=0, batch_size=8):
    """An endless data set whose batch k does not depend on where it starts."""

    def batch(step):
        rows = tf.random.stateless_uniform([batch_size], [7, step], 0, 64, tf.int64)
        return {"images": tf.ensure_shape(tf.gather(IMAGES, rows), [batch_size, 4])}

    return tf.data.Dataset.range(start_step, 2**40).map(batch)


def make_toy(optimizer=None, compile_arguments=None, **kwargs):
    """A compiled `ToyModel` with the same initial weights every time."""
    keras.utils.set_random_seed(3)
    model = ToyModel(**kwargs)
    optimizer = optimizer or keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.9)
    model.compile(optimizer, **(compile_arguments or {}))
    model.build_optimizer()
    return model


def train(model, steps, **kwargs):
    """Trains for one epoch of `steps`, from where the model's counter stands."""
    start = int(model.train_steps.numpy())
    data = batches(start)
    return model.fit(data, steps_per_epoch=steps, epochs=1, verbose=0, shuffle=False, **kwargs)


def run_steps(model, steps):
    """Trains without `fit`, which at its end overwrites the weights by their averages."""
    model.reset_metrics()
    step = model.__dict__.setdefault("traced_step", tf.function(model.train_step, autograph=False))
    for data in batches(int(model.train_steps.numpy())).take(steps):
        logs = step(data)
    return {name: float(value) for name, value in logs.items()}


def state(model):
    """All numbers that training changes."""
    variables = [*model.weights, *model.optimizer.variables]
    return [np.array(variable.numpy()) for variable in variables]


def assert_same_state(first, second):
    for a, b in zip(state(first), state(second), strict=True):
        np.testing.assert_array_equal(a, b)


def file_names(folder):
    return sorted(os.listdir(folder))


def untrained(**kwargs):
    """A model with other initial weights than `make_toy` gives."""
    model = make_toy(**kwargs)
    for variable in model.trainable_variables:
        variable.assign(variable + 1.0)
    return model
