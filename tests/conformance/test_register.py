"""Nothing public is missing from the register, and every configuration survives."""

import copy
import importlib
import inspect
import json
import pkgutil

import exempt
import keras
import register
import tensorflow as tf
import tensorflow_probability as tfp
from questions import each

import tfgen

HELD = (
    keras.Layer,
    keras.optimizers.Optimizer,
    keras.optimizers.schedules.LearningRateSchedule,
    keras.metrics.Metric,
    keras.callbacks.Callback,
    tfp.distributions.Distribution,
    tf.Module,
)


def test_nothing_public_is_missing():
    found = set()
    for info in pkgutil.walk_packages(tfgen.__path__, "tfgen."):
        if info.name.startswith("tfgen.bin"):
            continue
        module = importlib.import_module(info.name)
        for name, member in inspect.getmembers(module, inspect.isclass):
            if member.__module__ == info.name and not name.startswith("_"):
                found |= {member} if issubclass(member, HELD) else set()
    missing = {t for t in found - register.registered_types() if not exempt.is_exempt(t)}
    assert not missing, "add to tests/conformance: register.py, parts.py or exempt.py"
    assert register.registered_types() <= found
    assert exempt.EXEMPT.keys() <= found


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
