"""Files that one process at a time holds; one that dies lets go."""

import contextlib
import errno
import fcntl
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from tfgen.errors import UserError

# Network file systems without locks, or without those of folders, answer so.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EBADF)


class InUseError(UserError):
    """Another process holds what this one needs."""


@contextlib.contextmanager
def locked(path: str | os.PathLike, what: str | None = None) -> Iterator[None]:
    """Holds an operating system's lock on a file or folder within the block.

    The lock belongs to what is opened here, so that it ends with the process however that ends.

    Args:
        path: of a folder, or of a file, which is made, with its parents, if need be, and stays
            with a line about who held it last.
        what: string, what is in use, for the message; None waits for the other process to let go.

    Raises:
        InUseError: another process holds it, named with what it runs.
        OSError: the file cannot be made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.is_dir()
    descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _acquire(descriptor, path, what)
        if not folder:
            with contextlib.suppress(OSError):  # on a full disk the lock holds without a name
                os.truncate(descriptor, 0)
                os.write(descriptor, _holder().encode())
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor, path, what):
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if what is None else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in _NO_LOCKS:
            warnings.warn(
                f"{path} cannot be locked here ({error.strerror}): take care that no other "
                "process writes there.",
                stacklevel=4,
            )
            return
        if not isinstance(error, BlockingIOError):
            raise
        said = b"" if path.is_dir() else os.pread(descriptor, 200, 0)
        holder = said.decode(errors="replace").strip()
        raise InUseError(
            f"{what} is in use by {holder or 'another process'}; wait for it to end, or choose "
            "another folder"
        ) from error


def _holder() -> str:
    program = Path(sys.argv[0]).name or "python"
    return f"{program}, process {os.getpid()} on {socket.gethostname()}\n"
