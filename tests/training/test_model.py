"""The guarded training step."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from toy_model import (
    IMAGES,
    ToyModel,
    assert_same_state,
    batches,
    make_toy,
    run_steps,
    state,
    train,
)

from tfgen.errors import ConfigError
from tfgen.training import Model
from tfgen.training.running_means import RunningMeans
from tfgen.training.strategy import strategy_from_name
from tfgen.training.update import sum_of_squares

COUNTERS = 5  # they come first in `model.weights`


class TestGuard:
    @pytest.mark.parametrize("kind", ["bad_steps", "bad_gradient_steps"])
    def test_bad_step_changes_nothing_but_the_counters(self, kind):
        model = make_toy(**{kind: (3,)})
        run_steps(model, 3)
        before = state(model)
        run_steps(model, 1)
        after = state(model)
        for old, new in zip(before[COUNTERS:], after[COUNTERS:], strict=True):
            np.testing.assert_array_equal(old, new)
        assert model.counters() == {
            "train_steps": 4,
            "skipped_steps": 1,
            "consecutive_skips": 1,
            "first_skipped_step": 3,
            "last_skipped_step": 3,
        }
        assert int(model.optimizer.iterations.numpy()) == 3

    def test_goes_on_as_if_only_the_batch_had_been_consumed(self):
        skipping, reference = make_toy(bad_steps=(2,)), make_toy()
        run_steps(skipping, 5)
        run_steps(reference, 2)
        reference.train_steps.assign_add(1)
        run_steps(reference, 2)
        for a, b in zip(state(skipping)[COUNTERS:], state(reference)[COUNTERS:], strict=True):
            np.testing.assert_array_equal(a, b)

    def test_counts_runs_of_skips(self):
        model = make_toy(bad_steps=(1, 4, 5, 6))
        run_steps(model, 6)
        counters = model.counters()
        assert (counters["first_skipped_step"], counters["last_skipped_step"]) == (4, 5)
        assert (counters["consecutive_skips"], counters["skipped_steps"]) == (2, 3)
        run_steps(model, 2)
        assert model.counters()["consecutive_skips"] == 0
        assert model.counters()["last_skipped_step"] == 6

    def test_skipped_steps_do_not_touch_the_averages(self):
        history = train(make_toy(bad_steps=(1,)), 4).history
        model = make_toy(bad_steps=(1,))
        losses = [run_steps(model, 1)["loss"] for _ in range(4)]
        assert np.isnan(losses).tolist() == [False, True, False, False]
        np.testing.assert_allclose(history["loss"], [np.nanmean(losses)], rtol=1e-6)
        assert np.isfinite(history["gradient_norm"]).all()

    def test_all_steps_bad_reports_nan(self):
        history = train(make_toy(bad_steps=range(3)), 3).history
        assert np.isnan(history["loss"]).all()

    @pytest.mark.parametrize(
        "arguments", [{"jit_compile": True}, {"steps_per_execution": 2}, {"run_eagerly": True}]
    )
    def test_under_other_ways_of_running(self, arguments):
        plain = make_toy(bad_steps=(1,))
        other = make_toy(bad_steps=(1,), compile_arguments=arguments)
        expected, actual = train(plain, 4), train(other, 4)
        np.testing.assert_allclose(actual.history["loss"], expected.history["loss"], rtol=1e-5)
        for a, b in zip(state(plain), state(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)

    def test_sum_of_squares(self):
        slices = tf.IndexedSlices(tf.constant([[3.0, 0.0]]), tf.constant([1]))
        assert float(sum_of_squares([tf.constant([1.0, 2.0]), None, slices])) == 14.0
        for bad in (np.nan, np.inf, -np.inf):
            assert not np.isfinite(sum_of_squares([tf.constant([1.0, bad]), tf.ones([2])]))


class TestMirrored:
    def test_bad_replica_stops_all_and_copies_stay_equal(self):
        strategy = strategy_from_name("mirrored")
        with strategy.scope():
            model = make_toy(bad_steps=(1,))
        train(model, 4)
        assert model.counters()["skipped_steps"] == 1
        assert int(model.optimizer.iterations.numpy()) == 3
        for variable in model.weights + model.optimizer.variables:
            first, second = (copy.numpy() for copy in variable.value.values)
            np.testing.assert_array_equal(first, second)

    def test_two_replicas_equal_one(self):
        # Without noise, two halves of a batch make the same step as the whole.
        def trained(strategy):
            with strategy.scope():
                model = make_toy(optimizer=keras.optimizers.SGD(0.1))
            model.step_seed = lambda salt: tf.zeros([2], tf.int32)
            model.training_loss = lambda data: _quiet_loss(model, data)
            return state_and_logs(model)

        def state_and_logs(model):
            history = train(model, 3).history
            return [*state(model), history["loss"]]

        one = trained(tf.distribute.get_strategy())
        two = trained(strategy_from_name("mirrored"))
        for a, b in zip(one, two, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)

    def test_evaluation_counts_every_example_once(self):
        with strategy_from_name("mirrored").scope():
            model = make_toy()
        data = tf.data.Dataset.from_tensor_slices({"images": IMAGES}).batch(24)
        logs = model.evaluate(data, return_dict=True, verbose=0)
        np.testing.assert_allclose(logs["loss"], IMAGES.sum(1).mean(), rtol=1e-5)

    def test_several_steps_per_execution_fall_back(self):
        strategy = strategy_from_name("mirrored")
        with strategy.scope(), pytest.warns(UserWarning, match="becomes 1"):
            model = make_toy(compile_arguments={"steps_per_execution": 2})
        assert model.steps_per_execution == 1

    def test_needs_a_built_model(self):
        class Unbuilt(Model):
            pass

        with strategy_from_name("mirrored").scope():
            model = Unbuilt()
            model.compile("sgd")
        with pytest.raises(ConfigError, match="call it on a batch"):
            model.fit(batches(), steps_per_epoch=1, verbose=0)


def _quiet_loss(model, data):
    error = model.output_layer(model.hidden(data["images"])) - 1.0
    return tf.reduce_mean(tf.square(error)), {}


class TestMixedPrecision:
    def test_overflow_halves_the_scale_and_counts_as_skipped(self):
        model = make_toy(bad_gradient_steps=(1, 2), dtype="mixed_float16")
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        run_steps(model, 1)
        assert float(model.optimizer.dynamic_scale.numpy()) == 1024
        before = [v.numpy() for v in model.trainable_variables]
        run_steps(model, 2)
        assert float(model.optimizer.dynamic_scale.numpy()) == 256
        assert model.counters()["skipped_steps"] == 2
        assert int(model.optimizer.inner_optimizer.iterations.numpy()) == 1
        for old, variable in zip(before, model.trainable_variables, strict=True):
            np.testing.assert_array_equal(old, variable.numpy())
            assert variable.dtype == "float32"

    def test_gradient_norm_does_not_contain_the_scale(self):
        half, full = make_toy(dtype="mixed_float16"), make_toy()
        expected, actual = run_steps(full, 1), run_steps(half, 1)
        np.testing.assert_allclose(actual["gradient_norm"], expected["gradient_norm"], rtol=0.02)

    def test_bfloat16_needs_no_scale(self):
        model = make_toy(dtype="mixed_bfloat16")
        assert isinstance(model.optimizer, keras.optimizers.Adam)
        assert np.isfinite(run_steps(model, 2)["loss"])


class TestLogs:
    def test_vectors_are_kept_for_callbacks_and_not_shown(self):
        model = make_toy()
        history = train(model, 3).history
        assert sorted(history) == ["gradient_norm", "loss", "penalty"]
        assert model.vector_logs()["hidden"].shape == (3,)

    def test_evaluation_weighs_examples_equally(self):
        model = make_toy()
        data = tf.data.Dataset.from_tensor_slices({"images": IMAGES}).batch(24)
        logs = model.evaluate(data, return_dict=True, verbose=0)
        np.testing.assert_allclose(logs["loss"], IMAGES.sum(1).mean(), rtol=1e-5)
        pixels = model.vector_logs(training=False)["pixels"]
        np.testing.assert_allclose(pixels, IMAGES.mean(0), rtol=1e-4)

    def test_validation_inside_fit(self):
        data = tf.data.Dataset.from_tensor_slices({"images": IMAGES}).batch(24)
        history = train(make_toy(), 2, validation_data=data).history
        np.testing.assert_allclose(history["val_loss"], [IMAGES.sum(1).mean()], rtol=1e-5)

    def test_means_start_anew_every_epoch(self):
        model = make_toy(optimizer=keras.optimizers.SGD(0.05))
        arguments = {"steps_per_epoch": 4, "epochs": 2, "verbose": 0, "shuffle": False}
        losses = model.fit(batches(), **arguments).history["loss"]
        reference = make_toy(optimizer=keras.optimizers.SGD(0.05))
        first, second = train(reference, 4), train(reference, 4)
        np.testing.assert_allclose(losses, first.history["loss"] + second.history["loss"])

    def test_running_means_check_what_they_are_given(self):
        means = RunningMeans(capacity=3)
        assert means.scalars() == {}
        with pytest.raises(ValueError, match="'a' has shape"):
            means.pack({"a": tf.zeros([2, 2])})
        with pytest.raises(ValueError, match="at most 3"):
            means.pack({"a": tf.zeros([4])})
        means = RunningMeans(capacity=3)
        means.pack({"a": tf.zeros([2])})
        with pytest.raises(ValueError, match="same names"):
            means.pack({"b": tf.zeros([2])})


class TestSeed:
    def test_depends_on_step_seed_and_salt(self):
        def seeds():
            for seed in (0, 1):
                model = ToyModel(seed=seed)
                for step in (0, 1, 2**40):
                    model.train_steps.assign(step)
                    for salt in (0, 1, "a", "b"):
                        yield tuple(model.step_seed(salt).numpy())

        first, second = list(seeds()), list(seeds())
        assert first == second
        # 2**40 and 0 have the same low bits: steps count modulo 2**32.
        assert len(set(first)) == 16

    def test_same_in_a_graph_and_under_xla(self):
        model = ToyModel(seed=5)
        eager = model.step_seed("x").numpy()
        for jit_compile in (False, True):
            compiled = tf.function(lambda: model.step_seed("x"), jit_compile=jit_compile)
            np.testing.assert_array_equal(compiled(), eager)

    def test_replicas_draw_differently(self):
        strategy = strategy_from_name("mirrored")
        with strategy.scope():
            model = ToyModel()
        first, second = strategy.experimental_local_results(
            strategy.run(tf.function(lambda: model.step_seed()))
        )
        assert tuple(first.numpy()) != tuple(second.numpy())


class TestKeras:
    def test_saved_model_comes_back_compiled_and_continues(self, tmp_path):
        model = make_toy()
        run_steps(model, 3)
        path = str(tmp_path / "toy.keras")
        model.save(path)
        copy = keras.models.load_model(path)
        assert_same_state(model, copy)
        assert run_steps(model, 2) == run_steps(copy, 2)
        assert_same_state(model, copy)

    def test_arrays_instead_of_a_data_set(self):
        model = make_toy()
        model.fit({"images": IMAGES}, batch_size=16, epochs=1, verbose=0)
        assert model.counters()["train_steps"] == 4

    def test_optimizer_is_built_after_lazy_variables(self):
        class Lazy(Model):
            def __init__(self):
                super().__init__()
                self.dense = keras.layers.Dense(1)

            def training_loss(self, data):
                return tf.reduce_mean(tf.square(self.dense(data["images"]))), {}

        model = Lazy()
        model.compile("adam")
        train(model, 2)
        assert len(model.optimizer._trainable_variables) == 2

    def test_without_an_optimizer(self):
        with pytest.raises(ConfigError, match="compile"):
            ToyModel().build_optimizer()

    def test_without_a_loss(self):
        model = Model()
        model.compile("sgd")
        with pytest.raises(NotImplementedError, match="training_loss"):
            model.fit(batches(), steps_per_epoch=1, verbose=0)
