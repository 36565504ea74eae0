"""Checkpoints that are damaged, hold what is not finite, or were being written at a kill."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest
from toy_model import assert_same_state, file_names, make_toy, run_steps, untrained

from tfgen.errors import CheckpointError
from tfgen.files.tensor_file import CorruptFileError, read_tensors, write_tensors
from tfgen.training import CheckpointManager, checkpoint, load_weights_only


@pytest.fixture(scope="module")
def trained():
    """A model after two steps. Not to be trained further."""
    model = make_toy()
    run_steps(model, 2)
    return model


def _flip(position):
    def damage(content):
        content[position] ^= 4

    return damage


def _cut(length):
    def damage(content):
        del content[length:]

    return damage


DAMAGE = {
    "first byte": _flip(0),
    "length": _flip(6),
    "digest": _flip(70),
    "header": _flip(400),
    "weights": _flip(-1000),
    "last byte": _flip(-1),
    "empty": _cut(0),
    "three bytes": _cut(3),
    "half the header": _cut(500),
    "half the data": _cut(-700),
    "one byte": _cut(-1),
}


class TestDamage:
    def damaged(self, tmp_path, damage):
        """Two checkpoints, the newer one damaged; returns its path."""
        manager = CheckpointManager(tmp_path)
        model = make_toy()
        manager.save(model, {"number": 1})
        model.train_steps.assign(7)
        path = manager.save(model, {"number": 2})
        content = bytearray(path.read_bytes())
        damage(content)
        path.write_bytes(content)
        return path

    @pytest.mark.parametrize("kind", DAMAGE)
    def test_falls_back_to_the_one_before(self, tmp_path, kind):
        path = self.damaged(tmp_path, DAMAGE[kind])
        model = untrained()
        with pytest.warns(UserWarning, match=rf"{path.name} is (corrupt|truncated).*before it"):
            assert CheckpointManager(tmp_path).restore(model) == {"number": 1}
        assert_same_state(model, make_toy())
        # It is neither lost nor in the way.
        assert file_names(tmp_path) == ["checkpoint-00000000.safetensors", path.name + ".corrupt"]

    @pytest.mark.parametrize(
        "note",
        [{}, {"extra": {}}, {"extra": {}, "averages": {"model/w": "model/no"}}]
        + [{"extra": {}, "averages": averages} for averages in ([], {"a": ["b"]}, {"a": 1})],
    )
    def test_a_tensor_file_of_something_else(self, tmp_path, note):
        manager = CheckpointManager(tmp_path)
        manager.save(make_toy(), {"number": 1})
        newer = tmp_path / "checkpoint-00000007.safetensors"
        write_tensors(newer, {"model/w": np.zeros(3, np.float32)}, note)
        with pytest.raises(CorruptFileError, match=f"{newer.name} is corrupt or no checkpoint"):
            load_weights_only(make_toy(), newer)
        with pytest.warns(UserWarning, match="before it"):
            assert manager.restore(make_toy()) == {"number": 1}

    def test_nothing_whole_is_left(self, tmp_path):
        path = self.damaged(tmp_path, DAMAGE["weights"])
        older = tmp_path / "checkpoint-00000000.safetensors"
        older.write_bytes(b"nonsense")
        with (
            pytest.warns(UserWarning, match="before it"),
            pytest.raises(CheckpointError, match=f"{path.name} .* no older checkpoint is whole"),
        ):
            CheckpointManager(tmp_path).restore(make_toy())
        assert file_names(tmp_path) == [older.name, path.name]

    @pytest.mark.parametrize("kind", ["weights", "empty"])
    def test_weights_only_falls_back_as_well_and_changes_nothing(self, tmp_path, kind):
        path = self.damaged(tmp_path, DAMAGE[kind])
        names, model = file_names(tmp_path), untrained()
        with pytest.warns(UserWarning, match=rf"{path.name} is .*before it"):
            load_weights_only(model, tmp_path, ema=False)
        expected = make_toy().trainable_variables
        for variable, value in zip(model.trainable_variables, expected, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value.numpy())
        assert file_names(tmp_path) == names

    @pytest.mark.parametrize("kind", ["directory", "loop", "unreadable"])
    def test_what_cannot_be_read_is_passed_over_too(self, tmp_path, kind, monkeypatch):
        path = self.damaged(tmp_path, _cut(0))
        if kind == "unreadable":

            def read(path, original=checkpoint.read_tensors):
                if path.name.endswith("7.safetensors"):
                    raise OSError(errno.EIO, "Input/output error")
                return original(path)

            monkeypatch.setattr(checkpoint, "read_tensors", read)
        else:
            path.unlink()
            path.mkdir() if kind == "directory" else path.symlink_to(path)
        with pytest.warns(UserWarning, match=rf"{path.name}.*before it"):
            load_weights_only(untrained(), tmp_path)
        model = untrained()
        with pytest.warns(UserWarning, match=rf"{path.name}.*before it"):
            assert CheckpointManager(tmp_path).restore(model) == {"number": 1}
        assert_same_state(model, make_toy())
        monkeypatch.undo()
        model.train_steps.assign(7)
        assert CheckpointManager(tmp_path).save(model) == path  # it is not in the way
        assert CheckpointManager(tmp_path).read().path == path


class TestNonFinite:
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_is_not_saved(self, tmp_path, value):
        model = make_toy()
        manager = CheckpointManager(tmp_path)
        manager.save(model)
        model.hidden.kernel.assign(model.hidden.kernel * value)
        model.train_steps.assign(7)
        with pytest.raises(CheckpointError, match="hidden/kernel is not finite, so nothing was"):
            manager.save(model)
        assert file_names(tmp_path) == ["checkpoint-00000000.safetensors"]

    @pytest.mark.parametrize("name", ["model/hidden/kernel", "average"])
    def test_is_not_loaded(self, tmp_path, trained, name):
        path = CheckpointManager(tmp_path).save(trained)
        tensors, note = read_tensors(path)
        if name == "average":
            name = next(iter(note["averages"].values()))
        tensors[name][0] = np.nan
        write_tensors(path, tensors, note)
        averaged = not name.startswith("model/")
        for load in (
            CheckpointManager(tmp_path).restore,
            lambda model: load_weights_only(model, tmp_path, ema=averaged),
        ):
            model = make_toy()
            with pytest.raises(CheckpointError, match="is not finite, so it cannot be used"):
                load(model)
            assert_same_state(model, make_toy())


KILLED_SAVES = """
import os, signal, sys
from toy_model import ToyModel, assert_same_state, file_names, make_toy, run_steps, state, untrained
from tfgen.training import CheckpointManager

