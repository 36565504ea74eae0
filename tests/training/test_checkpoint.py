"""Exact resume, and what happens to checkpoints when things go wrong."""

import os
import resource
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from toy_model import ToyModel, assert_same_state, file_names, make_toy, run_steps, state, untrained

from tfgen.errors import CheckpointError
from tfgen.files import temporaries
from tfgen.files.tensor_file import CorruptFileError
from tfgen.training import CheckpointManager, Model, load_weights_only
from tfgen.training.strategy import strategy_from_name
from tfgen.training.variable_names import match_names, unique_names


@pytest.fixture(scope="module")
def trained():
    """A model after two steps. Not to be trained further."""
    model = make_toy()
    run_steps(model, 2)
    return model


class TestResume:
    @pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
    def test_two_and_two_steps_are_four(self, tmp_path, dtype):
        # In the middle of the KL warm-up. The bad step halves the loss scale and moves
        # the data on without an update.
        straight = make_toy(dtype=dtype, bad_steps=(1,))
        run_steps(straight, 2)
        manager = CheckpointManager(tmp_path)
        manager.save(straight, {"epoch": 1})
        logs = run_steps(straight, 2)

        resumed = untrained(dtype=dtype, bad_steps=(1,))
        assert manager.restore(resumed) == {"epoch": 1}
        assert resumed.counters()["skipped_steps"] == 1
        assert run_steps(resumed, 2) == logs
        assert_same_state(straight, resumed)

    def test_weights_rounded_to_half_the_size(self, tmp_path, trained):
        whole = CheckpointManager(tmp_path / "whole").save(trained)
        half = CheckpointManager(tmp_path / "half").save(trained, half=True)
        assert half.stat().st_size < whole.stat().st_size
        model = untrained()
        load_weights_only(model, half, ema=False)
        for rounded, exact in zip(model.trainable_variables, trained.trainable_variables):
            expected = exact.numpy().astype(np.float16).astype(np.float32)
            np.testing.assert_array_equal(rounded.numpy(), expected)
        assert CheckpointManager(tmp_path / "half").restore(untrained()) == {}

    def test_what_float16_cannot_hold_is_not_rounded(self, tmp_path):
        model = untrained()
        model.trainable_variables[0].assign(np.full_like(model.trainable_variables[0].numpy(), 7e4))
        again = untrained()
        load_weights_only(again, CheckpointManager(tmp_path).save(model, half=True), ema=False)
        np.testing.assert_array_equal(again.trainable_variables[0].numpy(), np.float32(7e4))

    def test_into_a_model_that_has_trained_already(self, tmp_path, trained):
        CheckpointManager(tmp_path).save(trained)
        model = make_toy()
        run_steps(model, 1)
        CheckpointManager(tmp_path).restore(model)
        assert_same_state(trained, model)

    def test_under_a_strategy(self, tmp_path, trained):
        CheckpointManager(tmp_path).save(trained)
        with strategy_from_name("mirrored").scope():
            model = untrained()
        CheckpointManager(tmp_path).restore(model)
        assert_same_state(trained, model)
        for variable in model.weights:
            for copy in variable.value.values:
                np.testing.assert_array_equal(copy.numpy(), variable.numpy())
        again = CheckpointManager(tmp_path / "again")
        again.save(model)
        assert again.restore(make_toy()) == {}

    def test_seed_generators_and_bfloat16(self, tmp_path):
        class Other(Model):
            def __init__(self):
                super().__init__()
                self.dropout = keras.layers.Dropout(0.5)
                self.small = self.add_weight(
                    shape=(3,), dtype="bfloat16", initializer="ones", trainable=False
                )
                self.built = True

        model, copy = Other(), Other()
        model.dropout(tf.ones([2, 2]), training=True)
        model.small.assign([1.5, np.inf, -0.0])
        CheckpointManager(tmp_path).save(model)
        CheckpointManager(tmp_path).restore(copy)
        np.testing.assert_array_equal(copy.small.numpy().view("u2"), model.small.numpy().view("u2"))
        seeds = [m.dropout.seed_generator.state.numpy() for m in (model, copy)]
        np.testing.assert_array_equal(*seeds)

    def test_empty_directory(self, tmp_path, trained):
        manager = CheckpointManager(tmp_path / "none")
        assert manager.restore(trained) is None
        assert manager.latest() is None


