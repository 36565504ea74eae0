"""UNAS on keras-tuner: trials of a learned distribution, interrupted and taken up again."""

import importlib
import sys

import keras
import keras_tuner
import numpy as np
import pytest
from test_unas_phases import PHASES, StopAt, data
from toy_supernet import ToySupernet, toy_data

from tfgen.errors import ConfigError, UserError
from tfgen.files.locking import locked
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


def test_without_measuring_they_are_the_most_probable(tmp_path):
    found = tuner(tmp_path, candidate_batches=0)
    for one, other in zip(found._candidates(4), found.architecture_search.candidates(4)):
        np.testing.assert_array_equal(one.choices["stage"], other.choices["stage"])
    for name in ("num_candidates", "candidate_batches"):
        with pytest.raises(ConfigError, match=f"{name} is -1"):
            tuner(tmp_path, **{name: -1})


class TestWhatDoesNotFit:
    """One sentence at once, not three trials and a traceback."""

    def test_no_validation_data(self, tmp_path):
        given = {key: value for key, value in FIT.items() if key != "validation_data"}
        found = tuner(tmp_path)
        with pytest.raises(ConfigError, match="is 'val_accuracy', and search is given no validat"):
            found.search(**given)
        assert not (tmp_path / "toy" / "search").exists()

    def test_what_no_model_reports(self, tmp_path, capsys):
        """Then the same folder with another objective: the trial that was begun is trained."""
        steps = dict(phases=Phases(1, 0, 1), max_trials=1)
        with pytest.raises(ConfigError, match="is 'val_f1', and fit reported 'accuracy', 'loss',"):
            tuner(tmp_path, **steps, objective=keras_tuner.Objective("val_f1", "max")).search(**FIT)
        found = tuner(tmp_path, **steps)
        found.search(**FIT)
        assert [trial.status for trial in found.oracle.trials.values()] == ["COMPLETED"]
        capsys.readouterr()

    def test_trials_that_fail(self, tmp_path, capsys):
        """Words as labels; the same script again tries them anew, and goes on with others."""
        steps = dict(phases=Phases(1, 0, 1), max_trials=4)
        words = np.array(["a", "b", "c"])[TRAIN["labels"]]
        with pytest.raises(UserError, match=r"^3 trials failed one after the other: ValueError: "):
            tuner(tmp_path, **steps).search(**{**FIT, "y": words})
        with pytest.raises(UserError, match=r"^no trial was completed: ValueError: "):
            tuner(tmp_path / "few", **{**steps, "max_trials": 1}).search(**{**FIT, "y": words})
        found = tuner(tmp_path, **steps)
        columns = TRAIN["labels"][:, None]
        found.search(**{**FIT, "epochs": 1, "validation_freq": 1, "y": columns})
        assert [trial.status for trial in found.oracle.trials.values()] == 4 * ["COMPLETED"]
        assert len(found.oracle.end_order) == 4
        capsys.readouterr()

    def test_two_processes_in_one_folder(self, tmp_path):
        found = tuner(tmp_path)
        folder = tmp_path / "toy"
        with locked(folder / ".lock"), pytest.raises(UserError, match=r"in use by .*, process \d"):
            found.search(**FIT)

    def test_epochs_without_validation(self, tmp_path):
        """What is reported less often than the rest is not taken from another epoch."""
        history = {"loss": [3.0, 2.0, 1.0, 0.5], "val_accuracy": [0.1, 0.2], "val_loss": [5.0, 4.0]}
        found = tuner(tmp_path)
        assert found._best_epoch(history) == {"val_accuracy": 0.2, "val_loss": 4.0}
        history["val_accuracy"] = [0.3, np.nan]
        assert found._best_epoch(history) == {"val_accuracy": 0.3, "val_loss": 5.0}


