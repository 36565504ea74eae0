"""Named arrays and a note in one checksummed file.

The layout is that of `safetensors`, which many tools read: eight bytes of header length, a JSON
header that maps names to dtype, shape and byte range, then the raw little-endian data. The
header's `__metadata__` holds a SHA-256 over everything else in the file, so that a flipped bit
anywhere is found, and the note.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ml_dtypes
import numpy as np

from tfgen.errors import CheckpointError

FORMAT = "tfgen-checkpoint/1"
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
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_NO_DIGEST = "0" * 64
_BLOCK = 1 << 23


class CorruptFileError(CheckpointError):
    """The file is truncated, or its content does not match its checksum."""


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], note: Mapping) -> None:
    """Writes the arrays, flushes them to the device, and verifies them by reading back.

    Args:
        path: file to write; see `replace_file` for doing so atomically.
        tensors: arrays by name; at most 64-bit numbers, bfloat16 included.
        note: anything JSON can hold.

    Raises:
        OSError: the file cannot be written.
        CorruptFileError: what can be read back is not what was written.
    """
    header = _header(tensors, note)
    arrays = [_bytes(array) for array in tensors.values()]
    with open(path, "w+b", buffering=0) as file, ThreadPoolExecutor(1) as pool:
        # The device is slow enough that hashing beside it costs nothing.
        digest = pool.submit(_digest, header, arrays)
        for data in (header, *arrays):
            _write(file, data)
        os.fsync(file.fileno())
        # The digest replaces its own zeros, once everything else is known.
        header = header.replace(_NO_DIGEST.encode(), digest.result().encode(), 1)
        file.seek(0)
        _write(file, header)
        os.fsync(file.fileno())
        file.seek(0)
        if not all(_is_next(file, data) for data in (header, *arrays)):
            raise CorruptFileError(f"{path} cannot be read back as it was written.")


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """The arrays and the note of a file written by `write_tensors`.

    Args:
        path: the file.

    Returns:
        Arrays by name, in the order they were written, and the note.

    Raises:
        CorruptFileError: the file is truncated, is something else, or has a flipped bit.
        OSError: the file cannot be read.
    """
    content = np.fromfile(path, np.uint8)
    header, start = _parse_header(path, content)
    stored = header["__metadata__"]["sha256"]
    blank = bytes(content[:start]).replace(stored.encode(), _NO_DIGEST.encode(), 1)
    if _digest(blank, [content[start:]]) != stored:
        raise CorruptFileError(f"{path} is corrupt: its content does not match its checksum.")
    note = json.loads(header.pop("__metadata__")["note"])
    return {name: _array(content, start, entry) for name, entry in header.items()}, note


def _header(tensors, note):
    header = {
        "__metadata__": {"format": FORMAT, "sha256": _NO_DIGEST, "note": json.dumps(dict(note))}
    }
    offset = 0
    for name, array in tensors.items():
        end = offset + array.nbytes
        dtype = _NAMES[array.dtype.newbyteorder("<") if array.dtype.kind in "iuf" else array.dtype]
        header[name] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # aligns the data
    return len(text).to_bytes(8, "little") + text


def _write(file, data):
    """All of `data`: a single call may write less than it was given, as on a full disk."""
    data = memoryview(data)
    while data:
        data = data[file.write(data[: 1 << 30]) :]


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
    return memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def _parse_header(path, content):
    """The header and the offset of the data, or why there is none."""
    start = 8 + int.from_bytes(bytes(content[:8]), "little")
    if len(content) < 8 or start > len(content):
        raise CorruptFileError(f"{path} is truncated or no checkpoint: it ends in its header.")
    try:
        header = json.loads(bytes(content[8:start]))
        metadata = header["__metadata__"]
        known = metadata["format"] == FORMAT and len(metadata["sha256"]) == len(_NO_DIGEST)
        end = start + max(
            (entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"),
            default=0,
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise CorruptFileError(f"{path} is corrupt or no checkpoint: bad header.") from None
    if not known:
        raise CorruptFileError(f"{path} is corrupt or no checkpoint of this library.")
    if len(content) < end:
        raise CorruptFileError(
            f"{path} is truncated: it has {len(content)} bytes, its header promises {end}."
        )
    return header, start


def _array(content, start, entry):
    first, last = entry["data_offsets"]
    dtype = _DTYPES[entry["dtype"]]
    # A copy, because the bytes need not lie where the dtype could be addressed.
    return content[start + first : start + last].copy().view(dtype).reshape(entry["shape"])
