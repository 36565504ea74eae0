"""Arrays that stay on the disk, in files, and what is made of their rows when they are read."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np

# Arrays above this size stay where they are (on disk, in files); smaller ones live in memory.
MEMORY_LIMIT_BYTES = 2**30


@runtime_checkable
class Array(Protocol):
    """What a `Source` asks of its arrays: a NumPy array, a memory map, or files read lazily."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __len__(self) -> int: ...

    def __getitem__(self, indices: np.ndarray) -> np.ndarray: ...


class Mapped:
    """An array that stays where it is, of which rows are picked and changed when they are read.

    Args:
        array: `[N, ...]`.
        rows: integer array `[M]`, which of its rows there are, in which order. None: all.
        change: function from a batch of rows to what is seen of it. None: nothing changes.
        row_shape: tuple, shape of one row after the change. None: as before.
        dtype: dtype after the change. None: as before.
    """

    def __init__(
        self,
        array: Array,
        rows: np.ndarray | None = None,
        change: Callable[[np.ndarray], np.ndarray] | None = None,
        row_shape: tuple[int, ...] | None = None,
        dtype: np.dtype | None = None,
    ):
        self._array, self._rows, self._change = array, rows, change
        length = len(array) if rows is None else len(rows)
        self.shape = (length, *(array.shape[1:] if row_shape is None else row_shape))
        self.dtype = np.dtype(array.dtype if dtype is None else dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices) -> np.ndarray:
        rows = indices if self._rows is None else self._rows[indices]
        found = np.asarray(self._array[rows])
        return found if self._change is None else self._change(found)


def is_in_memory(images: Array) -> bool:
    """Whether images are a plain array of at most `MEMORY_LIMIT_BYTES`."""
    plain = isinstance(images, np.ndarray) and not isinstance(images, np.memmap)
    return plain and images.nbytes <= MEMORY_LIMIT_BYTES
