"""Dense arrays of real numbers in MATLAB files of version 5 (also 6 and 7).

SciPy reads far more of the format, but a damaged file can make it write where it must not, which
ends the process. This reads nothing but what data sets are made of, and checks every size first.
"""

import io
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tfgen.data.arrays import readable
from tfgen.files.expansion import check_expansion

_HEADER_BYTES = 128
_ORDERS = {b"IM": "<", b"MI": ">"}
# Types of data elements and classes of arrays, by their numbers in the format.
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_STORED = {
    **{1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4"},
    **{7: "f4", 9: "f8", 12: "i8", 13: "u8"},
}
_CLASSES = {
    **{6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2"},
    **{12: "i4", 13: "u4", 14: "i8", 15: "u8"},
}
_COMPLEX = 0x800
_MOST_DIMENSIONS = 8


def read_mat(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of these names in a MATLAB file.

    Raises:
        DataError: the file is damaged, of another version, lacks one of them, or holds something
            else than dense arrays of real numbers under their names.
    """
    with readable(path, f"a MATLAB file with the arrays {', '.join(names)}"):
        found = {}
        with open(path, "rb") as file:
            order = _ORDERS.get(file.read(_HEADER_BYTES)[_HEADER_BYTES - 2 :])
            if order is None:
                raise ValueError("it is not of version 5")
            for matrix in _matrices(file, order, path):
                if matrix.name in names:
                    found[matrix.name] = matrix.array()
        missing = [name for name in names if name not in found]
        if missing:
            raise ValueError(f"it has no array {', '.join(missing)}")
        return found


def _matrices(file, order: str, path: Path) -> Iterator["_Matrix"]:
    size = path.stat().st_size
    while tag := file.read(8):
        kind, length = struct.unpack(f"{order}II", _whole(tag, 8))
        content = _whole(file.read(min(length, size)), length)
        if kind == _COMPRESSED:
            stream = _Inflated(content)
            kind, _ = struct.unpack(f"{order}II", _whole(stream.read(8), 8))
        else:
            stream = io.BytesIO(content)
        if kind == _MATRIX:
            yield _Matrix(stream, order, path, size)


class _Matrix:
    """One array, of which only name and size are read at once."""

    def __init__(self, stream, order: str, path: Path, file_size: int):
        self._stream, self._order, self._path, self._file_size = stream, order, path, file_size
        self._flags = self._numbers(_UINT32, 2)[0]
        self._shape = self._numbers(_INT32)
        kind, name = self._element()
        if kind != _INT8:
            raise ValueError("an array has no name")
        self.name = name.decode("latin-1")

    def array(self) -> np.ndarray:
        """The numbers, in the type that the array has."""
        kind, content = self._element()
        if self._flags & _COMPLEX or self._flags & 0xFF not in _CLASSES or kind not in _STORED:
            raise ValueError(f"{self.name} is no dense array of real numbers")
        if len(self._shape) > _MOST_DIMENSIONS or min(self._shape, default=0) < 0:
            raise ValueError(f"{self.name} says that its shape is {self._shape}")
        numbers = np.frombuffer(content, f"{self._order}{_STORED[kind]}")
        if len(numbers) != math.prod(self._shape):
            raise ValueError(f"{self.name} has {len(numbers)} numbers for the shape {self._shape}")
        # Numbers are stored in the smallest type that holds them.
        numbers = numbers.astype(_CLASSES[self._flags & 0xFF], copy=False)
        return numbers.reshape(self._shape, order="F")

    def _numbers(self, expected: int, count: int | None = None) -> tuple[int, ...]:
        kind, content = self._element()
        if kind != expected or len(content) % 4 or count not in (None, len(content) // 4):
            raise ValueError("an array does not begin with its class and shape")
        letter = "I" if expected == _UINT32 else "i"
        return struct.unpack(f"{self._order}{len(content) // 4}{letter}", content)

    def _element(self) -> tuple[int, bytes]:
        """Type and content of the next data element."""
        tag = _whole(self._stream.read(8), 8)
        kind, length = struct.unpack(f"{self._order}II", tag)
        if kind >> 16:  # The short form: the content stands within the tag.
            return kind & 0xFFFF, _whole(tag[4 : 4 + (kind >> 16)], kind >> 16)
        check_expansion(self._path, self._file_size, length)
        content = _whole(self._stream.read(length), length)
        self._stream.read(-length % 8)
        return kind, content


class _Inflated:
    """A zlib stream that is read like a file; no more is unpacked than is asked for."""

    def __init__(self, packed: bytes):
        self._inflate, self._packed = zlib.decompressobj(), packed

    def read(self, count: int) -> bytes:
        pieces = []
        while count and (piece := self._inflate.decompress(self._packed, count)):
            self._packed = self._inflate.unconsumed_tail
            count -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)


def _whole(content: bytes, length: int) -> bytes:
    if len(content) != length:
        raise ValueError("it ends within an array")
    return content
