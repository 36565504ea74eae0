"""Searches from beginning to end: phases, resumption, whatever ends them."""

import dataclasses
import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
from toy_supernet import ToySupernet, toy_data

from tfgen import stopping
from tfgen.errors import ConfigError, DataError, UserError
from tfgen.search.unas import UNAS
from tfgen.search.unas.measures import AdditiveMeasure
from tfgen.search.unas.phases import Phases, SavingSteps, run_search, saved_steps
from tfgen.training import CheckpointManager, JointOptimizer
from tfgen.training.averages import moving_averages

COST = AdditiveMeasure({"stage": [[5.0, 2.0, 1.0], [4.0, 2.0, 0.5]]}, constant=1.0)
PHASES = Phases(3, 1, 2, (3e-2, 1e-2), (5e-2, 1e-2))  # 3 steps of warm-up, 6 of search


def new(**options):
    criteria = [dict(measure=COST, target=3.0, name="cost", num_fitted=50)]
    return UNAS(ToySupernet(), **{"criteria": criteria, **options})


def data(start):
    batches = tf.data.Dataset.counter(start).map(
        lambda k: {
            name: tf.gather(value, (tf.range(8, dtype=tf.int64) + 8 * k) % 64)
            for name, value in toy_data(64).items()
        }
    )
    return batches


class StopAt(keras.callbacks.Callback):
    """Ends with a signal, or dies, after a step."""

    def __init__(self, step, error=None):
        super().__init__()
        self.step, self.error = step, error

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.train_steps.numpy()) == self.step:
            if self.error:
                raise self.error
            os.kill(os.getpid(), signal.SIGTERM)


def state(model):
    return [np.array(v) for v in [*model.variables, *model.optimizer.variables]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    model = new()
    said = []
    run_search(
        model,
        data,
        PHASES,
        CheckpointManager(tmp_path_factory.mktemp("whole")),
        report=said.append,
        run_eagerly=True,
    )
    return model, said


def test_both_phases(whole):
    model, said = whole
    assert model.counters()["train_steps"] == 9
    assert int(model.architecture_steps.numpy()) == 6
    assert isinstance(model.optimizer, JointOptimizer)
    assert int(model.optimizer.optimizers["weights"].iterations.numpy()) == 6
    assert said[0].startswith("cost of architectures drawn at random: mean ")
    assert np.any(model.distribution.logits["stage"].numpy())


@pytest.mark.parametrize("step", [pytest.param(3, marks=pytest.mark.slow), 7])
def test_a_signal_anywhere_leaves_what_an_undisturbed_search_does(whole, step, tmp_path):
    manager = CheckpointManager(tmp_path)
    with stopping.watching("test"), pytest.raises(stopping.Stopped):
        run_search(new(), data, PHASES, manager, [StopAt(step)], run_eagerly=True)
    assert saved_steps(manager) in (step, step + 1)  # it is looked for before the next one ends
    model = new()
    run_search(model, data, PHASES, manager, run_eagerly=True)
    for a, b in zip(state(whole[0]), state(model), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_crash_costs_the_step_that_it_was_in(whole, tmp_path):
    manager = CheckpointManager(tmp_path)
    with pytest.raises(RuntimeError):
        run_search(
            new(), data, PHASES, manager, [StopAt(5, RuntimeError("gone"))], run_eagerly=True
        )
    assert saved_steps(manager) >= 3  # the first steps of a phase are all that take long
    model = new()
    run_search(model, data, PHASES, manager, run_eagerly=True)
    for a, b in zip(state(whole[0]), state(model), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_finished_search_is_read_again(tmp_path):
    manager = CheckpointManager(tmp_path)
    first, second = new(), new()
    run_search(first, data, Phases(2, 0, 1), manager, run_eagerly=True)
    run_search(second, data, Phases(2, 0, 1), manager, run_eagerly=True)
    assert second.top()[0].log_prob == first.top()[0].log_prob
    assert second.counters()["train_steps"] == 2


def test_averages_order_what_was_found(tmp_path):
    """Candidates are measured with the averages of the weights, a search that was stopped as one
    that was not; a save from before they were kept is refused."""
    averaged = dataclasses.replace(PHASES, ema_momentum=0.9)
    whole, stopped, after = new(), new(), new()
    run_search(whole, data, averaged, CheckpointManager(tmp_path / "whole"), run_eagerly=True)
    manager = CheckpointManager(tmp_path / "stopped")
    with stopping.watching("test"), pytest.raises(stopping.Stopped):
        run_search(stopped, data, averaged, manager, [StopAt(7)], run_eagerly=True)
    run_search(after, data, averaged, manager, run_eagerly=True)
    for a, b in zip(state(whole), state(after), strict=True):
        np.testing.assert_array_equal(a, b)

    pairs, before = list(data(0).take(2)), state(whole)
    found = whole.best(9, 9, pairs)
    for a, b in zip(before, state(whole), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [f.objective for f in after.best(9, 9, pairs)] == [f.objective for f in found]
    plain = {str(f.choices): f.objective for f in (_ranked(whole, pairs))}
    assert all(f.objective != plain[str(f.choices)] for f in found)
    for weight, average in moving_averages(whole):
        weight.assign(average)
    by_hand = {str(f.choices): f.objective for f in (_ranked(whole, pairs))}
    assert all(f.objective == by_hand[str(f.choices)] for f in found)
    with pytest.raises(UserError, match="checkpoint"):
        run_search(new(), data, PHASES, manager, run_eagerly=True)


def _ranked(model, pairs):
    """As `best`, with the weights as they are."""
    twin = new()
    for variable, value in zip(twin.variables, model.variables, strict=True):
        variable.assign(value)
    return twin.best(9, 9, pairs)


def test_saves_as_often_as_it_is_cheap(monkeypatch):
    clock, saves = [0.0], []

    class Manager:
        def save(self, model):
            saves.append(int(model.train_steps.numpy()))
            clock[0] += 1.0

    monkeypatch.setattr("tfgen.search.unas.phases.time.monotonic", lambda: clock[0])
    model = new()
    for seconds, expected in ((20.0, [1, 2, 3, 4]), (4.0, [1, 4])):
        saves.clear()
        callback = SavingSteps(Manager())
        callback.set_model(model)
        for step in range(1, 5):
            clock[0] += seconds
            model.train_steps.assign(step)
            callback.on_train_batch_end(0)
        assert saves == expected


def test_what_cannot_be_is_said(tmp_path):
    manager = CheckpointManager(tmp_path)
    model = new(criteria=[dict(measure=COST, target=1.0, name="cost")])
    with pytest.raises(UserError, match=r"no architecture has a cost of 1: the smallest is 2\.5"):
        run_search(model, data, Phases(2, 0, 1), manager, run_eagerly=True)
    model = UNAS(None, [dict(measure=COST, form="linear")], groups={"stage": (2, 3)})
    with pytest.raises(ConfigError, match="no weights to warm up"):
        run_search(model, data, PHASES, manager, run_eagerly=True)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_data_that_ends(tmp_path):
    """Phases would end early otherwise."""
    model = new()
    with pytest.raises(DataError, match="ended after step 2, within an epoch of 3 steps; expected"):
        run_search(
            model,
            lambda start: data(start).take(2),
            PHASES,
            CheckpointManager(tmp_path),
            run_eagerly=True,
        )