@pytest.mark.slow
def test_trials_are_the_best_that_meet_the_target_and_are_resumed(tmp_path, capsys):
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
    top = third.architecture_search.best(3, 16, data(0).take(10))
    orders = [
        [tuple(found.choices["stage"]) for found in some]
        for some in (top, third.architecture_search.candidates(3))
    ]
    assert orders[0] != orders[1]  # which is that of probability
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

    def test_more_trials_than_architectures(self, tmp_path):
        oracle, asked = self.oracle(tmp_path, max_trials=20), []
        ranked = oracle._candidates
        oracle._candidates = lambda count: asked.append(count) or ranked(count)
        found = [oracle.populate_space(str(k)) for k in range(10)]
        assert len({tuple(f["values"].values()) for f in found[:9]}) == 9
        assert found[9]["status"] == "STOPPED"
        assert asked == [20]  # and not anew for every trial

    @pytest.mark.parametrize("sampled", [False, True])
    def test_choices_that_are_one_network_are_one_trial(self, tmp_path, sampled):
        oracle = self.oracle(tmp_path, max_trials=20, sampled=sampled)
        oracle.search.normal_form = lambda choices: {"stage": np.sort(choices["stage"])}
        found = [oracle.populate_space(str(k)) for k in range(7)]
        assert len({tuple(sorted(f["values"].values())) for f in found[:6]}) == 6
        assert found[6]["status"] == "STOPPED"

    def test_what_meets_the_target_first(self, tmp_path):
        """Of nine architectures three meet it; the most probable of these are the first trials."""
        criteria = [dict(measure=COST, target=4.0, name="cost", num_fitted=50)]
        search = UNAS(None, criteria, groups={"stage": (2, 3)})
        search.distribution.logits["stage"].assign([[2.0, 1.1, 0.0], [2.0, 1.0, 0.0]])
        oracle = tuning.ArchitectureOracle(search, objective="val_loss", max_trials=4)
        oracle._set_project_dir(tmp_path, "oracle")
        found = [tuple(oracle.populate_space(str(k))["values"].values()) for k in range(4)]
        assert [COST({"stage": np.array(chosen)}) for chosen in found] == [3.5, 4.0, 2.5, 10.0]

    def test_a_process_that_was_killed_between_two_files(self, tmp_path):
        """A trial whose state was not written is none; what was reported of another is not kept."""
        first = self.oracle(tmp_path, max_trials=3)
        begun = first.create_trial("worker")
        first.update_trial(begun.trial_id, {"val_loss": 0.5})
        state = (tmp_path / "oracle" / "oracle.json").read_bytes()
        first.create_trial("another")
        (tmp_path / "oracle" / "oracle.json").write_bytes(state)
        second = self.oracle(tmp_path, max_trials=3)
        second.reload()
        assert list(second.trials) == [begun.trial_id]
        again = second.create_trial("worker")
        assert again.trial_id == begun.trial_id
        assert not again.metrics.exists("val_loss")

    def test_a_disk_that_is_full_leaves_the_state(self, tmp_path, monkeypatch):
        oracle = self.oracle(tmp_path)
        oracle.save()
        before = (tmp_path / "oracle" / "oracle.json").read_bytes()
        monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(OSError, match="full"):
            oracle.save()
        assert (tmp_path / "oracle" / "oracle.json").read_bytes() == before

    def test_a_folder_of_another_search(self, tmp_path):
        self.oracle(tmp_path).save()
        search = UNAS(None, [dict(measure=COST, form="linear")], groups={"stage": (2, 4)})
        other = tuning.ArchitectureOracle(search, objective="val_loss")
        other._set_project_dir(tmp_path, "oracle")
        with pytest.raises(UserError, match=r"holds the trials of another search, .* 'stage/0'"):
            other.reload()

    def test_a_damaged_state(self, tmp_path):
        self.oracle(tmp_path).save()
        path = tmp_path / "oracle" / "oracle.json"
        path.write_text(path.read_text()[:100])
        with pytest.raises(UserError, match=r"cannot be read .*; name another project_name, or gi"):
            self.oracle(tmp_path).reload()

    def test_a_choice_that_does_not_exist(self, tmp_path):
        search = self.oracle(tmp_path).search
        with pytest.raises(ConfigError, match="stage is"):
            tuning.choices_of(search, {"stage/0": 1, "stage/1": 3})


def test_without_keras_tuner_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_tuner", None)
    monkeypatch.delitem(sys.modules, "tfgen.search.unas.tuning")
    monkeypatch.delitem(sys.modules, "tfgen.search.unas.oracle")
    with pytest.raises(UserError, match=r"pip install 'tfgen\[search\]'"):
        importlib.import_module("tfgen.search.unas.tuning")
