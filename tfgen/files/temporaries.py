"""Hidden names for what is being written, and the removal of those whose writer is dead.

A name says who writes: the machine, the process and when it began, so that a process of the same
number, or one on another machine that shares the folder, is not taken for it.
"""

import contextlib
import functools
import hashlib
import itertools
import os
import re
import shutil
import socket
import time
from pathlib import Path

_NAME = re.compile(
    r"\.(?P<stem>.*)\.(?P<machine>[0-9a-f]{6})-(?P<pid>[0-9a-f]+)-(?P<start>[0-9a-f]+)-[0-9a-f]+"
    r"\.(?P<kind>tmp|old)(?P<suffix>\.[^.]*)?",
    re.DOTALL,
)
# Those of other machines, whose processes cannot be seen from here, and of earlier versions.
_ANY = re.compile(r"\..*\.[0-9a-f-]{12,}\.tmp(\.[^.]*)?", re.DOTALL)
_ABANDONED = 7 * 24 * 3600.0  # seconds without a change
_LONGEST, _LONGEST_SUFFIX = 36, 16  # characters of the target's name that are kept

_counter = itertools.count(int.from_bytes(os.urandom(3), "big"))


def temporary_beside(path: Path, kind: str = "tmp") -> Path:
    """A fresh hidden name in the folder of `path`, with the same suffix: `.grid.….tmp.png`."""
    stem, suffix = _parts(path)
    return path.with_name(f".{stem}.{_owner()}-{next(_counter):x}.{kind}{suffix}")


def sweep(folder: str | os.PathLike) -> None:
    """Removes the temporaries in a folder whose writers are dead; says nothing if it cannot."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and _is_abandoned(entry):
                remove(Path(entry.path))


def sweep_unowned(folder: str | os.PathLike) -> None:
    """Removes what the library that writes tensors left, which names no owner.

    Args:
        folder: to which no other process writes tensors.
    """
    for path in Path(folder).glob(".tmp??????"):
        remove(path)


def sweep_tree(folder: str | os.PathLike) -> None:
    """`sweep` and `sweep_unowned` of a folder and of all below it, links to folders aside."""
    for inner, _, _ in os.walk(folder):
        sweep(inner)
        sweep_unowned(inner)


def sweep_once(folder: str) -> None:
    """`sweep`, the first time that this process asks."""
    _sweep_once(folder, os.getpid())


@functools.lru_cache(maxsize=256)
def _sweep_once(folder, pid):  # a forked process has the memory of its parent
    sweep(folder)


def set_aside_for(path: Path) -> Path | None:
    """What stood at `path` when a process died between taking it away and putting its successor
    there; None if nothing did."""
    with contextlib.suppress(OSError):
        for beside in path.parent.iterdir():
            found = _NAME.fullmatch(beside.name)
            aside = found and found["kind"] == "old" and _parts(path) == _target(found)
            if aside and not _is_alive(found):
                return beside
    return None


def _parts(path: Path) -> tuple[str, str]:
    suffix = path.suffix if len(path.suffix) <= _LONGEST_SUFFIX else ""
    return path.name[: len(path.name) - len(suffix)][:_LONGEST], suffix


def _target(found: re.Match) -> tuple[str, str]:
    return found["stem"], found["suffix"] or ""


def remove(path: Path) -> None:
    """Removes a file, a link or a folder with all it holds, as far as that is possible."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _is_abandoned(entry: os.DirEntry) -> bool:
    found = _NAME.fullmatch(entry.name)
    if found is not None and found["kind"] == "old":
        target = Path(entry.path).with_name("".join(_target(found)))
        return os.path.lexists(target) and not _is_alive(found)  # else the only copy
    if found is not None and found["machine"] == _machine():
        return not _is_alive(found)
    if found is None and _ANY.fullmatch(entry.name) is None:
        return False
    with contextlib.suppress(OSError):
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED
    return False


def _is_alive(found: re.Match) -> bool:
    if found["machine"] != _machine():
        return True
    pid = int(found["pid"], 16)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # another user's
    start = _start_of(pid)
    return start == 0 or start == int(found["start"], 16)


def _owner() -> str:
    pid = os.getpid()
    return f"{_machine()}-{pid:x}-{_start_of(pid):x}"


@functools.cache
def _machine() -> str:
    """What process numbers mean something in: a boot of a machine, or a container of one."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:6]


def _start_of(pid: int) -> int:
    """When a process began, in ticks since the machine did; 0 where the system does not tell."""
    try:
        # The name of the program, in brackets, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return int(fields[19])
    except (OSError, IndexError, ValueError):
        return 0