class TestWeightsOnly:
    @pytest.mark.parametrize("ema", [None, True, False])
    def test_plain_and_averaged_weights(self, tmp_path, trained, ema):
        path = CheckpointManager(tmp_path).save(trained)
        model = ToyModel()
        load_weights_only(model, path if ema else tmp_path, ema=ema)
        averages = trained.optimizer._model_variables_moving_average
        expected = trained.trainable_variables if ema is False else averages
        for variable, value in zip(model.trainable_variables, expected, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value.numpy())
        np.testing.assert_array_equal(model.statistics.numpy(), trained.statistics.numpy())

    def test_no_averages(self, tmp_path):
        model = make_toy(optimizer=keras.optimizers.SGD())
        CheckpointManager(tmp_path).save(model)
        load_weights_only(ToyModel(), tmp_path)
        with pytest.raises(CheckpointError, match="ema=False"):
            load_weights_only(ToyModel(), tmp_path, ema=True)

    def test_nothing_there(self, tmp_path):
        with pytest.raises(CheckpointError, match="no checkpoint"):
            load_weights_only(ToyModel(), tmp_path)
        with pytest.raises(CheckpointError, match=r"Cannot read .*nothing.*No such file"):
            load_weights_only(ToyModel(), tmp_path / "nothing.safetensors")

    def test_optimizer_and_precision_do_not_matter(self, tmp_path):
        half = make_toy(dtype="mixed_float16")
        CheckpointManager(tmp_path).save(half)
        model = ToyModel()
        load_weights_only(model, tmp_path, ema=False)
        np.testing.assert_array_equal(model.hidden.kernel.numpy(), half.hidden.kernel.numpy())


class TestOtherArchitecture:
    def failing(self, tmp_path, model):
        before = state(model)
        with pytest.raises(CheckpointError) as error:
            CheckpointManager(tmp_path).restore(model)
        for a, b in zip(before, state(model), strict=True):
            np.testing.assert_array_equal(a, b)
        assert file_names(tmp_path) == ["checkpoint-00000002.safetensors"]
        return str(error.value)

    def test_another_width(self, tmp_path, trained):
        CheckpointManager(tmp_path).save(trained)
        message = self.failing(tmp_path, make_toy(width=5))
        assert "checkpoint-00000002.safetensors belongs to another model" in message
        assert (
            "hidden/kernel is float32[4, 3] in the file and float32[4, 5] in the model" in message
        )
        assert "more" in message

    def test_another_optimizer(self, tmp_path, trained):
        CheckpointManager(tmp_path).save(trained)
        message = self.failing(tmp_path, make_toy(optimizer=keras.optimizers.SGD(momentum=0.9)))
        assert "only the file has optimizer/hidden_kernel_average" in message
        assert "and 6 more" in message

    def test_another_precision(self, tmp_path, trained):
        CheckpointManager(tmp_path).save(trained)
        message = self.failing(tmp_path, make_toy(dtype="mixed_float16"))
        assert "only the model has" in message
        assert "dynamic_scale" in message


