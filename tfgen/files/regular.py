"""Nothing but regular files is read: opening a named pipe waits for ever, a device never ends."""

import os
import stat
from pathlib import Path

from tfgen.errors import UserError
from tfgen.files.names import shown

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def regular_file(path: str | os.PathLike, error: type[UserError] = UserError) -> Path:
    """The path, once it is known to be that of a regular file or a link to one.

    Every reader asks this before it opens what a user named.

    Args:
        path: of the file.
        error: what to raise if it is something else. Defaults to `UserError`.

    Returns:
        The path.

    Raises:
        error: a folder, a named pipe, a socket or a device lies there, or the path cannot be one.
        OSError: nothing lies there, or it cannot be looked at.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except ValueError:
        raise error(f"{str(path)!r} cannot be the path of a file; give another") from None
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise error(f"{shown(path)} is {kind}; expected a regular file")
    return path
