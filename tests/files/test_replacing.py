"""Replaced files and folders: whole or untouched."""

import errno
import os
import subprocess
import sys
import time

import pytest

from tfgen.errors import ExportError
from tfgen.files import replacing, temporaries
from tfgen.files.replacing import replace_dir, replace_file
from tfgen.files.temporaries import sweep, temporary_beside


def names(folder):
    return sorted(os.listdir(folder))


def test_file_is_created_with_its_parents(tmp_path):
    path = tmp_path / "a" / "b.txt"
    with replace_file(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".txt"
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(path.parent) == ["b.txt"]


def test_file_survives_a_failure(tmp_path):
    path = tmp_path / "b.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replace_file(path) as temporary:
        temporary.write_text("half" * (1 // 0))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["b.txt"]


@pytest.mark.parametrize("replace", [replace_file, replace_dir])
def test_folders_made_for_a_failure_go_with_it(tmp_path, replace):
    (tmp_path / "old").mkdir()

    def fail():
        (tmp_path / "old" / "a" / "mine").mkdir()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), replace(tmp_path / "old" / "a" / "b" / "c.txt"):
        fail()
    assert names(tmp_path / "old") == ["a"]
    assert names(tmp_path / "old" / "a") == ["mine"]


def test_file_that_was_never_written_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), replace_file(tmp_path / "b.txt"):
        pass
    assert names(tmp_path) == []


@pytest.fixture(params=["exchanged", "renamed twice"])
def renaming(request, monkeypatch):
    """Both ways to replace a folder, whatever this system knows."""
    if request.param == "renamed twice":
        monkeypatch.setattr(replacing, "_exchange_function", lambda: None)
    return request.param


@pytest.mark.parametrize("exists", [False, True])
def test_dir_replaces_the_whole_content(tmp_path, exists, renaming):
    path = tmp_path / "model"
    if exists:
        (path / "old").mkdir(parents=True)
    with replace_dir(path) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "weights").write_text("new")
        assert (path / "old").exists() == exists
    assert names(path) == ["sub"]
    assert (path / "sub" / "weights").read_text() == "new"
    assert names(tmp_path) == ["model"]


def test_dir_survives_a_failure(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "weights").write_text("old")
    with pytest.raises(ZeroDivisionError), replace_dir(path) as temporary:
        (temporary / "weights").write_text("half" * (1 // 0))
    assert (path / "weights").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_dir_survives_a_failing_rename(tmp_path, monkeypatch):
    monkeypatch.setattr(replacing, "_exchange_function", lambda: None)
    path = tmp_path / "model"
    path.mkdir()
    (path / "weights").write_text("old")
    rename = os.rename

    def failing(source, target):
        if str(target) == str(path) and str(source).endswith(".tmp") and not moved:
            moved.append(source)
            raise OSError("no")
        rename(source, target)

    moved = []
    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="no"), replace_dir(path) as temporary:
        (temporary / "weights").write_text("new")
    assert (path / "weights").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_a_link_to_a_folder_is_replaced_and_the_folder_stays(tmp_path, renaming):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "weights").write_text("old")
    (tmp_path / "model").symlink_to("elsewhere")
    with replace_dir(tmp_path / "model") as temporary:
        (temporary / "weights").write_text("new")
    assert names(tmp_path) == ["elsewhere", "model"]
    assert (tmp_path / "model" / "weights").read_text() == "new"
    assert (tmp_path / "elsewhere" / "weights").read_text() == "old"


@pytest.mark.parametrize("replace", [replace_file, replace_dir])
@pytest.mark.parametrize("named", [False, True])
def test_a_full_disk_names_the_file(tmp_path, replace, named):
    path = tmp_path / "model.bin"
    with pytest.raises(OSError, match="No space left") as full, replace(path) as temporary:
        raise OSError(errno.ENOSPC, "No space left on device", *[str(temporary)] * named)
    assert full.value.filename == str(path)


