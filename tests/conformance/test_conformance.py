"""The same questions, asked of every public class in the register."""

import copy
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import register
import tensorflow as tf
import tensorflow_probability as tfp

import tfgen
from tfgen.training import Model

HELD = (
    keras.Layer,
    keras.optimizers.Optimizer,
    keras.optimizers.schedules.LearningRateSchedule,
    keras.metrics.Metric,
    keras.callbacks.Callback,
    tfp.distributions.Distribution,
    tf.Module,
)


def each(table):
    return pytest.mark.parametrize("name", table)


def images_for(model, num_images=3):
    """Images that any decoder can score."""
    rng = np.random.default_rng(0)
    return tf.constant(rng.integers(0, 2, (num_images, *model.image_shape)), tf.float32)


def shake(variables):
    """Moves every number away from its start, so that forgetting one shows."""
    rng = np.random.default_rng(1)
    for variable in variables:
        if "float" in str(variable.dtype):
            variable.assign(variable + 0.1 * rng.random(variable.shape))
        elif "int" in str(variable.dtype):
            variable.assign(variable + 1)


def test_nothing_public_is_missing():
    found = set()
    for info in pkgutil.walk_packages(tfgen.__path__, "tfgen."):
        if info.name.startswith("tfgen.bin"):
            continue
        module = importlib.import_module(info.name)
        for name, member in inspect.getmembers(module, inspect.isclass):
            if member.__module__ == info.name and not name.startswith("_"):
                found |= {member} if issubclass(member, HELD) else set()
    missing = {t for t in found - register.registered_types() if not register.is_exempt(t)}
    assert not missing, "add to tests/conformance/register.py"
    assert register.registered_types() <= found
    assert register.EXEMPT.keys() <= found


@each(register.KERAS_OBJECTS)
class TestConfiguration:
    def test_round_trip(self, name):
        thing = register.KERAS_OBJECTS[name]()
        config = thing.get_config()
        again = type(thing).from_config(copy.deepcopy(config))  # Keras may change what it is given
        assert type(again) is type(thing)
        assert again.get_config() == config

    def test_survives_json(self, name):
        thing = register.KERAS_OBJECTS[name]()
        text = json.dumps(keras.saving.serialize_keras_object(thing))
        again = keras.saving.deserialize_keras_object(json.loads(text))
        assert type(again) is type(thing)
        plain = [json.loads(json.dumps(t.get_config(), default=str)) for t in (thing, again)]
        assert plain[0] == plain[1]

    def test_every_argument_is_in_the_configuration(self, name):
        thing = register.KERAS_OBJECTS[name]()
        names = set(inspect.signature(type(thing)).parameters) - {"args", "kwargs"}
        assert names <= set(thing.get_config())


