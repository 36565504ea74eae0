"""JSON, read with suspicion and written so that every reader takes it."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfgen.errors import UserError
from tfgen.files.regular import regular_file
from tfgen.files.replacing import replace_file

# Far above anything the project writes to be read again; a parsed file takes up to thirty times
# its size in memory.
MOST_BYTES = 1 << 24
DEEPEST = 64
_LEAST, _MOST = -(1 << 63), (1 << 64) - 1


def read_json(
    path: str | os.PathLike, error: type[UserError] = UserError, mend: str = "restore it"
) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        path: of the file, UTF-8.
        error: what to raise. Defaults to `UserError`.
        mend: string, the end of the message: what the user can do.

    Returns:
        The object. Its numbers are finite and of at most 64 bits.

    Raises:
        error: the file is missing or cannot be read, is larger than 16 MiB, is no JSON, holds
            something else than an object, or what `parse_json` refuses.
    """
    try:
        with open(regular_file(path, error), "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as reason:
        raise error(f"{path} cannot be read: {reason.strerror or reason}; {mend}") from reason
    if len(content) > MOST_BYTES:
        raise error(f"{path} has more than {MOST_BYTES >> 20} MiB, too much for its kind; {mend}")
    return parse_json(content, str(path), error, mend)


def parse_json(
    text: str | bytes, what: str, error: type[UserError] = UserError, mend: str = "restore it"
) -> dict[str, Any]:
    """The JSON object in a text.

    Args:
        text: string or bytes to parse, see `parse_any_json`.
        what: the text is, for the message; its file's name, say.
        error: what to raise. Defaults to `UserError`.
        mend: string, the end of the message: what the user can do.

    Raises:
        error: the text is none, or holds something else than an object.
    """
    value = parse_any_json(text, what, error, mend)
    if isinstance(value, dict):
        return value
    reason = f"it holds a {type(value).__name__}, expected an object"
    raise error(f"{what} cannot be read as JSON ({reason}); {mend}")


def parse_any_json(
    text: str | bytes, what: str, error: type[UserError] = UserError, mend: str = "restore it"
) -> Any:
    """The JSON value in a text, of any kind.

    Beyond what is no JSON, objects with the same key twice, NaN and infinities, integers beyond 64
    bits, halves of surrogate pairs and nesting deeper than 64 levels are refused: nobody wrote them
    in earnest, and each would be an exception in some later place.

    Args:
        text: string or bytes to parse; bytes are UTF-8.
        what: the text is, for the message; its file's name, say.
        error: what to raise. Defaults to `UserError`.
        mend: string, the end of the message: what the user can do.

    Raises:
        error: the text is none.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        value = json.loads(text, **_HOOKS)
        _check(value)
    except RecursionError:
        reason = _too_deep()
    except ValueError as found:
        reason = found
    else:
        return value
    raise error(f"{what} cannot be read as JSON ({reason}); {mend}") from None


def write_json(path: str | os.PathLike, value: Mapping[str, Any], indent: int = 2) -> None:
    """Writes `value` as JSON, whole or not at all; see `to_json`.

    Raises:
        OSError: the file cannot be written.
        TypeError: of `to_json`.
    """
    text = to_json(value, indent)
    with replace_file(path) as temporary:
        Path(temporary).write_text(text + "\n", encoding="utf-8")


def to_json(value: Any, indent: int | None = 2) -> str:
    """`value` as JSON text.

    JSON knows neither NaN nor infinities: `null` stands for them. Numbers and arrays of NumPy are
    written as Python's.

    Raises:
        TypeError: something in it has no form in JSON.
    """
    return json.dumps(_plain(value), indent=indent, allow_nan=False)


def _plain(value):
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _object(pairs):
    found = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:40]!r} occurs twice in one object")
        found[key] = value
    return found


def _integer(digits):
    if len(digits) > 20 or not _LEAST <= int(digits) <= _MOST:
        raise ValueError(f"the integer {digits[:20]}... has more than 64 bits")
    return int(digits)


def _number(digits):
    if not math.isfinite(float(digits)):
        raise ValueError(f"the number {digits[:20]} is too large")
    return float(digits)


def _constant(name):
    raise ValueError(f"{name} is no JSON")


_HOOKS = {
    "object_pairs_hook": _object,
    "parse_int": _integer,
    "parse_float": _number,
    "parse_constant": _constant,
}


def _check(value):
    """Level by level, so that no depth can exhaust the stack."""
    level = [value]
    for _ in range(DEEPEST + 1):
        if not level:
            return
        inner = []
        for item in level:
            if isinstance(item, dict):
                inner += [*item, *item.values()]
            elif isinstance(item, list):
                inner += item
            elif isinstance(item, str):
                item.encode()  # half of a surrogate pair is a UnicodeEncodeError, a ValueError
        level = inner
    raise ValueError(_too_deep())


def _too_deep() -> str:
    return f"nested deeper than {DEEPEST} levels"
