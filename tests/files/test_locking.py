"""Locks: one process at a time, and none that is dead."""

import errno
import fcntl
import subprocess
import sys

import pytest

from tfgen.files.locking import InUseError, locked

HOLD = """
import sys, time
from tfgen.files.locking import locked
sys.argv[0] = "/usr/bin/tfgen-train"
with locked(sys.argv[1], "the run"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run" / ".lock")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_second_is_refused_by_name_until_the_first_is_dead(tmp_path, holder):
    path = tmp_path / "run" / ".lock"
    with pytest.raises(InUseError) as refused, locked(path, "the run"):
        pass
    assert f"the run is in use by tfgen-train, process {holder.pid} on " in str(refused.value)
    holder.kill()
    holder.wait()
    with locked(path, "the run"):
        pass
    with locked(path, "the run"):
        pass


def test_a_folder_is_locked_without_leaving_anything(tmp_path):
    with locked(tmp_path), pytest.raises(InUseError), locked(tmp_path, "the folder"):
        pass
    assert not list(tmp_path.iterdir())


def test_where_there_are_no_locks_that_is_said(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.warns(UserWarning, match="cannot be locked here"), locked(tmp_path / "a", "a"):
        pass