manager = CheckpointManager(sys.argv[1], keep=1)
model = make_toy()
manager.save(model, {"number": 1})
model.train_steps.assign(5)
collected = []
manager._write = lambda *arguments: collected.extend(arguments)
manager.save(model, {"number": 2})
del manager._write
for name, calls in (("fsync", 1), ("fsync", 2), ("replace", 1), ("fsync", 4), ("unlink", 1)):
    if (child := os.fork()) == 0:
        original, left = getattr(os, name), [calls]
        def deadly(*arguments):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments)
        setattr(os, name, deadly)
        manager._write(*collected)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    files = sorted(os.listdir(sys.argv[1]))
    restored = manager.restore(make_toy())
    print(name, calls, os.WIFSIGNALED(status), len(files), restored["number"], flush=True)
"""


def test_killed_during_a_save(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", KILLED_SAVES, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    lines = [line.split() for line in result.stdout.splitlines()]
    # Whole old checkpoint and a leftover; from the rename on, both checkpoints.
    assert lines == [
        ["fsync", "1", "True", "2", "1"],
        ["fsync", "2", "True", "2", "1"],
        ["replace", "1", "True", "2", "1"],
        ["fsync", "4", "True", "2", "2"],
        ["unlink", "1", "True", "2", "2"],
    ]
    assert not [name for name in file_names(tmp_path) if name.startswith(".")]
