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
    digest = hashlib.sha256(header)
    with open(path, "wb", buffering=0) as file:
        _write(file, header)
        for array in tensors.values():
            data = memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
            digest.update(data)
            _write(file, data)
        # The digest replaces its own zeros, once everything else is known.
        file.seek(header.index(_NO_DIGEST.encode()))
        _write(file, digest.hexdigest().encode())
        os.fsync(file.fileno())
    if _digest_of(path, len(header)) != (digest.hexdigest(), digest.hexdigest()):
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
    position = bytes(content[:start]).find(stored.encode())
    digest = hashlib.sha256(bytes(content[:position]) + _NO_DIGEST.encode())
    digest.update(content[position + len(stored) :])
    if digest.hexdigest() != stored:
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


def _digest_of(path, header_length):
    """The digest stored in the file, and the one its content has."""
    with open(path, "rb", buffering=0) as file:
        header = file.read(header_length)
        stored = json.loads(header[8:])["__metadata__"]["sha256"]
        digest = hashlib.sha256(header.replace(stored.encode(), _NO_DIGEST.encode(), 1))
        block = bytearray(_BLOCK)
        while count := file.readinto(block):
            digest.update(memoryview(block)[:count])
    return stored, digest.hexdigest()


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
