"""Models of several losses whose parts have optimizers of their own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from toy_model import IMAGES, assert_same_state, batches, run_steps, state

from tfgen.errors import ConfigError
from tfgen.training import CheckpointManager, JointOptimizer, Model, StepOutput
from tfgen.training.averages import averaged_weights
from tfgen.training.reporting import learning_rates
from tfgen.training.strategy import strategy_from_name

COUNTERS = 5


@keras.saving.register_keras_serializable(package="tfgen_tests")
class Pair(Model):
    """An encoder with a loss of its own, and a prior that learns from its codes.

    Args:
        bad: the part whose loss becomes infinite in step 2, in its gradient too.
    """

    def __init__(self, bad="", **kwargs):
        super().__init__(**kwargs)
        self.bad = bad
        self.encoder = keras.layers.Dense(3, name="encoder", dtype=self.dtype_policy)
        self.prior = keras.layers.Dense(3, name="prior", dtype=self.dtype_policy)
        self.encoder.build((None, 4))
        self.prior.build((None, 3))
        self.mean = self.add_weight(shape=(3,), trainable=False, initializer="zeros", name="mean")
        self.built = True

    def variable_groups(self):
        return {
            "encoder": self.encoder.trainable_variables,
            "prior": self.prior.trainable_variables,
        }

    def compute_gradients(self, data):
        groups = self.variable_groups()
        with tf.GradientTape(persistent=True) as tape:
            codes = tf.cast(self.encoder(data["images"]), tf.float32)
            first = self._maybe_bad("encoder", tf.reduce_mean((codes - 1.0) ** 2))
            noise = tf.random.stateless_normal(tf.shape(codes), self.step_seed("noise"))
            target = tf.stop_gradient(codes)
            guess = tf.cast(self.prior(target + noise), tf.float32)
            second = self._maybe_bad("prior", tf.reduce_mean((guess - target) ** 2))
            losses = {"encoder": self.scaled(first), "prior": self.scaled(second)}
        found = {
            id(variable): gradient
            for part, loss in losses.items()
            for variable, gradient in zip(groups[part], tape.gradient(loss, groups[part]))
        }
        mean = 0.9 * self.mean.value + 0.1 * tf.reduce_mean(target, axis=0)
        output = StepOutput(first + second, {"second": second}, [(self.mean, mean)])
        return output, [found[id(variable)] for variable in self.trainable_variables]

    def _maybe_bad(self, part, loss):
        here = tf.equal(self.train_steps.value, 2)
        return loss * tf.where(here, np.inf, 1.0) if part == self.bad else loss

    def get_config(self):
        return {"bad": self.bad, "name": self.name}


def make_pair(**kwargs):
    keras.utils.set_random_seed(5)
    model = Pair(**kwargs)
    model.compile(
        JointOptimizer(
            {
                "encoder": keras.optimizers.SGD(0.1, momentum=0.9),
                "prior": keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.5),
            }
        )
    )
    model.build_optimizer()
    return model


def test_each_part_is_trained_by_its_own_optimizer_on_its_own_loss():
    model = make_pair()
    before = [v.numpy() for v in model.encoder.trainable_variables]
    images = next(iter(batches()))["images"]
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((model.encoder(images) - 1.0) ** 2)
    gradients = tape.gradient(loss, model.encoder.trainable_variables)
    run_steps(model, 1)
    for variable, old, g in zip(model.encoder.trainable_variables, before, gradients, strict=True):
        np.testing.assert_allclose(variable.numpy(), old - 0.1 * g, rtol=1e-5, atol=1e-7)
    assert learning_rates(model) == pytest.approx(
        {"learning_rate": 0.1, "learning_rate_encoder": 0.1, "learning_rate_prior": 0.05}
    )


def test_resume_is_bit_equal(tmp_path):
    straight = make_pair()
    run_steps(straight, 3)
    manager = CheckpointManager(tmp_path)
    manager.save(straight)
    logs = run_steps(straight, 3)
    resumed = make_pair(seed=0)
    for variable in resumed.trainable_variables:
        variable.assign(variable + 1.0)
    manager.restore(resumed)
    assert run_steps(resumed, 3) == logs
    assert_same_state(straight, resumed)


@pytest.mark.parametrize("bad", ["encoder", "prior"])
@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_a_loss_that_is_not_finite_leaves_both_parts_untouched(bad, dtype):
    model = make_pair(bad=bad, dtype=dtype)
    run_steps(model, 2)
    before = state(model)
    variables = [*model.weights, *model.optimizer.variables]
    run_steps(model, 1)
    changed = [
        variable.name
        for variable, old in zip(variables[COUNTERS:], before[COUNTERS:], strict=True)
        if not np.array_equal(variable.numpy(), old)
    ]
    # Only the state of the loss scale moves, where there is one.
    assert changed == (["step_counter", "dynamic_scale"] if dtype == "mixed_float16" else [])
    assert model.counters()["skipped_steps"] == 1
    assert np.isfinite(run_steps(model, 1)["loss"])


def test_replicas_stay_equal():
    with strategy_from_name("mirrored").scope():
        model = make_pair(bad="prior")
    model.fit(batches(), steps_per_epoch=4, epochs=1, verbose=0, shuffle=False)
    assert model.counters()["skipped_steps"] == 1
    for variable in model.weights + model.optimizer.variables:
        first, second = (copy.numpy() for copy in variable.value.values)
        np.testing.assert_array_equal(first, second)


def test_averages_of_one_part():
    model = make_pair()
    run_steps(model, 3)
    weights = [v.numpy() for v in model.trainable_variables]
    with averaged_weights(model):
        same = [np.array_equal(v.numpy(), w) for v, w in zip(model.trainable_variables, weights)]
    assert same == [True, True, False, False]
    # As `fit` ends, Keras gives the part that keeps averages its averages.
    model.fit(batches(3), steps_per_epoch=1, epochs=1, verbose=0)
    averages = model.optimizer.optimizers["prior"]._model_variables_moving_average
    for variable, average in zip(model.prior.trainable_variables, averages, strict=True):
        np.testing.assert_array_equal(variable.numpy(), average.numpy())


def test_keras_file(tmp_path):
    model = make_pair()
    run_steps(model, 2)
    model.save(tmp_path / "pair.keras")
    copy = keras.models.load_model(tmp_path / "pair.keras")
    assert_same_state(model, copy)
    assert run_steps(model, 2) == run_steps(copy, 2)


def test_every_variable_belongs_to_one_part():
    model = Pair()
    model.compile(JointOptimizer({"encoder": "sgd", "decoder": "sgd"}))
    with pytest.raises(ConfigError, match=r"for encoder, decoder, and .* are encoder, prior"):
        model.build_optimizer()
    model.variable_groups = lambda: {"encoder": model.encoder.trainable_variables, "prior": []}
    model.compile(JointOptimizer({"encoder": "sgd", "prior": "sgd"}))
    with pytest.raises(ConfigError, match="have 2 variables and the model trains 4"):
        model.build_optimizer()
    scaling = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())
    with pytest.raises(ConfigError, match="LossScaleOptimizer"):
        JointOptimizer({"a": scaling})
    with pytest.raises(ConfigError, match="no optimizers"):
        JointOptimizer({})


def test_what_a_step_leaves_comes_back_with_the_verdict():
    class Leaving(Pair):
        def compute_gradients(self, data):
            output, gradients = super().compute_gradients(data)
            return output._replace(extras={"images": data["images"]}), gradients

        def after_step(self, extras, accepted):
            self.last.assign(tf.reduce_sum(extras["images"]))
            self.accepted.assign(tf.cast(accepted, tf.float32))

    model = Leaving(bad="prior")
    model.last = tf.Variable(0.0, trainable=False)
    model.accepted = tf.Variable(0.0, trainable=False)
    model.compile(JointOptimizer({"encoder": "sgd", "prior": "sgd"}))
    run_steps(model, 2)
    assert model.accepted.numpy() == 1.0
    data = next(iter(batches(2)))["images"]
    run_steps(model, 1)
    assert model.accepted.numpy() == 0.0
    np.testing.assert_allclose(model.last.numpy(), np.sum(data), rtol=1e-5)
    assert IMAGES.shape == (64, 4)
