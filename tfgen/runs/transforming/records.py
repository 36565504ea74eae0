"""What a phase has found, kept beside what it followed from, so that it is found once."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfgen.errors import UserError
from tfgen.files.json_file import read_json, to_json, write_json


class Record:
    """A file of one phase.

    Args:
        path: path of the file.
        about: mapping of what its content follows from, plain values by name.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]):
        self.path = path
        self.about = digest(to_json(dict(about)).encode())

    def read(self) -> dict[str, Any] | None:
        """What was found; None if nothing was, or from something else."""
        try:
            found = read_json(self.path)
        except UserError:  # missing, or damaged: it is found again
            return None
        return found.get("found") if found.get("about") == self.about else None

    def write(self, found: Mapping[str, Any]) -> None:
        """Keeps what was found, or as much of it as there is yet.

        Raises:
            OSError: the file cannot be written.
        """
        write_json(self.path, {"about": self.about, "found": dict(found)})

    def taken(self, find: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """What was found before, or else what `find` finds now."""
        found = self.read()
        if found is None:
            found = dict(find())
            self.write(found)
        return found


def digest(*values) -> str:
    """A short text of bytes or arrays that no others have."""
    found = hashlib.sha256()
    for value in values:
        found.update(value if isinstance(value, bytes) else np.ascontiguousarray(value).tobytes())
    return found.hexdigest()[:16]
