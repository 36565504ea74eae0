"""Files and folders that appear whole or not at all.

Everything the project leaves on disk is written beside its target under a hidden temporary name,
flushed to the device, and renamed. A crash, a full disk or `kill -9` at any moment leaves what
was there before, plus at worst a hidden temporary, which the next process to write there removes.
"""

import contextlib
import ctypes
import errno
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tfgen.errors import UserError
from tfgen.files.temporaries import remove, set_aside_for, sweep_once, temporary_beside

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


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
    with _temporary(path) as temporary:
        yield temporary
        synchronize(temporary)
        os.replace(temporary, path)
        synchronize(path.parent)


@contextlib.contextmanager
def replace_dir(path: str | os.PathLike) -> Iterator[Path]:
    """Yields an empty folder beside `path`; renames it to `path` if the block succeeds.

    An old `path` is removed last, after the two have exchanged their names in one step. Where the
    system knows no such step the old one is renamed first, and `restored` brings it back should
    the process die before its successor has the name.

    Args:
        path: the folder to create or replace, with all its content.

    Yields:
        The empty folder to fill.

    Raises:
        OSError: the parent cannot be written, or the disk is full. `path` is as it was.
    """
    path = Path(path)
    restored(path)
    with _temporary(path) as temporary:
        temporary.mkdir()
        yield temporary
        _synchronize_tree(temporary)
        _swap_in(temporary, path)
        synchronize(path.parent)


def restored(path: str | os.PathLike) -> Path:
    """`path`, where what stood there stands again if a process died while it replaced it."""
    path = Path(path)
    if not os.path.lexists(path) and (aside := set_aside_for(path)) is not None:
        with contextlib.suppress(OSError):  # somebody else did, or may
            os.rename(aside, path)
    return path


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A name beside `path` of which nothing is left; errors name `path` instead."""
    with _folder(path.parent):
        sweep_once(str(path.parent))
        temporary = temporary_beside(path)
        try:
            yield temporary
        except (OSError, UserError) as error:
            _name(error, str(temporary), str(path))
            raise
        finally:
            remove(temporary)


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[None]:
    """Makes a folder and those above it; if the block fails, what it made and is empty goes."""
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for folder in made:
            with contextlib.suppress(OSError):  # something else is in it now
                folder.rmdir()
        raise


def _name(error: OSError | UserError, temporary: str, path: str) -> None:
    """A full disk names no file, and nobody knows the temporary's."""
    if isinstance(error, UserError):
        error.args = tuple(str(said).replace(temporary, path) for said in error.args)
    elif error.filename is None:
        error.filename = path if error.errno in _DISK_ERRORS else None
    else:
        error.filename = str(error.filename).replace(temporary, path)


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
    if not os.path.lexists(path):
        os.rename(temporary, path)
        return
    if _exchanged(temporary, path):  # what stood there is the temporary now
        return
    aside = temporary_beside(path, "old")
    os.rename(path, aside)
    try:
        os.rename(temporary, path)
    except OSError:
        os.rename(aside, path)
        raise
    remove(aside)


def _exchanged(a: Path, b: Path) -> bool:
    """Whether two names could be exchanged in one step; file systems differ."""
    exchange = _exchange_function()
    return exchange is not None and exchange(os.fsencode(a), os.fsencode(b)) == 0


@functools.cache
def _exchange_function() -> Callable[[bytes, bytes], int] | None:
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # another system, or an old one
        return None
    return lambda a, b: rename(_HERE, a, _HERE, b, _EXCHANGE)
