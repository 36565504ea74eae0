"""Readers of the MATLAB files of two data sets, SVHN and OMNIGLOT."""

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tfgen.data.arrays import MissingSplitError, Split, readable
from tfgen.data.labels import as_labels
from tfgen.data.ranges import as_levels
from tfgen.files.expansion import check_expansion
from tfgen.files.names import shown

# Numbers only: cells and structures may hold anything.
_TYPES = {
    **{f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    **dict(double="float64", single="float32", logical="uint8"),
}
_HEADER_BYTES = 128
_COMPRESSED = 15  # a data element that is a zlib stream of another
_CHUNK_BYTES = 2**20


def read_svhn_mat(path: Path, split: str) -> Split:
    """`train_32x32.mat` or `test_32x32.mat` of SVHN: X [32, 32, 3, N], y [N, 1] with 10 for 0."""
    arrays = _read_mat(path, ("X", "y"))
    with readable(path, "a MATLAB file of SVHN"):
        images, labels = np.moveaxis(arrays["X"], -1, 0), arrays["y"]
    images = as_levels(images, f"{shown(path)}: X")
    labels = as_labels(labels, len(images), f"{shown(path)}: y")
    return Split(images, labels._replace(numbers=labels.numbers % 10))


def read_chardata_mat(path: Path, split: str) -> Split:
    """OMNIGLOT 28x28 as the importance-weighted autoencoder (Burda et al., 2016) uses it.

    Images are columns of 784 intensities in [0, 1], each stored column by column.
    """
    prefix = {"train": "", "test": "test"}.get(split)
    if prefix is None:
        raise MissingSplitError(f"{shown(path)} has the splits train and test, not {split!r}")
    arrays = _read_mat(path, (f"{prefix}data", f"{prefix}target"))
    with readable(path, "the MATLAB file of OMNIGLOT"):
        images = arrays[f"{prefix}data"].T.reshape(-1, 28, 28).transpose(0, 2, 1)
        labels = np.argmax(arrays[f"{prefix}target"], axis=0)
    images = as_levels(images, shown(path))
    return Split(images, as_labels(labels, len(images), shown(path)))


def _read_mat(path: Path, keys: Sequence[str]) -> dict[str, np.ndarray]:
    import scipy.io

    with readable(path, f"a MATLAB file with the arrays {', '.join(keys)}"):
        size = path.stat().st_size
        _check_elements(path, size)
        for name, shape, kind in scipy.io.whosmat(path):
            if name in keys:
                numbers = math.prod(shape) * np.dtype(_TYPES[kind]).itemsize
                check_expansion(path, size, numbers)
        return scipy.io.loadmat(path, variable_names=keys)


def _check_elements(path: Path, packed_size: int) -> None:
    """Unpacks the elements of a file of version 5, whatever they say of themselves, and refuses
    them as soon as they are too large."""
    total = 0
    with open(path, "rb") as file:
        order = {b"IM": "<", b"MI": ">"}.get(file.read(_HEADER_BYTES)[-2:])
        while order and len(tag := file.read(8)) == 8:
            kind, size = struct.unpack(f"{order}II", tag)
            end = file.tell() + size
            if kind == _COMPRESSED:
                for count in _inflated(file, size):
                    total += count
                    check_expansion(path, packed_size, total)
            file.seek(end)


def _inflated(file, size: int) -> Iterator[int]:
    """How many bytes there are in each piece of a zlib stream of `size` packed bytes."""
    inflate = zlib.decompressobj()
    while size > 0 and (packed := file.read(min(size, _CHUNK_BYTES))):
        size -= len(packed)
        while packed and not inflate.eof:
            yield len(inflate.decompress(packed, _CHUNK_BYTES))
            packed = inflate.unconsumed_tail
