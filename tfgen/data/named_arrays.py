"""Folders of arrays by name: any data set that is no set of single images.

    NAME_SPLIT.npy       one array, a row for every example: regions_train.npy, words_train.npy
    image_row_SPLIT.npy  integers `[N]`, perhaps: which row of the arrays that have a row for every
                         image an example takes, so that several captions share one image's

Arrays stay on the disk.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tfgen.data.arrays import MissingSplitError, readable
from tfgen.data.mapped import Array, Mapped
from tfgen.errors import DataError
from tfgen.files.names import shown
from tfgen.files.regular import regular_file
from tfgen.files.replacing import replace_file

ROWS = "image_row"


def read_arrays(folder: Path, split: str) -> dict[str, Array]:
    """The arrays of a split.

    Args:
        folder: path of the folder.
        split: string, such as "train".

    Returns:
        A dict; where there is `image_row`, it is called `image_ids` and the arrays of the images
        are seen through it.

    Raises:
        DataError: there are none, a file is damaged, or lengths do not fit.
    """
    ending = f"_{split}.npy"
    files = sorted(Path(folder).glob(f"*{ending}"))
    if not files:
        raise MissingSplitError(
            f"{shown(folder)} has no arrays of the {split!r} split; expected NAME{ending}, such as "
            f"regions{ending}"
        )
    arrays = {path.name.removesuffix(ending): _opened(path) for path in files}
    rows = arrays.pop(ROWS, None)
    if rows is None:
        return arrays
    rows = np.asarray(rows)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise DataError(
            f"{shown(folder)}: {ROWS}{ending} has shape {rows.shape} and type {rows.dtype}; "
            "expected integers, one for each example"
        )
    if np.array_equal(np.sort(rows), np.arange(len(rows))) and np.any(np.diff(rows) < 0):
        raise DataError(
            f"{shown(folder)}: {ROWS}{ending} gives {len(rows)} examples as many images in another "
            "order, and which arrays are of images cannot be told; write them in the same order"
        )
    found = {name: _through(name, array, rows, folder) for name, array in arrays.items()}
    return {**found, "image_ids": rows.astype(np.int64)}


def save_arrays(folder: str | os.PathLike, split: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays where `read_arrays` finds them, each file whole or not at all.

    Args:
        folder: path, made if need be.
        split: string, such as "train".
        arrays: dict of arrays by name.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        with replace_file(folder / f"{name}_{split}.npy") as path, open(path, "wb") as file:
            np.save(file, np.asarray(array), allow_pickle=False)


def _opened(path) -> np.ndarray:
    with readable(path, "a NumPy array (.npy)"):
        array = np.lib.format.open_memmap(regular_file(path, DataError), mode="r")
    if array.ndim < 1 or array.dtype.kind not in "biufSU":
        raise DataError(
            f"{shown(path)} has shape {array.shape} and type {array.dtype}; expected rows of "
            "numbers or texts"
        )
    return array


def _through(name, array, rows, folder) -> Array:
    """An array of the examples as it is, and one of the images by the examples' rows."""
    if len(array) == len(rows):
        return array
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(array):
        raise DataError(
            f"{shown(folder)}: {name} has {len(array)} rows, neither one for each of {len(rows)} "
            f"examples nor one for every image that {ROWS} names ({rows.min()} to {rows.max()})"
        )
    return Mapped(array, rows=rows)