@pytest.mark.parametrize("replace", [replace_file, replace_dir])
def test_errors_of_ours_name_the_target(tmp_path, replace):
    path = tmp_path / "model.bin"
    with pytest.raises(ExportError) as full, replace(path) as temporary:
        raise ExportError(f"{temporary}/1 cannot be written (No space left on device)")
    assert str(full.value) == f"{path}/1 cannot be written (No space left on device)"


def test_names_of_any_length_can_be_replaced(tmp_path):
    path = tmp_path / ("\N{SMILING FACE WITH SUNGLASSES}" * 63)
    with replace_file(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


# Publishes versions 1, 2, 3, ... of a folder and of a file for ever.
PUBLISH = """
import itertools, pathlib, sys
from tfgen.files import replacing
if sys.argv[2] == "renamed twice":
    replacing._exchange_function = lambda: None
for version in itertools.count(1):
    with replacing.replace_dir(sys.argv[1] + "/model.v1") as temporary:
        for name in "abc":
            (temporary / name).write_text(str(version))
    with replacing.replace_file(sys.argv[1] + "/table.csv") as temporary:
        temporary.write_text("x" * 1000 + str(version))
    print(version, flush=True)
"""


def test_killed_at_any_moment_the_published_version_is_there(tmp_path, renaming):
    path, before = tmp_path / "model.v1", 0
    for moment in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", PUBLISH, str(tmp_path), renaming],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "1\n"
        time.sleep(0.0007 * moment)
        process.kill()
        process.communicate()
        if renaming == "exchanged":
            assert path.is_dir()
        replacing.restored(path)
        versions = {(path / name).read_text() for name in "abc"}
        assert len(versions) == 1, before
        before = versions.pop()
        assert (tmp_path / "table.csv").stat().st_size > 1000
    sweep(tmp_path)
    assert names(tmp_path) == ["model.v1", "table.csv"]


def test_what_a_process_died_replacing_is_restored(tmp_path):
    aside = tmp_path / ".model.000000-1-2-3.old.v1"
    foreign = tmp_path / ".model.ffffff-1-2-3.old.v1"
    for name in (aside, foreign):
        name.mkdir()
    (aside / "weights").write_text("old")
    assert not replacing.restored(tmp_path / "model.v1").exists()  # of machines unknown here
    dead = tmp_path / aside.name.replace("000000-1", f"{temporaries._machine()}-fffffff")
    aside.rename(dead)
    sweep(tmp_path)
    assert dead.exists()  # it is the only copy
    assert not replacing.restored(tmp_path / "model").exists()
    assert (replacing.restored(tmp_path / "model.v1") / "weights").read_text() == "old"
    dead.mkdir()
    sweep(tmp_path)
    assert names(tmp_path) == [foreign.name, "model.v1"]


def test_only_what_dead_writers_left_is_swept(tmp_path):
    machine = temporaries._machine()
    ours = temporary_beside(tmp_path / "grid.png")
    recycled = tmp_path / f".grid.{machine}-{os.getpid():x}-1-5.tmp.png"
    dead = tmp_path / f".grid.{machine}-fffffff-1-5.tmp.png"
    elsewhere, old = tmp_path / ".grid.ffffff-1-1-5.tmp.png", tmp_path / ".a.0123456789ab.tmp"
    others = [tmp_path / ".gitignore", tmp_path / "grid.tmp.png", tmp_path / ".lock"]
    for path in (ours, recycled, dead, elsewhere, old, *others):
        path.write_text("x")
    (tmp_path / f".model.{machine}-fffffff-1-6.tmp").mkdir()
    os.utime(old, (1, 1))
    sweep(tmp_path)
    assert names(tmp_path) == sorted(p.name for p in (ours, elsewhere, *others))


def test_the_first_write_in_a_folder_sweeps_it(tmp_path):
    (tmp_path / f".grid.{temporaries._machine()}-fffffff-1-5.tmp.png").write_text("x")
    with replace_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == ["a.txt"]
