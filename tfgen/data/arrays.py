"""Readers of array files: npz, memory-mapped npy and idx.

Each returns a `Split` and raises a `DataError` that names the file when it is truncated, corrupt or
not what its name promises. What a file says it holds is compared with its size before any memory is
taken.
"""

import contextlib
import gzip
import math
import struct
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfgen.data.labels import Labels, as_labels
from tfgen.data.mapped import MEMORY_LIMIT_BYTES, Array
from tfgen.data.ranges import as_levels
from tfgen.errors import DataError
from tfgen.files.expansion import check_expansion
from tfgen.files.names import shown
from tfgen.files.regular import regular_file
from tfgen.files.replacing import replace_file


class Split(NamedTuple):
    """What a reader found.

    Attributes:
        images: uint8 `[N, H, W, C]`.
        labels: integer array `[N]`, or None where there are none.
        notes: tuple of sentences about what was left out or changed.
    """

    images: Array
    labels: Labels | None = None
    notes: tuple[str, ...] = ()


_MAX_RANK = 4


class MissingSplitError(DataError):
    """The file is fine but holds other splits than the one asked for."""


def read_npz(path: Path, split: str) -> Split:
    """Arrays `x_SPLIT` (images) and, where present, `y_SPLIT` (labels) of a NumPy archive."""
    with readable(path, "a NumPy archive (.npz)"):
        _refuse_bare_array(path)
    with readable(path, "a NumPy archive (.npz)"), zipfile.ZipFile(path) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist()}
        if f"x_{split}" not in names:
            raise MissingSplitError(
                f"{shown(path)} has no array x_{split}; it has "
                f"{', '.join(map(shown, sorted(names))) or 'none'}: "
                f"numpy.savez(path, x_{split}=images, y_{split}=labels) gives it that name"
            )
        images = as_levels(_member(archive, f"x_{split}", path), f"{shown(path)}: x_{split}")
        if f"y_{split}" not in names:
            return Split(images)
        labels = _member(archive, f"y_{split}", path)
        vocabulary = None
        if labels.dtype.kind in "US":  # One split may lack some of the words.
            others = sorted(name for name in names if name.startswith("y_"))
            vocabulary = np.concatenate([_member(archive, name, path).ravel() for name in others])
    return Split(images, as_labels(labels, len(images), f"{shown(path)}: y_{split}", vocabulary))


def _refuse_bare_array(path) -> None:
    with open(path, "rb") as file:
        if file.read(6) == np.lib.format.MAGIC_PREFIX:
            raise DataError(
                f"{shown(path)} holds one bare array; expected an archive with names: "
                "numpy.savez(path, x_train=array)"
            )


