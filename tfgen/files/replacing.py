"""Files and folders that appear whole or not at all.

Everything the project leaves on disk is written beside its target under a hidden temporary name,
flushed to the device, and renamed. A crash, a full disk or `kill -9` at any moment leaves what
was there before, plus at worst a hidden temporary.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replace_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it to `path` if the block succeeds.

    The temporary keeps the suffix of `path`, because image and array writers choose their format
    by it. Missing parent folders are made.

    Args:
        path: the file to create or replace.

    Yields:
        The path to write to, in the same folder.

    Raises:
        OSError: the folder cannot be written, or the disk is full. `path` is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        yield temporary
        synchronize(temporary)
        os.replace(temporary, path)
        synchronize(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def replace_dir(path: str | os.PathLike) -> Iterator[Path]:
    """Yields an empty folder beside `path`; renames it to `path` if the block succeeds.

    A folder cannot be renamed onto one that has content, so an old `path` steps aside first and
    is removed last: it is never deleted before the new one stands in its place. (Killed between
    the two renames, a process leaves the old folder whole under its hidden name.)

    Args:
        path: the folder to create or replace, with all its content.

    Yields:
        The empty folder to fill.

    Raises:
        OSError: the parent cannot be written, or the disk is full. `path` is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    temporary.mkdir()
    try:
        yield temporary
        _synchronize_tree(temporary)
        _swap_in(temporary, path)
        synchronize(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def temporary_beside(path: Path) -> Path:
    """A fresh hidden name in the folder of `path`, with the same suffix: `.grid.1f0a….tmp.png`."""
    suffix = path.suffix
    stem = path.name[: len(path.name) - len(suffix)]
    return path.with_name(f".{stem}.{uuid.uuid4().hex[:12]}.tmp{suffix}")


def synchronize(path: Path) -> None:
    """Flushes a file, or a folder's list of names, to the device."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        # Some network file systems cannot flush a folder; a file must be flushable.
        if not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def _synchronize_tree(root: Path) -> None:
    for folder, _, names in os.walk(root):
        for name in names:
            synchronize(Path(folder, name))
        synchronize(Path(folder))


def _swap_in(temporary: Path, path: Path) -> None:
    if not path.exists():
        os.rename(temporary, path)
        return
    aside = temporary_beside(path)
    os.rename(path, aside)
    try:
        os.rename(temporary, path)
    except OSError:
        os.rename(aside, path)
        raise
    shutil.rmtree(aside, ignore_errors=True)
