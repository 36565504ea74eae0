"""Named arrays and a note in one checksummed file.

The format is `safetensors`, which many tools read, and its library reads and writes it. The
metadata of the header holds the note, and a SHA-256 over everything else in the file, so that a
flipped bit anywhere is found.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
from safetensors.numpy import save_file

from tfgen.errors import CheckpointError
from tfgen.files.json_file import MOST_BYTES, parse_json, to_json
from tfgen.files.regular import regular_file

FORMAT = "tfgen-checkpoint/2"
# Each key of the first format was one of the metadata's, and arrays lay in the order of the header.
FIRST_FORMAT = "tfgen-checkpoint/1"
# The library writes the metadata's keys in random order; one key makes equal content equal files.
_KEY = "tfgen"
_DTYPES = {
    "BOOL": np.dtype(bool),
    "U8": np.dtype("<u1"),
    "I8": np.dtype("<i1"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}
_NO_DIGEST = "0" * 64
_BLOCK = 1 << 23


class CorruptFileError(CheckpointError):
    """The file is truncated, or its content does not match its checksum."""


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], note: Mapping) -> None:
    """Writes the arrays, flushes them to the device, and verifies them by reading back.

    Args:
        path: file to write; see `replace_file` for doing so atomically. (The library too writes
            beside it first, to a file `.tmp` and six characters.)
        tensors: arrays by name; at most 64-bit numbers, bfloat16 included.
        note: dict of anything JSON can hold; of numbers that are not finite, None is kept.

    Raises:
        OSError: the file cannot be written.
        CorruptFileError: what can be read back is not what was written.
    """
    tensors = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    metadata = {"format": FORMAT, "sha256": _NO_DIGEST, "note": dict(note), "names": list(tensors)}
    _save(Path(path), tensors, {_KEY: to_json(metadata, None)})
    with open(path, "r+b", buffering=0) as file, ThreadPoolExecutor(1) as pool:
        header = file.read(8)
        header += file.read(int.from_bytes(header, "little"))
        arrays = [_bytes(tensors[name]) for name in _by_place(header)]
        # The device is slow enough that hashing beside it costs nothing.
        digest = pool.submit(_digest, header, arrays)
        os.fsync(file.fileno())
        # The digest replaces its own zeros, once everything else is known.
        header = header.replace(_NO_DIGEST.encode(), digest.result().encode(), 1)
        file.seek(0)
        file.write(header)
        os.fsync(file.fileno())
        file.seek(0)
        if not all(_is_next(file, data) for data in (header, *arrays)):
            raise CorruptFileError(f"{path} cannot be read back as it was written.")


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """The arrays and the note of a file written by `write_tensors`.

    Nothing is allocated that the file does not hold: what claims the same bytes twice is refused.

    Args:
        path: the file.

    Returns:
        Arrays by name, in the order they were written, and the note.

    Raises:
        CorruptFileError: the file is truncated, is something else, or has a flipped bit.
        OSError: the file cannot be read.
    """
    content = regular_file(path, CorruptFileError).read_bytes()
    header, metadata = _parse_header(path, content)
    stored = metadata["sha256"]
    blank = content[: len(header)].replace(stored.encode(), _NO_DIGEST.encode(), 1)
    if _digest(blank, [memoryview(content)[len(header) :]]) != stored:
        raise CorruptFileError(
            f"{path} is truncated or corrupt: its content does not match its checksum."
        )
    arrays = _arrays(path, content)
    if sorted(metadata["names"]) != sorted(arrays):
        raise CorruptFileError(f"{path} is corrupt: it does not hold what its header lists.")
    return {name: arrays[name] for name in metadata["names"]}, metadata["note"]


def _save(path, tensors, metadata):
    """As the library does, but with the mode of any other new file and an error that has a number.

    Raises:
        OSError: the file cannot be written.
    """
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(tensors, path, metadata)
    except safetensors.SafetensorError as error:
        number = re.search(r"(?:os error|code:) (\d+)", str(error))
        if number is None:
            raise OSError(f"{path} cannot be written: {error}") from error
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    path.chmod(mode)


def _by_place(header) -> list[str]:
    """Names of the arrays in the order in which their bytes follow each other."""
    entries = json.loads(header[8:])
    del entries["__metadata__"]
    return sorted(entries, key=lambda name: entries[name]["data_offsets"])


def _digest(header, arrays):
    digest = hashlib.sha256(header)
    for data in arrays:
        digest.update(data)
    return digest.hexdigest()


def _is_next(file, data) -> bool:
    """Whether the file goes on with `data`."""
    data = np.frombuffer(data, np.uint8)
    for start in range(0, len(data), _BLOCK):
        block = data[start : start + _BLOCK]
        if not np.array_equal(np.fromfile(file, np.uint8, len(block)), block):
            return False
    return True


def _bytes(array) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8))


def _parse_header(path, content) -> tuple[bytes, dict[str, Any]]:
    """Everything before the data, and what `write_tensors` keeps there, or why there is none."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 + length:
        raise CorruptFileError(f"{path} is truncated or no checkpoint: it ends in its header.")
    if length > MOST_BYTES:
        raise CorruptFileError(f"{path} is no checkpoint: its header has {length} bytes.")
    header = content[: 8 + length]
    entries = _parse(path, header[8:])
    metadata = _metadata(path, entries.pop("__metadata__", None), list(entries))
    names = metadata.get("names")
    known = isinstance(metadata.get("note"), dict) and isinstance(names, list)
    if not known or len(str(metadata.get("sha256"))) != len(_NO_DIGEST):
        raise CorruptFileError(f"{path} is corrupt or no checkpoint of this library.")
    return header, {**metadata, "sha256": str(metadata["sha256"]), "names": list(map(str, names))}


def _metadata(path, found, names) -> dict[str, Any]:
    """The metadata as today's format has it; empty for what is of no format of this library."""
    if not isinstance(found, dict):
        return {}
    if isinstance(found.get(_KEY), str):
        metadata = _parse(path, found[_KEY])
        return metadata if metadata.get("format") == FORMAT else {}
    if found.get("format") == FIRST_FORMAT and isinstance(found.get("note"), str):
        return {**found, "note": _parse(path, found["note"]), "names": names}
    return {}


def _parse(path, text) -> dict[str, Any]:
    what = f"{path} is corrupt or no checkpoint: its header"
    return parse_json(text, what, CorruptFileError, "take another copy.")


def _arrays(path, content) -> dict[str, np.ndarray]:
    """The arrays, once the library has found that each byte belongs to one of them."""
    try:
        return {name: _array(**entry) for name, entry in safetensors.deserialize(content)}
    except (safetensors.SafetensorError, KeyError, ValueError, OverflowError) as error:
        raise CorruptFileError(f"{path} is corrupt or no checkpoint: {error}.") from None


def _array(shape, dtype, data) -> np.ndarray:
    return np.frombuffer(data, _DTYPES[dtype]).reshape(shape)