def read_archive(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The arrays of these names in a NumPy archive.

    Raises:
        DataError: the file is missing or damaged, or lacks one of them.
    """
    kind = "a NumPy archive (.npz)"
    with readable(path, kind), zipfile.ZipFile(regular_file(path, DataError)) as archive:
        return {name: _member(archive, name, path) for name in names}


def _member(archive, name, path) -> np.ndarray:
    """One array of an archive, once its header agrees with its size."""
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(
            f"{shown(path)}: {name} is packed by method {info.compress_type}; expected an archive "
            "that numpy.savez or savez_compressed wrote"
        )
    check_expansion(path, info.compress_size, info.file_size)
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        shape, _, dtype = _HEADERS[version](file)
        if dtype.hasobject:
            raise DataError(
                f"{shown(path)}: {name} holds Python objects, such as images of several sizes; "
                "save it as one plain array"
            )
        expected = file.tell() + int(np.prod(shape, dtype=object)) * dtype.itemsize
        if expected != info.file_size:
            raise ValueError(f"{name} has {info.file_size} bytes for an array of shape {shape}")
    with archive.open(info) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npy(path: Path, split: str) -> Split:
    """A memory-mapped uint8 array `[N, H, W, C]`: as large as the disk allows.

    Labels are in `<stem>_labels.npy` beside it, if at all.
    """
    images = as_levels(open_npy(path), shown(path))
    beside = path.with_name(f"{path.stem}_labels.npy")
    if not beside.is_file():
        return Split(images)
    return Split(images, as_labels(open_npy(beside), len(images), shown(beside)))


def open_npy(path: Path) -> np.memmap:
    """The array in a .npy file, memory-mapped.

    Raises:
        DataError: the file is damaged or holds Python objects.
    """
    with readable(path, "a NumPy array (.npy)"):
        return np.lib.format.open_memmap(path, mode="r")


def read_idx_split(folder: Path, split: str) -> Split:
    """The pair of idx files of MNIST's format, gzipped or not: `train-…` and `t10k-…`."""
    prefix = {"train": "train", "test": "t10k"}.get(split)
    names = {path.name.lower(): path for path in folder.iterdir() if path.is_file()}

    def find(kind):
        for suffix in ("", ".gz"):
            for dash in "-.":
                path = names.get(f"{prefix}-{kind}-ubyte{suffix}".replace("-idx", f"{dash}idx"))
                if path is not None:
                    return path
        return None

    images_path, labels_path = find("images-idx3"), find("labels-idx1")
    if images_path is None:
        wanted = f"; expected {prefix}-images-idx3-ubyte, gzipped or not" if prefix else ""
        raise MissingSplitError(f"{shown(folder)} has no idx file of the {split!r} split{wanted}")
    images = as_levels(read_idx(images_path), shown(images_path))
    if labels_path is None:
        return Split(images)
    return Split(images, as_labels(read_idx(labels_path), len(images), shown(labels_path)))


def read_idx(path: Path) -> np.ndarray:
    """One uint8 array in idx format: two zeros, type 8, rank, big-endian sizes, the bytes."""
    with readable(path, "an idx file"), open(path, "rb") as packed:
        zipped = packed.read(2) == b"\x1f\x8b"
        packed.seek(0)
        with gzip.GzipFile(fileobj=packed) if zipped else contextlib.nullcontext(packed) as file:
            start = file.read(4)
            if len(start) < 4 or start[:3] != b"\x00\x00\x08" or not 1 <= start[3] <= _MAX_RANK:
                raise ValueError("it does not begin with the mark of uint8 idx files")
            shape = struct.unpack(f">{start[3]}I", file.read(4 * start[3]))
            size, packed_size = math.prod(shape), path.stat().st_size
            if not zipped and size > packed_size:
                raise ValueError(f"it is too short for an array of shape {shape}")
            check_expansion(path, packed_size, size)
            data = file.read(size + 1)
    if len(data) != size:
        raise DataError(
            f"{shown(path)} cannot be read as an idx file (it has {len(data)} bytes or more for an "
            f"array of shape {shape}); it may be truncated: fetch it again"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def collect_images(
    examples: Iterable[tuple[np.ndarray, int | None]],
    num_images: int,
    image_shape: tuple[int, int, int],
    path: Path,
) -> Split:
    """Gathers a stream of images into one array that is read at random.

    Large sets do not fit into memory: they are written once to `path` and mapped from there, where
    the next run finds them again.

    Args:
        examples: pairs of a uint8 image of `image_shape` and its label or None.
        num_images: integer, how many there are.
        image_shape: tuple `(height, width, channels)`.
        path: path of the .npy file for a set above `MEMORY_LIMIT_BYTES`.

    Raises:
        DataError: the file cannot be written.
    """
    shape, labels = (num_images, *image_shape), []

    def images() -> Iterator[np.ndarray]:
        for image, label in examples:
            labels.append(label)
            yield image

    if np.prod(shape, dtype=np.int64) <= MEMORY_LIMIT_BYTES:
        array = np.fromiter(images(), np.dtype((np.uint8, image_shape)), num_images)
    else:
        array = _write_mapped(path, shape, images())
    if not labels or labels[0] is None:
        return Split(array)
    labels = as_labels(np.asarray(labels), len(array), shown(path))
    if isinstance(array, np.memmap):
        with replace_file(path.with_name(f"{path.stem}_labels.npy")) as temporary:
            np.save(temporary, labels.numbers)
    return Split(array, labels)


@contextlib.contextmanager
def readable(path: Path, kind: str) -> Iterator[None]:
    """Turns what parsers raise on damaged files into a `DataError` that names the file."""
    try:
        regular_file(path, DataError)
        yield
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(
            f"{shown(path)} does not fit into memory ({_one_line(error)}); a plain array "
            "NAME_SPLIT.npy is read from the disk"
        ) from error
    except Exception as error:  # Parsers raise whatever damaged bytes lead them to.
        raise DataError(
            f"{shown(path)} cannot be read as {kind} ({_one_line(error)}); it may be truncated: "
            "fetch it again"
        ) from error


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(c if c.isprintable() else "?" for c in text[:200])


def _write_mapped(path: Path, shape: tuple[int, ...], images: Iterable[np.ndarray]) -> np.memmap:
    # Written as a file and mapped afterwards: a full disk is an error of `write`, but kills the
    # process when it is met through a writable map.
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    try:
        with replace_file(path) as temporary, open(temporary, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for image in images:
                file.write(np.ascontiguousarray(image, np.uint8))
        return np.load(path, mmap_mode="r")
    except OSError as error:
        raise DataError(
            f"{shown(path)} cannot be written ({error.strerror or error}); this data set needs "
            f"{np.prod(shape, dtype=np.int64) / 2**30:.1f} GiB there: choose another --data_dir"
        ) from error