class TestKeeping:
    def test_keeps_the_newest(self, tmp_path):
        manager = CheckpointManager(tmp_path, keep=2)
        model = make_toy()
        for step in (1, 5, 3, 20):
            model.train_steps.assign(step)
            manager.save(model, {"step": step})
        assert [path.name for path in manager.checkpoints()] == [
            "checkpoint-00000005.safetensors",
            "checkpoint-00000020.safetensors",
        ]
        assert manager.latest() == manager.checkpoints()[-1]

    def test_failed_save_loses_nothing(self, tmp_path):
        manager = CheckpointManager(tmp_path, keep=1)
        model = make_toy()
        manager.save(model, {"good": True})
        model.train_steps.assign(9)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            # No file may grow beyond this: what a full disk does, without filling one.
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
            with pytest.raises(CheckpointError) as error:
                manager.save(model)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert "checkpoint-00000009.safetensors: File too large" in str(error.value)
        assert "checkpoint-00000000.safetensors is kept" in str(error.value)
        assert file_names(tmp_path) == ["checkpoint-00000000.safetensors"]
        assert manager.restore(make_toy()) == {"good": True}

    def test_leftovers_of_a_killed_save_are_removed(self, tmp_path):
        mine = tmp_path / ".tmpfile-of-mine"
        dead = f".checkpoint-1.{temporaries._machine()}-fffffff-1-5.tmp.safetensors"
        for path in (mine, tmp_path / dead, tmp_path / ".tmpJrhPqQ"):
            path.write_bytes(b"half")
        CheckpointManager(tmp_path).save(make_toy())
        assert file_names(tmp_path) == [mine.name, "checkpoint-00000000.safetensors"]

    def test_directory_that_was_removed(self, tmp_path, trained):
        manager = CheckpointManager(tmp_path / "run" / "checkpoints")
        manager.save(trained)
        shutil.rmtree(tmp_path / "run")
        with pytest.raises(CheckpointError, match="was removed while training"):
            manager.save(trained)
        assert not (tmp_path / "run").exists()

    def test_directory_that_is_a_file(self, tmp_path):
        path = tmp_path / "file"
        path.write_text("mine")
        with pytest.raises(CheckpointError, match=r"Cannot save .*another directory"):
            CheckpointManager(path).save(make_toy())
        assert path.read_text() == "mine"

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_read_only_directory(self, tmp_path):
        manager = CheckpointManager(tmp_path)
        model = make_toy()
        manager.save(model)
        tmp_path.chmod(0o500)
        model.train_steps.assign(9)
        with pytest.raises(CheckpointError, match="Permission denied"):
            manager.save(model)
        tmp_path.chmod(0o700)
        assert manager.restore(make_toy()) == {}

    def test_misread_write_is_noticed(self, tmp_path, monkeypatch):
        manager = CheckpointManager(tmp_path)
        manager.save(make_toy(), {"good": True})
        model = make_toy()
        model.train_steps.assign(9)
        fromfile = np.fromfile

        def misreading(file, dtype, count):
            data = fromfile(file, dtype, count)
            data[-1] ^= 1
            return data

        with monkeypatch.context() as patch:
            patch.setattr(np, "fromfile", misreading)
            with pytest.raises(CorruptFileError, match="read back"):
                manager.save(model)
        assert file_names(tmp_path) == ["checkpoint-00000000.safetensors"]

    def test_unbuilt_model(self, tmp_path):
        model = Model()
        model.compile("sgd")
        with pytest.raises(CheckpointError, match="call it on a batch"):
            CheckpointManager(tmp_path).save(model)


# Kills a forked child with SIGKILL at the given system call of a save, one after the other.
class TestNames:
    def test_unique(self):
        assert unique_names(["a", "b", "a", "a"]) == ["a", "b", "a#1", "a#2"]

    def test_equal_names_win(self):
        names = ["m/conv_1/kernel", "m/conv_2/kernel"]
        assert match_names(names[::-1], names)[0] == {name: name for name in names}

    def test_numbers_that_keras_added(self):
        saved = ["m/dense/kernel", "m/dense_1/kernel", "o/dense_kernel_m", "o/dense_1_kernel_m"]
        present = [
            "m/dense_7/kernel",
            "m/dense_8/kernel",
            "o/dense_7_kernel_m",
            "o/dense_8_kernel_m",
        ]
        pairs, difference = match_names(saved, present)
        assert [pairs[name] for name in present] == saved
        assert difference == ""

    def test_differences(self):
        pairs, difference = match_names(["a", "b_1", "b_2", "c"], ["a", "b_5", "d"])
        assert pairs == {}
        assert difference == "only the file has b_2, c; only the model has d"
