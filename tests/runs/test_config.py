"""Configurations: completed, checked, compared."""

import pytest
from ml_collections import config_dict

from tfgen import recipes
from tfgen.errors import ConfigError
from tfgen.runs.base_model import resolve
from tfgen.runs.config import DEFAULTS, complete, differences, to_plain
from tfgen.runs.experiment import build_optimizer
from tfgen.systems import registry


class Toy:
    """A generator with a few fields."""

    def __init__(self, image_shape=(8, 8, 1), num_channels=4, seed=0, name="toy", **kwargs):
        pass


class Deep:
    """One with a bit depth."""

    def __init__(self, decoder="bernoulli", num_bits=8):
        pass


@pytest.fixture(autouse=True)
def _toys(monkeypatch):
    for name, kind in (("toy", Toy), ("deep", Deep), ("typed", Typed)):
        row = registry.System(f"{__name__}:{kind.__name__}", title=name, paper="none")
        monkeypatch.setitem(registry.SYSTEMS, name, row)


def make(**sections):
    return {"model": {"name": "toy"}, **sections}


def lsgm_recipe(**base):
    config = recipes.binary_lsgm("runlocal", "mnist", 2, (2, 3), 2, (4, 4), 1, 0.0, (1, 1))
    config.optimizer.base.update(base)
    return to_plain(config)


class TestAModelUnderneathThatLearnsAlong:
    def test_has_an_optimizer_of_its_own(self):
        config = complete(resolve(lsgm_recipe(learning_rate=0.5)))
        optimizer = build_optimizer(config, steps_per_epoch=5)
        assert set(optimizer.optimizers) == {"prior", "vae"}
        parts = optimizer.optimizers
        assert parts["prior"].use_ema
        assert not parts["vae"].use_ema
        assert parts["vae"].get_config()["learning_rate"]["config"]["peak"] == 0.5
        config["model"]["train_vae"] = False
        assert build_optimizer(config, steps_per_epoch=5).use_ema

    def test_is_refused_what_it_does_not_have(self):
        with pytest.raises(ConfigError, match=r"optimizer.base has no field 'momentum'"):
            complete(lsgm_recipe(momentum=0.9))
        with pytest.raises(ConfigError, match="no model underneath learns along"):
            complete(make(optimizer={"base": {"learning_rate": 0.1}}))

    def test_may_be_described_in_place(self):
        assert resolve(lsgm_recipe()) == lsgm_recipe()
        del (bare := lsgm_recipe())["model"]["vae"]
        with pytest.raises(ConfigError, match=r"config\.vae is missing"):
            resolve(bare)


def test_completes_with_defaults():
    config = complete(make(data={"batch_size": 3}))
    assert config["data"] == {**DEFAULTS["data"], "batch_size": 3, "num_bits": 8}
    assert set(config) == {"model", *DEFAULTS}


def test_takes_config_dicts_and_makes_them_plain():
    config = config_dict.ConfigDict()
    config.model = dict(name="toy", image_shape=(8, 8, 1))
    config.training = dict(steps_per_epoch=config_dict.placeholder(int))
    completed = complete(config)
    assert completed["model"]["image_shape"] == [8, 8, 1]
    assert completed["training"]["steps_per_epoch"] is None
    assert type(completed["model"]) is dict


def test_one_seed_for_all():
    assert complete(make(training={"seed": 5}))["model"]["seed"] == 5
    given = {"model": {"name": "toy", "seed": 1}, "training": {"seed": 5}}
    assert complete(given)["model"]["seed"] == 1


@pytest.mark.parametrize(
    ("config", "field", "nearest"),
    [
        ({"model": {"name": "toy", "num_chanels": 3}}, "num_chanels", "num_channels"),
        (make(data={"batchsize": 3}), "batchsize", "batch_size"),
        (make(optimizer={"learningrate": 1.0}), "learningrate", "learning_rate"),
        (make(training={"epoch": 1}), "epoch", "epochs"),
        (make(evaluation={"spilt": "test"}), "spilt", "split"),
        (make(evalution={}), "evalution", "evaluation"),
        ({"model": {"name": "toy", "self": 3}}, "self", "seed"),
    ],
)
def test_unknown_field_names_itself_and_the_nearest(config, field, nearest):
    with pytest.raises(ConfigError) as error:
        complete(config)
    assert repr(field) in str(error.value)
    assert repr(nearest) in str(error.value)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model": {"name": "nave"}}, "config.model.name is 'nave'"),
        ({}, "config.model.name is None"),
        ({"model": 3}, "config.model is 3"),
        (make(data={"batch_size": 0}), "config.data.batch_size is 0"),
        (make(data={"batch_size": 2.5}), "config.data.batch_size is 2.5"),
        (make(data={"flip": "maybe"}), "config.data.flip is 'maybe'"),
        (make(data={"name": None}), "config.data.name is None"),
        (make(training={"epochs": -1}), "config.training.epochs is -1"),
        (make(training={"steps_per_epoch": 0}), "config.training.steps_per_epoch is 0"),
        (make(optimizer={"learning_rate": 0.0}), "config.optimizer.learning_rate is 0.0"),
        (make(optimizer={"ema_momentum": 1.5}), "config.optimizer.ema_momentum is 1.5"),
    ],
)
def test_impossible_value_names_its_field(config, words):
    with pytest.raises(ConfigError) as error:
        complete(config)
    assert words in str(error.value)


