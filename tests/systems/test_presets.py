"""Presets: what is saved is what is loaded, and what cannot be is refused in one sentence."""

import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

import tfgen
from tfgen.errors import CheckpointError, ConfigError, UserError
from tfgen.optimizers import Adamax
from tfgen.systems import presets
from tfgen.systems.registry import SYSTEMS
from tfgen.training import CheckpointManager, Model

TINY = {
    "image_shape": (8, 8, 1),
    "padding": 0,
    "num_channels": 4,
    "num_scales": 1,
    "num_groups": 2,
    "latent_channels": 2,
    "encoder_cells": 1,
    "decoder_cells": 1,
    "preprocess_blocks": 1,
    "preprocess_cells": 1,
    "postprocess_blocks": 1,
    "postprocess_cells": 1,
}


@pytest.fixture(scope="module")
def model():
    """A tiny NVAE whose every weight and statistic is away from its initial value."""
    model = tfgen.NVAE(**TINY, seed=3)
    model.build()
    rng = np.random.default_rng(5)
    for variable in model.weights:
        if "float" in str(variable.dtype):
            variable.assign(variable * rng.uniform(0.7, 1.3, variable.shape))
    model.train_steps.assign(7)
    return model


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    return presets.save_preset(model, tmp_path_factory.mktemp("presets") / "tiny")


@pytest.fixture
def copy(saved, tmp_path):
    """A preset that a test may damage."""
    return shutil.copytree(saved, tmp_path / "copy")


@pytest.fixture(autouse=True)
def _presets_of_the_test(saved, monkeypatch):
    monkeypatch.setenv(presets.PRESETS_DIR, str(saved.parent))


def assert_same_variables(a, b):
    assert [v.path for v in a.variables] == [v.path for v in b.variables]
    for first, second in zip(a.variables, b.variables, strict=True):
        np.testing.assert_array_equal(first, second, err_msg=first.path)


@pytest.mark.parametrize("how", ["name", "path", "string"])
def test_round_trip(how, model, saved):
    origin = {"name": "tiny", "path": saved, "string": str(saved)}[how]
    loaded = tfgen.from_preset(origin)
    assert type(loaded) is tfgen.NVAE
    assert loaded.get_config() == model.get_config()
    assert_same_variables(loaded, model)


def test_equal_samples(model):
    loaded = tfgen.from_preset("tiny")
    images = loaded.sample(3, temperature=0.7, seed=5)
    assert images.shape == (3, 8, 8, 1)
    np.testing.assert_array_equal(images, model.sample(3, temperature=0.7, seed=5))


def test_workdir_with_averages(model, tmp_path):
    trained = type(model).from_config(model.get_config())
    trained.compile(Adamax(1e-3, use_ema=True))
    trained.build()
    trained.optimizer.build(trained.trainable_variables)
    for average in trained.optimizer._model_variables_moving_average:
        average.assign(tf.fill(average.shape, 0.25))
    CheckpointManager(tmp_path / "checkpoints").save(trained)
    (tmp_path / "config.json").write_text(json.dumps({"model": presets.model_section(model)}))

    for variable in tfgen.from_preset(tmp_path).trainable_variables:
        np.testing.assert_array_equal(variable, np.full(variable.shape, 0.25, np.float32))
    assert_same_variables(tfgen.from_preset(tmp_path, ema=False), trained)
    with pytest.raises(CheckpointError, match="no moving averages"):
        tfgen.from_preset("tiny", ema=True)