@each(register.MODELS)
class TestModels:
    def test_keras_file(self, name, tmp_path):
        model = register.MODELS[name]()
        model.build()
        model.compile(register.OPTIMIZERS["adamax on a schedule"]())
        model.build_optimizer()
        shake([*model.weights, *model.optimizer.variables])
        path = str(tmp_path / "model.keras")
        model.save(path)
        loaded = keras.models.load_model(path)
        assert type(loaded) is type(model)
        for group in (lambda m: m.weights, lambda m: m.optimizer.variables):
            for a, b in zip(group(model), group(loaded), strict=True):
                np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)
        images = images_for(model)
        np.testing.assert_array_equal(model(images), loaded(images))
        assert loaded.image_shape == model.image_shape

    def test_graph_equals_eager(self, name):
        model = register.MODELS[name]()
        images, seeds = images_for(model), tf.constant([4, 5, 6])
        for ask in (
            lambda: model(images),
            lambda: model.negative_elbo(images, seeds)["nelbo"],
            lambda: model.generate_from_seeds(seeds, 0.7),
        ):
            eager = ask().numpy()
            graph = tf.function(ask, autograph=False)().numpy()
            np.testing.assert_allclose(graph, eager, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
    def test_mixed_precision_keeps_float32_weights(self, name, policy):
        model = register.MODELS[name](dtype=policy)
        images, seeds = images_for(model), tf.constant([4, 5, 6])
        with tf.GradientTape() as tape:
            loss, logs = model.training_loss({"images": images})
        floats = {v.dtype for v in model.weights if "float" in str(v.dtype)}
        assert floats == {"float32"}
        gradients = tape.gradient(loss, model.trainable_variables)
        outputs = [
            model(images),
            *model.negative_elbo(images, seeds).values(),
            model.generate_from_seeds(seeds),
            model.frozen().generate_from_seeds(seeds),
        ]
        for value in (loss, *logs.values(), *gradients, *outputs):
            assert value.dtype == tf.float32
            assert np.all(np.isfinite(value))
        # Pixels reach the likelihood whole: Keras would round them to half at the door.
        plain = register.MODELS[name]()
        exact = plain(images).numpy()
        np.testing.assert_allclose(model(images), exact, atol=0.05)

    def test_batches_of_any_size(self, name, need_empty_batches):
        model = register.MODELS[name]()
        many = images_for(model, 3)
        run = tf.function(
            model.reconstruct,
            input_signature=[tf.TensorSpec((None, *model.image_shape))],
            autograph=False,
        )
        whole = run(many).numpy()
        np.testing.assert_allclose(run(many[1:2]), whole[1:2], rtol=1e-4, atol=1e-5)
        need_empty_batches()
        assert run(many[:0]).shape == (0, *model.image_shape)

    def test_is_a_model_with_the_guarded_step(self, name):
        model = register.MODELS[name]()
        assert isinstance(model, Model)
        loss, logs = model.training_loss({"images": images_for(model)})
        assert loss.shape == ()
        assert all(value.shape.rank <= 1 for value in logs.values())
        logs = model.evaluation_logs({"images": images_for(model)})
        assert all(value.shape[0] == 3 for value in logs.values())


@each(register.LAYERS)
def test_layers_build_once_and_keep_float32(name):
    for policy in ("float32", "mixed_float16"):
        layer = register.LAYERS[name](dtype=policy)
        assert not layer.weights
        layer.build()
        assert {v.dtype for v in layer.weights if "float" in v.dtype} == {"float32"}
        paths = [v.path for v in layer.weights]
        assert len(set(paths)) == len(paths)


@each(register.OPTIMIZERS)
class TestOptimizers:
    GRADIENTS = ([1.0, -2.0, 0.5], [0.3, 0.0, -4.0])

    def trajectory(self, name, wrap, dtype="float32"):
        variable = keras.Variable([1.0, 2.0, 3.0], dtype=dtype)
        optimizer = register.OPTIMIZERS[name]()
        optimizer.build([variable])
        step = wrap(lambda g: optimizer.apply([g], [variable]))
        for gradient in self.GRADIENTS:
            step(tf.constant(gradient, dtype))
        return variable

    def test_graph_and_xla_equal_eager(self, name):
        eager = self.trajectory(name, lambda f: f)
        assert np.all(eager.numpy() != [1.0, 2.0, 3.0])
        for jit_compile in (False, True):
            other = self.trajectory(
                name, lambda f, jit=jit_compile: tf.function(f, jit_compile=jit, autograph=False)
            )
            np.testing.assert_allclose(other.numpy(), eager.numpy(), rtol=1e-6)

    def test_state_comes_back(self, name, tmp_path):
        variable = keras.Variable([1.0, 2.0, 3.0])
        first, second = (register.OPTIMIZERS[name]() for _ in range(2))
        for optimizer in (first, second):
            optimizer.build([variable])
        first.apply([tf.constant(self.GRADIENTS[0])], [variable])
        values = [v.numpy() for v in first.variables]
        for target, value in zip(second.variables, values, strict=True):
            target.assign(value)
        start = variable.numpy()
        results = []
        for optimizer in (first, second):
            variable.assign(start)
            optimizer.apply([tf.constant(self.GRADIENTS[1])], [variable])
            results.append(variable.numpy())
        np.testing.assert_array_equal(*results)

    def test_keeps_the_dtype(self, name):
        for dtype in ("float32", "float64", "bfloat16"):
            variable = self.trajectory(name, lambda f: f, dtype)
            assert variable.dtype == dtype
            assert np.all(np.isfinite(np.asarray(variable.numpy(), np.float64)))


@each(register.SCHEDULES)
def test_schedules_take_any_step(name):
    schedule = register.SCHEDULES[name]()
    run = tf.function(schedule)
    for step in (0, 1, 7, 10**6):
        rates = [
            float(rate(tf.constant(step, dtype)))
            for rate in (schedule, run)
            for dtype in (tf.int32, tf.int64, tf.float32)
        ]
        np.testing.assert_allclose(rates, rates[0], rtol=1e-5)
        assert np.isfinite(rates[0])


@each(register.METRICS)
def test_metrics_reset_and_accumulate(name):
    make, values = register.METRICS[name]
    metric = make()
    metric.update_state(values)
    first = {k: float(v) for k, v in metric.result().items()}
    run = tf.function(metric.update_state, autograph=False)
    metric.reset_state()
    run(values)
    for key, value in metric.result().items():
        np.testing.assert_allclose(value, first[key], rtol=1e-5)
    metric.reset_state()
    assert all(np.isnan(float(v)) for v in metric.result().values())


@each(register.DISTRIBUTIONS)
class TestDistributions:
    def test_graph_and_xla_equal_eager(self, name):
        make, values = register.DISTRIBUTIONS[name]
        distribution = make()
        eager = distribution.log_prob(values).numpy()
        assert np.all(np.isfinite(eager))
        for jit_compile in (False, True):
            run = tf.function(distribution.log_prob, jit_compile=jit_compile, autograph=False)
            np.testing.assert_allclose(run(values), eager, rtol=1e-4, atol=1e-4)

    def test_crosses_the_border_of_a_function(self, name):
        make, values = register.DISTRIBUTIONS[name]
        score = tf.function(lambda d, x: d.log_prob(x), autograph=False)
        np.testing.assert_allclose(score(make(), values), make().log_prob(values), rtol=1e-4)

    def test_shapes(self, name):
        make, values = register.DISTRIBUTIONS[name]
        distribution = make()
        shape = tf.concat([distribution.batch_shape, distribution.event_shape], 0)
        assert shape.numpy().tolist() == list(values.shape)
        assert distribution.log_prob(values).shape == distribution.batch_shape
        assert distribution.sample(4, seed=1).shape == (4, *values.shape)
        assert distribution.mean().shape == values.shape

    def test_samples_replay(self, name):
        make, _ = register.DISTRIBUTIONS[name]
        first, again, other = (make().sample(3, seed=(0, s)) for s in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert np.any(first != other)

    def test_copies(self, name):
        make, values = register.DISTRIBUTIONS[name]
        twin = make().copy()
        assert type(twin) is type(make())
        np.testing.assert_array_equal(twin.log_prob(values), make().log_prob(values))


def test_a_saved_model_loads_where_only_its_class_was_imported(tmp_path):
    # Keras refuses to import modules that a file names; the class has to bring its optimizer.
    model = register.MODELS["nvae of one group"]()
    model.build()
    model.compile(register.OPTIMIZERS["adamax on a schedule"]())
    model.build_optimizer()
    path = tmp_path / "model.keras"
    model.save(path)
    code = (
        "import sys, keras\nfrom tfgen import NVAE\n"
        "model = keras.models.load_model(sys.argv[1])\n"
        "assert type(model) is NVAE and type(model.optimizer).__name__ == 'Adamax'\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=300)
