"""Arrays of HDF5 files that somebody else wrote: nothing of them is believed before it is read."""

import itertools
import math
import zlib
from pathlib import Path

import numpy as np

from tfgen.data.arrays import readable
from tfgen.errors import DataError
from tfgen.files.expansion import ALWAYS_BYTES, check_expansion
from tfgen.files.names import shown
from tfgen.files.regular import regular_file

_KIND = "HDF5"
_ALWAYS_BYTES = 1 << 22  # ten times what the regions of an image take
_MOST_DEFLATED = 1032  # bytes that one byte can unpack to


class Hdf5Arrays:
    """The arrays of one HDF5 file.

    Links that lead to other files or places are not followed, and an array that says it is far
    larger than what the file holds of it is not read.

    Args:
        path: of the file, which stays open.

    Raises:
        DataError: the file is missing or damaged.
    """

    def __init__(self, path: Path):
        import h5py

        self.path = path
        with readable(path, _KIND):
            # Without a lock, so that several processes read at once and a read-only disk will do.
            self._file = h5py.File(regular_file(path, DataError), "r", locking=False)

    def names(self) -> list[str]:
        """Of what the file holds, in alphabetical order."""
        with readable(self.path, _KIND):
            return sorted(self._file)

    def __contains__(self, name: str) -> bool:
        with readable(self.path, _KIND):
            return name in self._file

    def length(self, name: str) -> int:
        """Rows of an array.

        Raises:
            DataError: as `read`.
        """
        with readable(self.path, _KIND):
            return self._array(name).shape[0]

    def read(self, name: str, rows: slice = slice(None), dtype=np.float32) -> np.ndarray:
        """An array, or some rows of it.

        Args:
            name: string, of the array.
            rows: `slice` of integers, of its first axis. Defaults to `slice(None)`, all.
            dtype: what its numbers become; those too large are infinite. Defaults to `np.float32`.

        Raises:
            DataError: there is no such array of numbers in this file, or it is damaged.
        """
        with readable(self.path, _KIND), np.errstate(over="ignore", invalid="ignore"):
            array = self._array(name)
            self._check_size(array, range(*rows.indices(array.shape[0])))
            return np.asarray(array[rows]).astype(dtype)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _array(self, name):
        import h5py

        parts = name.split("/")
        for end in range(1, len(parts) + 1):
            link = self._file.get("/".join(parts[:end]), getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise self._error(name, "is a link or missing")
        array = self._file[name]
        if not isinstance(array, h5py.Dataset) or array.shape in (None, ()):
            raise self._error(name, "is none")
        if array.dtype.kind not in "iuf":
            raise self._error(name, f"holds {array.dtype}")
        if array.external or array.is_virtual:
            raise self._error(name, "lies in other files")
        return array

    def _check_size(self, array, rows):
        """Refuses what takes far more memory, or time, than the file lets expect."""
        chunk_bytes = array.dtype.itemsize * math.prod(array.chunks or ())
        wanted = len(rows) * array.dtype.itemsize * math.prod(array.shape[1:])
        stored = array.id.get_storage_size()
        check_expansion(self.path, stored, max(wanted, chunk_bytes), _ALWAYS_BYTES)
        if array.chunks is None or not len(rows) or array.compression != "gzip":
            return
        # HDF5 unpacks a chunk to whatever its bytes become, which may be a thousand times as many.
        ends = (rows[-1] + 1, *array.shape[1:])
        starts = (rows[0] // array.chunks[0] * array.chunks[0], *(0 for _ in ends[1:]))
        for place in itertools.product(*map(range, starts, ends, array.chunks)):
            if _MOST_DEFLATED * array.id.get_chunk_info_by_coord(place).size > ALWAYS_BYTES:
                packed = array.id.read_direct_chunk(place)[1]
                if len(zlib.decompressobj().decompress(packed, chunk_bytes + 1)) > chunk_bytes:
                    raise ValueError(f"a chunk of it unpacks to more than {chunk_bytes:,} bytes")

    def _error(self, name, what):
        return DataError(
            f"{shown(self.path)}: {name!r} {what}; expected an array of numbers within the file"
        )