class TestFinding:
    def test_names(self, saved, monkeypatch, tmp_path):
        assert presets.list_presets()["tiny"] == saved
        second = shutil.copytree(saved, tmp_path / "other")
        both = f"{saved.parent}:{tmp_path}"
        monkeypatch.setenv(presets.PRESETS_DIR, both)
        assert presets.list_presets()["other"] == second
        assert list(presets.list_presets()) == sorted(presets.list_presets())

    def test_the_folder_here_goes_first(self, copy, monkeypatch):
        copy.rename(copy.with_name("tiny"))
        monkeypatch.chdir(copy.parent)
        assert presets.find_preset("tiny").resolve() == copy.with_name("tiny")

    def test_unknown_names_list_the_known(self):
        with pytest.raises(UserError, match=r"'tinny'; presets: .*\btiny\b"):
            tfgen.from_preset("tinny")

    def test_folder_without_a_model(self, tmp_path):
        with pytest.raises(ConfigError, match=r"config\.json is missing"):
            tfgen.from_preset(tmp_path)


class TestDamage:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("{", "cannot be read as JSON"),
            ("[]", "holds a list, expected an object"),
            ("[" * 200_000, "nested deeper than 64 levels"),
            ('{"model": {"name": ["nvae"]}}', r"model\.name is \['nvae'\]"),
            ('{"model": {"name": "nvae"}, "model": 1}', "the key 'model' occurs twice"),
            ('{"model": {"name": "nvae", "num_channels": NaN}}', "NaN is no JSON"),
            (
                '{"model": {"name": "gan"}}',
                re.escape(f"model.name is 'gan'; expected one of {sorted(SYSTEMS)}"),
            ),
            ('{"model": {"name": "nvae", "speed": 3}}', "does not describe a model: .*speed"),
            ('{"model": {"name": "nvae", "decoder": "x"}}', "does not describe a model: .*'x'"),
        ],
    )
    def test_configuration(self, copy, text, words):
        (copy / "config.json").write_text(text)
        with pytest.raises(ConfigError, match=words):
            tfgen.from_preset(copy)

    @pytest.mark.parametrize(
        ("section", "words"),
        [
            ("criteria", "holds a search, not a trained model; .*/recipe.py"),
            ("distillation", "holds a transformation, not a trained model; .*/student"),
            (
                "threat_model",
                "holds an audit, not a trained model; give the workdir of tfgen-train",
            ),
        ],
    )
    def test_runs_of_other_programs_say_where_a_model_is(self, copy, section, words):
        config = {section: {}, "model": {"supernet": {"name": "cells"}}}
        (copy / "config.json").write_text(json.dumps(config))
        with pytest.raises(ConfigError, match=words):
            tfgen.from_preset(copy)

    def test_checkpoint_of_another_architecture(self, copy):
        config = json.loads((copy / "config.json").read_text())
        config["model"]["num_groups"] = 1
        (copy / "config.json").write_text(json.dumps(config))
        with pytest.raises(CheckpointError, match="belongs to another model"):
            tfgen.from_preset(copy)

    def test_truncated_checkpoint(self, copy):
        (file,) = (copy / "checkpoints").iterdir()
        file.write_bytes(file.read_bytes()[:-100])
        with pytest.raises(CheckpointError, match="truncated"):
            tfgen.from_preset(copy)

    def test_no_checkpoint(self, copy):
        shutil.rmtree(copy / "checkpoints")
        with pytest.raises(CheckpointError):
            tfgen.from_preset(copy)


class TestSaving:
    def test_what_exists_is_kept_unless_asked(self, model, copy):
        (copy / "mine").write_text("")
        with pytest.raises(CheckpointError, match="exists already"):
            presets.save_preset(model, copy)
        assert (copy / "mine").exists()
        presets.save_preset(model, copy, overwrite=True)
        assert not (copy / "mine").exists()
        assert_same_variables(tfgen.from_preset(copy), model)

    def test_unknown_classes_are_refused(self, tmp_path):
        class Other(Model):
            pass

        with pytest.raises(ConfigError, match="Other is no system of the registry"):
            presets.save_preset(Other(), tmp_path / "other")
        assert not list(tmp_path.iterdir())


def test_what_ships_names_no_folder_of_the_machine_that_trained_it():
    for name, folder in presets.list_presets().items():
        assert "vae" not in presets.read_config(folder), name
