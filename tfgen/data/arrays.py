"""Readers of array files: npz, memory-mapped npy, idx and the .mat files of two data sets.

Each returns `(images, labels)` of one split, labels None where the file has none, and raises a
`DataError` that names the file when it is truncated, corrupt or not what its name promises.
"""

import contextlib
import gzip
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from tfgen.data.source import MEMORY_LIMIT_BYTES, check_images, check_labels
from tfgen.errors import DataError
from tfgen.files.replacing import replace_file

Split = tuple[np.ndarray, np.ndarray | None]


class MissingSplitError(DataError):
    """The file is fine but holds other splits than the one asked for."""


def read_npz(path: Path, split: str) -> Split:
    """Arrays `x_SPLIT` (images) and, where present, `y_SPLIT` (labels) of a NumPy archive."""
    # Opened here, because NumPy leaves a file that it cannot read open.
    with readable(path, "a NumPy archive (.npz)"), open(path, "rb") as file:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it holds one bare array")
        with archive:
            if f"x_{split}" not in archive.files:
                raise MissingSplitError(
                    f"{path} has no array x_{split}; it has {', '.join(archive.files)}"
                )
            images = archive[f"x_{split}"]
            labels = archive[f"y_{split}"] if f"y_{split}" in archive.files else None
    images = check_images(images, f"{path}: x_{split}")
    if labels is not None:
        labels = check_labels(labels, len(images), f"{path}: y_{split}")
    return images, labels


def read_npy(path: Path, split: str) -> Split:
    """A memory-mapped uint8 array `[N, H, W, C]`: as large as the disk allows.

    Labels are in `<stem>_labels.npy` beside it, if at all.
    """
    with readable(path, "a NumPy array (.npy)"):
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    images = check_images(images, path)
    beside = path.with_name(f"{path.stem}_labels.npy")
    if not beside.exists():
        return images, None
    with readable(beside, "a NumPy array (.npy)"):
        labels = np.load(beside, allow_pickle=False)
    return images, check_labels(labels, len(images), beside)


def read_idx_split(folder: Path, split: str) -> Split:
    """The pair of idx files of MNIST's format, gzipped or not: `train-…` and `t10k-…`."""
    prefix = {"train": "train", "test": "t10k"}.get(split)
    names = {path.name: path for path in folder.iterdir()}

    def find(kind):
        for suffix in ("", ".gz"):
            for dash in "-.":
                path = names.get(f"{prefix}-{kind}-ubyte{suffix}".replace("-idx", f"{dash}idx"))
                if path is not None:
                    return path
        return None

    images_path, labels_path = find("images-idx3"), find("labels-idx1")
    if images_path is None:
        raise MissingSplitError(f"{folder} has no idx file of the {split!r} split")
    images = check_images(read_idx(images_path), images_path)
    if labels_path is None:
        return images, None
    return images, check_labels(read_idx(labels_path), len(images), labels_path)


def read_idx(path: Path) -> np.ndarray:
    """One uint8 array in idx format: two zeros, type 8, rank, big-endian sizes, the bytes."""
    with readable(path, "an idx file"):
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        if len(data) < 4 or data[:3] != b"\x00\x00\x08":
            raise ValueError("it does not begin with the mark of uint8 idx files")
        header = 4 + 4 * data[3]
        shape = struct.unpack(f">{data[3]}I", data[4:header])
        if len(data) - header != int(np.prod(shape)):
            raise ValueError(f"it has {len(data) - header} bytes for an array of shape {shape}")
        return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def read_svhn_mat(path: Path, split: str) -> Split:
    """`train_32x32.mat` or `test_32x32.mat` of SVHN: X [32, 32, 3, N], y [N, 1] with 10 for 0."""
    arrays = _read_mat(path, ("X", "y"))
    images = check_images(np.moveaxis(arrays["X"], -1, 0), f"{path}: X")
    return images, check_labels(arrays["y"].astype(np.int32) % 10, len(images), f"{path}: y")


def read_chardata_mat(path: Path, split: str) -> Split:
    """OMNIGLOT 28x28 as the importance-weighted autoencoder (Burda et al., 2016) uses it.

    Images are columns of 784 intensities in [0, 1], each stored column by column.
    """
    prefix = {"train": "", "test": "test"}.get(split)
    if prefix is None:
        raise MissingSplitError(f"{path} has the splits train and test, not {split!r}")
    arrays = _read_mat(path, (f"{prefix}data", f"{prefix}target"))
    images = arrays[f"{prefix}data"].T.reshape(-1, 28, 28).transpose(0, 2, 1)
    labels = np.argmax(arrays[f"{prefix}target"], axis=0)
    return check_images(images, path), check_labels(labels, len(images), path)


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
        num_images: how many there are.
        image_shape: (height, width, channels).
        path: the .npy file for a set above `MEMORY_LIMIT_BYTES`.

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
        return array, None
    labels = np.asarray(labels, np.int64)
    if isinstance(array, np.memmap):
        with replace_file(path.with_name(f"{path.stem}_labels.npy")) as temporary:
            np.save(temporary, labels)
    return array, labels


@contextlib.contextmanager
def readable(path: Path, kind: str) -> Iterator[None]:
    """Turns what parsers raise on damaged files into a `DataError` that names the file."""
    damage = (OSError, ValueError, EOFError, KeyError, NotImplementedError, struct.error)
    try:
        yield
    except DataError:
        raise
    except (*damage, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path} cannot be read as {kind} ({reason}); it may be truncated: fetch it again"
        ) from error


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
            f"{path} cannot be written ({error.strerror or error}); this data set needs "
            f"{np.prod(shape, dtype=np.int64) / 2**30:.1f} GiB there: choose another --data_dir"
        ) from error


def _read_mat(path, keys):
    import scipy.io

    try:
        return scipy.io.loadmat(path, variable_names=keys)
    except Exception as error:  # Its parser raises whatever damaged bytes lead it to.
        raise DataError(
            f"{path} cannot be read as a MATLAB file with the arrays {', '.join(keys)} "
            f"({error}); it may be truncated: fetch it again"
        ) from error
