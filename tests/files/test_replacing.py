"""Replaced files and folders: whole or untouched."""

import os

import pytest

from tfgen.files.replacing import replace_dir, replace_file


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


def test_file_that_was_never_written_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), replace_file(tmp_path / "b.txt"):
        pass
    assert names(tmp_path) == []


@pytest.mark.parametrize("exists", [False, True])
def test_dir_replaces_the_whole_content(tmp_path, exists):
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
