"""UNAS on keras-tuner: trials of a learned distribution, interrupted and taken up again."""

import importlib
import sys

import keras
import numpy as np
import pytest
from test_unas_phases import PHASES, StopAt, data
from toy_supernet import ToySupernet, toy_data

from tfgen.errors import ConfigError, UserError
from tfgen.search.unas import UNAS, tuning
from tfgen.search.unas.measures import AdditiveMeasure
from tfgen.search.unas.phases import Phases, saved_steps
from tfgen.training import CheckpointManager

COST = AdditiveMeasure({"stage": [[5.0, 2.0, 1.0], [4.0, 2.0, 0.5]]}, constant=1.0)
TRAIN, HELD_OUT = toy_data(32), toy_data(32, seed=1)
FIT = dict(
    x=TRAIN["images"],
    y=TRAIN["labels"],
    validation_data=(HELD_OUT["images"], HELD_OUT["labels"]),
    epochs=2,
    verbose=0,
)


def width(genotype):
    return sum(block.kernel * block.expansion for block in genotype.blocks)


def build(genotype):
    """A network whose width says which architecture it is."""
    model = keras.Sequential(
        [keras.layers.Flatten(), keras.layers.Dense(width(genotype)), keras.layers.Dense(3)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"], jit_compile=False, run_eagerly=True)
    return model


def tuner(folder, callbacks=(), phases=PHASES, **options):
    criteria = [dict(measure=COST, target=3.0, name="cost", num_fitted=50)]
    return tuning.ArchitectureTuner(
        UNAS(ToySupernet(), criteria),
        build,
        data,
        phases,
        directory=folder,
        project_name="toy",
        search_options={"run_eagerly": True, "callbacks": callbacks},
        **options,
    )


def test_one_step_and_two_trials(tmp_path, capsys):
    found = tuner(tmp_path, phases=Phases(1, 0, 1), max_trials=2)
    found.search(**{**FIT, "epochs": 1})
    scores = [trial.score for trial in found.oracle.get_best_trials(2)]
    assert scores == sorted(scores, reverse=True)
    assert saved_steps(CheckpointManager(tmp_path / "toy" / "search")) == 1
    capsys.readouterr()


@pytest.mark.slow
def test_trials_are_the_most_probable_and_are_resumed(tmp_path, capsys):
    """Dies within the search, then within the trials; the third time it comes to its end."""
    with pytest.raises(RuntimeError):
        tuner(tmp_path, [StopAt(5, RuntimeError("gone"))]).search(**FIT)
    assert saved_steps(CheckpointManager(tmp_path / "toy" / "search")) >= 3

    class Dying(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            raise KeyboardInterrupt

    second = tuner(tmp_path, max_trials=3)
    with pytest.raises(KeyboardInterrupt):
        second.search(**FIT, callbacks=[Dying()])
    third = tuner(tmp_path, max_trials=3)
    third.search(**FIT)
    trials = third.oracle.trials
    assert len(trials) == 3
    top = third.architecture_search.top(3)
    for trial, found in zip((trials[k] for k in sorted(trials)), top, strict=True):
        choices = tuning.choices_of(third.architecture_search, trial.hyperparameters)
        np.testing.assert_array_equal(choices["stage"], found.choices["stage"])
        assert trial.metrics.get_best_value("cost") == COST(choices)
        assert 0.0 <= trial.score <= 1.0
    best = third.get_best_hyperparameters()[0]
    genotype = ToySupernet().genotype(tuning.choices_of(third.architecture_search, best))
    assert third.get_best_models()[0].layers[1].units == width(genotype)
    capsys.readouterr()


class TestOracle:
    """Without a search: logits as they are."""

    def oracle(self, folder, **options):
        search = UNAS(None, [dict(measure=COST, form="linear")], groups={"stage": (2, 3)})
        search.distribution.logits["stage"].assign([[0.0, 1.0, 2.0], [0.0, 5.0, 0.0]])
        oracle = tuning.ArchitectureOracle(search, objective="val_loss", **options)
        oracle._set_project_dir(folder, "oracle")
        return oracle

    def test_draws_by_the_distribution_and_none_twice(self, tmp_path):
        oracle = self.oracle(tmp_path, sampled=True, max_trials=20)
        found = [oracle.populate_space(str(k)) for k in range(10)]
        values = [tuple(f["values"].values()) for f in found[:9]]
        assert len(set(values)) == 9
        assert found[9]["status"] == "STOPPED"  # there are nine
        assert values[0][1] == 1  # with probability 0.987

    def test_state_comes_back(self, tmp_path):
        first = self.oracle(tmp_path, sampled=True)
        first.populate_space("0")
        state = first.get_state()
        second = self.oracle(tmp_path, sampled=True)
        second.search.distribution.logits["stage"].assign(np.zeros((2, 3)))
        second.set_state(state)
        for k in range(3):
            assert first.populate_space(str(k)) == second.populate_space(str(k))

    def test_a_choice_that_does_not_exist(self, tmp_path):
        search = self.oracle(tmp_path).search
        with pytest.raises(ConfigError, match="stage is"):
            tuning.choices_of(search, {"stage/0": 1, "stage/1": 3})


def test_without_keras_tuner_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_tuner", None)
    monkeypatch.delitem(sys.modules, "tfgen.search.unas.tuning")
    with pytest.raises(UserError, match=r"pip install 'tfgen\[search\]'"):
        importlib.import_module("tfgen.search.unas.tuning")
