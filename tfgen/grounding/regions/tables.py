"""Tables that came as JSON or as a pickle: of a pickle, nothing but plain values is made."""

import io
import os
import pickle
from pathlib import Path
from typing import Any, ClassVar

from tfgen.data.arrays import readable
from tfgen.errors import DataError
from tfgen.files.json_file import parse_any_json
from tfgen.files.names import shown
from tfgen.files.regular import regular_file

_JSON_STARTS = (b"{", b"[", b"\xef\xbb\xbf")  # no pickle begins like these


def read_table(path: str | os.PathLike) -> dict[str, Any]:
    """A table whose keys are numbers or strings.

    Args:
        path: of the file, JSON or pickle.

    Returns:
        A dict; its keys are strings, as JSON has them.

    Raises:
        DataError: the file is missing or damaged, holds something else, or is a pickle of more than
            numbers, strings and containers of them.
    """
    path = Path(path).expanduser()
    with readable(path, "a table"):
        data = regular_file(path, DataError).read_bytes()
        if data.lstrip()[:3].startswith(_JSON_STARTS):
            found = parse_any_json(data, shown(path), DataError, "fetch it again")
        else:
            found = _PlainUnpickler(io.BytesIO(data)).load()
        if not isinstance(found, dict):
            raise DataError(f"{shown(path)} holds a {type(found).__name__}; expected a table")
        return {str(key): value for key, value in found.items()}


# The one in C makes room for as many remembered values as a file claims that it has, gigabytes.
class _PlainUnpickler(pickle._Unpickler):
    """Reads numbers, strings, lists, tuples and dicts, and runs nothing.

    Keys are looked at before they are hashed: tuples that hold one another twice, some dozens deep,
    would take for ever.
    """

    def find_class(self, module, name):
        what = shown(f"{module}.{name}"[:80])
        raise DataError(f"the table names {what}; expected plain numbers and strings")

    def _check(self, keys):
        strange = sorted({type(key).__name__ for key in keys} - {"int", "str"})
        if strange:
            raise DataError(f"the table has a {strange[0]} as key; expected numbers and strings")

    def _load_dict(self):
        self._check(self.stack[::2])
        self.load_dict()

    def _load_setitem(self):
        self._check(self.stack[-2:-1])
        self.load_setitem()

    def _load_setitems(self):
        self._check(self.stack[::2])
        self.load_setitems()

    dispatch: ClassVar = {
        code: load
        for code, load in pickle._Unpickler.dispatch.items()
        if code not in {pickle.EMPTY_SET[0], pickle.ADDITEMS[0], pickle.FROZENSET[0]}
    } | {
        pickle.DICT[0]: _load_dict,
        pickle.SETITEM[0]: _load_setitem,
        pickle.SETITEMS[0]: _load_setitems,
    }