def test_words_of_the_command_line_are_understood_or_refused():
    assert complete(make(data={"flip": "yes"}))["data"]["flip"] is True
    assert (
        complete(make(training={"steps_per_epoch": "None"}))["training"]["steps_per_epoch"] is None
    )


def test_an_integer_is_a_fine_float():
    config = complete(make(optimizer={"learning_rate": 1}))
    assert config["optimizer"]["learning_rate"] == 1


class Typed:
    """One with fields of every type."""

    def __init__(
        self,
        squeeze=True,
        num_mixtures=10,
        rate=0.1,
        kind: str | None = "square",
        steps: int | None = None,
        counts: int | list[int] = 3,
        options: dict | None = None,
        free=None,
    ):
        pass


@pytest.mark.parametrize(
    ("field", "given", "kept"),
    [
        ("squeeze", "no", False),
        ("squeeze", "On", True),
        ("rate", 1, 1),
        ("kind", None, None),
        ("steps", "None", None),
        ("options", (None,), None),
        ("steps", 4, 4),
        ("counts", (1, 2), [1, 2]),
        ("options", {"a": 1}, {"a": 1}),
        ("free", "anything", "anything"),
    ],
)
def test_model_fields_are_typed(field, given, kept):
    assert complete({"model": {"name": "typed", field: given}})["model"][field] == kept


@pytest.mark.parametrize(
    ("field", "given", "words"),
    [
        ("squeeze", "maybe", "expected True or False, for example True"),
        ("squeeze", 1, "expected True or False"),
        ("num_mixtures", "ten", "'ten'; expected a whole number, for example 10"),
        ("num_mixtures", 2.5, "expected a whole number"),
        ("num_mixtures", True, "expected a whole number"),
        ("num_mixtures", None, "expected a whole number"),
        ("rate", "fast", "expected a number"),
        ("rate", float("inf"), "expected a finite number"),
        ("kind", 3, "expected a name or None"),
        ("steps", "many", "expected a whole number or None"),
        ("counts", "all", "expected a whole number or a list"),
        ("options", [1], "expected named fields or None"),
    ],
)
def test_model_fields_of_another_type_are_refused(field, given, words):
    with pytest.raises(ConfigError) as error:
        complete({"model": {"name": "typed", field: given}})
    assert str(error.value).startswith(f"config.model.{field} is {given!r}; ")
    assert words in str(error.value)


@pytest.mark.parametrize("rate", [float("inf"), float("nan")])
def test_rates_are_finite(rate):
    with pytest.raises(ConfigError, match=r"learning_rate is .*expected a finite number"):
        complete(make(optimizer={"learning_rate": rate}))


def test_bits_follow_the_model():
    def five_bits(**data):
        model = {"name": "deep", "decoder": "logistic_mixture", "num_bits": 5}
        return complete({"model": model, "data": data})

    assert five_bits()["data"]["num_bits"] == 5
    assert five_bits(num_bits=5)["data"]["num_bits"] == 5
    with pytest.raises(ConfigError, match="num_bits is 8, but"):
        five_bits(num_bits=8)


def test_differences_name_field_and_values():
    old = {"model": {"a": 1, "b": (1, 2)}}
    new = {"model": {"a": 2, "b": [1, 2], "c": 3}}
    assert differences(old, new, ["model"]) == ["model.a: 1 -> 2", "model.c: None -> 3"]
    assert differences(old, old, ["model", "data"]) == []


def test_to_plain_is_what_json_holds():
    assert to_plain({"a": (1, (2,)), "b": [config_dict.ConfigDict({"c": None})]}) == {
        "a": [1, [2]],
        "b": [{"c": None}],
    }
