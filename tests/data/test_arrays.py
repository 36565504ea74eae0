"""Array files of every format, whole and damaged: a sentence that names the file, or the images."""

import errno
import gzip
import io
import math
import os
import resource
import struct
import zipfile
import zlib

import numpy as np
import pytest
import scipy.io

from tfgen.data import Pipeline, arrays, load, mat_files
from tfgen.data.arrays import MissingSplitError, collect_images, read_idx, read_npy, read_npz
from tfgen.data.image_file import read_header
from tfgen.data.ranges import as_levels
from tfgen.errors import DataError


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (12, 5, 4, 3), np.uint8)


@pytest.fixture
def archive(tmp_path, images):
    path = tmp_path / "made.npz"
    np.savez_compressed(path, x_train=images, y_train=np.arange(12), x_test=images[:3, ..., 0])
    return path


def test_npz(archive, images):
    source = load(f"npz:{archive}")
    np.testing.assert_array_equal(source.images, images)
    np.testing.assert_array_equal(source.labels, np.arange(12))
    assert (source.split, source.path, source.image_shape) == ("train", str(archive), (5, 4, 3))
    test = load("npz:made.npz", "test", archive.parent)
    assert test.images.shape == (3, 5, 4, 1)
    assert test.labels is None


def test_npz_says_which_splits_it_has(archive):
    with pytest.raises(MissingSplitError, match=r"made\.npz has no array x_validation; .*x_train"):
        load(f"npz:{archive}", "validation")


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.3, 0.7, 0.95, 0.999])
def test_truncated_npz(archive, fraction):
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(len(whole) * fraction)])
    with pytest.raises(DataError, match=r"made\.npz cannot be read .* truncated"):
        load(f"npz:{archive}")


def test_flipped_bit_in_npz(archive):
    # The archive's own checksum finds a change anywhere in the compressed bytes of an array.
    whole = bytearray(archive.read_bytes())
    whole[300] ^= 4
    archive.write_bytes(whole)
    with pytest.raises(DataError, match=r"made\.npz cannot be read"):
        load(f"npz:{archive}")


@pytest.mark.parametrize("content", [b"", b"not an archive", None])
def test_something_else_called_npz(tmp_path, content):
    path = tmp_path / "made.npz"
    if content is None:
        with open(path, "wb") as file:
            np.save(file, np.zeros([2, 3, 3], np.uint8))
    else:
        path.write_bytes(content)
    message = r"holds one bare array.*savez" if content is None else "cannot be read"
    with pytest.raises(DataError, match=rf"made\.npz {message}"):
        read_npz(path, "train")


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "made.npz"
    np.savez(path, x_train=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match=r"made\.npz: x_train holds Python objects"):
        read_npz(path, "train")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_in_the_unit_interval_are_levels(images, dtype):
    checked = as_levels((images / 255.0).astype(dtype), "made")
    assert checked.dtype == np.uint8
    np.testing.assert_array_equal(checked, images)


def test_other_types(images):
    np.testing.assert_array_equal(as_levels(images.astype(np.int64), "made"), images)
    np.testing.assert_array_equal(as_levels(images > 127, "made"), (images > 127) * 255)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: np.where(np.arange(12)[:, None, None] == 7, np.nan, x[..., 0] / 255), "NaN.*7"),
        (lambda x: np.where(x == x.max(), np.inf, 0.0), "infinite"),
        (lambda x: x.astype(np.float32), r"\[0, 1\]"),
        (lambda x: x / 255.0 * 2 - 1, r"from -1 to 1; expected \[0, 1\]"),
        (lambda x: x.astype(np.int32) - 1, "from -1 to"),
        (lambda x: x.astype(np.uint16) * 257, "to 65535; expected 0 to 255"),
        (lambda x: x.reshape(12, -1), r"shape \(12, 60\)"),
        (lambda x: x[:0], r"shape \(0, 5, 4, 3\)"),
        (lambda x: x.astype("S3"), "type"),
    ],
)
def test_wrong_pixels_and_shapes(tmp_path, images, spoil, message):
    path = tmp_path / "made.npz"
    np.savez(path, x_train=spoil(images))
    with pytest.raises(DataError, match=rf"made\.npz: x_train .*{message}"):
        load(f"npz:{path}")


@pytest.mark.parametrize("labels", [np.arange(11), np.full(12, 0.5), np.zeros([12, 2], int)])
def test_wrong_labels(tmp_path, images, labels):
    path = tmp_path / "made.npz"
    np.savez(path, x_train=images, y_train=labels)
    with pytest.raises(DataError, match=r"made\.npz: y_train .*expected 12 integers"):
        load(f"npz:{path}")


RIGHT = {
    "0 and 1 as uint8": lambda x: (x > 127).astype(np.uint8),
    "0 and 1 as int64": lambda x: (x > 127).astype(np.int64),
    "0 and 1 as float": lambda x: (x > 127).astype(np.float32),
    "bool": lambda x: x > 127,
}


@pytest.mark.parametrize("form", RIGHT)
@pytest.mark.parametrize("binarize", [None, "threshold", "dynamic"])
def test_black_and_white_however_it_is_kept(tmp_path, images, form, binarize):
    np.savez(tmp_path / "a.npz", x_train=RIGHT[form](images))
    source = load(f"npz:{tmp_path / 'a.npz'}")
    np.testing.assert_array_equal(source.images, (images > 127) * 255)
    pipeline = Pipeline(source, 12, training=False, binarize=binarize)
    np.testing.assert_array_equal(pipeline.batch(0)["images"], images > 127)


def test_channels_before_height_and_width_are_named(tmp_path, images):
    np.savez(tmp_path / "a.npz", x_train=images.transpose(0, 3, 1, 2).repeat(3, axis=-1))
    with pytest.raises(DataError, match=r"transpose\(0, 2, 3, 1\)"):
        load(f"npz:{tmp_path / 'a.npz'}")


def zeros_npz(path, shape):
    """What numpy.savez_compressed writes of zeros, without the zeros ever being in memory."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x_train.npy", "w", force_zip64=True) as file,
    ):
        file.write(header.getvalue())
        for _ in range(math.prod(shape) // 2**20):
            file.write(bytes(2**20))


def zeros_idx(path, shape):
    with gzip.open(path, "wb") as file:
        file.write(struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape))
        for _ in range(math.prod(shape) // 2**20):
            file.write(bytes(2**20))


def zeros_mat(path, shape):
    elements = struct.pack("<II8s", 6, 8, bytes([9]))  # flags: class uint8
    elements += struct.pack("<II4i", 5, 16, 32, 32, 3, math.prod(shape) // 3072)
    elements += struct.pack("<HH4sII", 1, 1, b"X", 2, math.prod(shape))
    pack = zlib.compressobj()
    stream = pack.compress(struct.pack("<II", 14, len(elements) + math.prod(shape)) + elements)
    stream += b"".join(pack.compress(bytes(2**20)) for _ in range(math.prod(shape) // 2**20))
    stream += pack.flush()
    with open(path, "wb") as file:
        file.write(b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM")
        file.write(struct.pack("<II", 15, len(stream)) + stream)


@pytest.mark.parametrize(
    ("write", "read"),
    [
        (zeros_npz, lambda path: read_npz(path, "train")),
        (zeros_idx, read_idx),
        (zeros_mat, lambda path: mat_files.read_svhn_mat(path, "train")),
    ],
)
def test_a_small_file_of_many_zeros_is_refused_before_memory_is_taken(tmp_path, write, read):
    path = tmp_path / "bomb"
    write(path, (384, 1024, 1024))
    assert path.stat().st_size < 2**20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"bomb says that .* bytes unpack to .*, over 200 times"):
        read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**16  # 64 MiB


def test_foreign_packings_are_refused(tmp_path, images):
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
            array = io.BytesIO()
            np.save(array, images)
            archive.writestr("x_train.npy", array.getvalue())
        with pytest.raises(DataError, match=rf"x_train is packed by method {method}.*savez"):
            read_npz(tmp_path / "a.npz", "train")


def test_encrypted_archives_are_refused(archive):
    content = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\1\2", 8), (b"PK\3\4", 6)):  # the flag, in both kinds of header
        place = -1
        while (place := content.find(mark, place + 1)) >= 0:
            content[place + offset] |= 1
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read .*(encrypted|password)"):
        read_npz(archive, "train")


def test_an_archive_called_npy_is_refused(tmp_path, images):
    with open(tmp_path / "cifar10_train.npy", "wb") as file:
        np.savez(file, images=images)
    with pytest.raises(DataError, match=r"cifar10_train\.npy cannot be read as a NumPy array"):
        load("cifar10", "train", tmp_path)


@pytest.mark.parametrize(
    "read",
    [
        lambda path: read_npz(path, "train"),
        lambda path: read_npy(path, "train"),
        read_idx,
        lambda path: mat_files.read_svhn_mat(path, "train"),
        lambda path: mat_files.read_chardata_mat(path, "train"),
        read_header,
        lambda path: load(f"npz:{path}"),
        lambda path: load(f"folder:{path}"),
    ],
)
def test_pipes_are_refused_at_once(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"is a named pipe; expected a|is no f"):
        read(tmp_path / "pipe")


def test_npy_is_mapped(tmp_path, images):
    np.save(tmp_path / "cifar10_train.npy", np.zeros([4, 32, 32, 3], np.uint8))
    np.save(tmp_path / "cifar10_train_labels.npy", np.arange(4))
    source = load("cifar10", "train", tmp_path)
    assert isinstance(source.images, np.memmap)
    np.testing.assert_array_equal(source.labels, np.arange(4))
    whole = (tmp_path / "cifar10_train.npy").read_bytes()
    (tmp_path / "cifar10_train.npy").write_bytes(whole[:-5])
    with pytest.raises(DataError, match=r"cifar10_train\.npy cannot be read"):
        load("cifar10", "train", tmp_path)


def write_idx(path, array):
    data = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    data += array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files(tmp_path, rng, suffix):
    folder = tmp_path / "mnist"
    folder.mkdir()
    digits = rng.integers(0, 256, (6, 28, 28), np.uint8)
    write_idx(folder / f"train-images-idx3-ubyte{suffix}", digits)
    write_idx(folder / f"train-labels-idx1-ubyte{suffix}", np.arange(6, dtype=np.uint8))
    source = load("mnist", "train", tmp_path)
    np.testing.assert_array_equal(source.images[..., 0], digits)
    np.testing.assert_array_equal(source.labels, np.arange(6))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_damaged_idx(tmp_path, suffix):
    path = tmp_path / f"images{suffix}"
    write_idx(path, np.zeros([3, 4, 4], np.uint8))
    whole = path.read_bytes()
    for content in (whole[:-9], whole[:6], b"\1" + whole[1:], b""):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"images.*cannot be read as an idx file"):
            read_idx(path)


def test_svhn_matrices(tmp_path, rng):
    folder = tmp_path / "svhn"
    folder.mkdir()
    images = rng.integers(0, 256, (5, 32, 32, 3), np.uint8)
    matrix = {"X": np.moveaxis(images, 0, -1), "y": np.array([[10], [1], [2], [9], [10]], np.uint8)}
    scipy.io.savemat(folder / "test_32x32.mat", matrix)
    source = load("svhn", "test", tmp_path)
    np.testing.assert_array_equal(source.images, images)
    np.testing.assert_array_equal(source.labels, [0, 1, 2, 9, 0])
    (folder / "test_32x32.mat").write_bytes(b"MATLAB 5.0" + bytes(300))
    with pytest.raises(DataError, match=r"test_32x32\.mat cannot be read"):
        load("svhn", "test", tmp_path)


def chardata(path, images):
    """Images stored as the IWAE authors do: columns of a matrix, each image column by column."""
    columns = np.stack([image.flatten(order="F") for image in images / 255.0], axis=1)
    target = np.eye(50)[:, : len(images)]
    scipy.io.savemat(
        path, dict(data=columns, target=target, testdata=columns[:, :2], testtarget=target[:, :2])
    )


def test_omniglot_chardata(tmp_path, rng):
    images = rng.integers(0, 256, (4, 28, 28), np.uint8)
    chardata(tmp_path / "chardata.mat", images)
    source = load("omniglot", "train", tmp_path)
    np.testing.assert_array_equal(source.images[..., 0], images)
    np.testing.assert_array_equal(source.labels, np.arange(4))
    assert len(load("omniglot", "test", tmp_path)) == 2


def test_omniglot_is_fetched_from_its_authors(tmp_path, rng, monkeypatch):
    import keras

    images = rng.integers(0, 256, (4, 28, 28), np.uint8)
    chardata(tmp_path / "elsewhere.mat", images)
    monkeypatch.setattr(keras.utils, "get_file", lambda *args: str(tmp_path / "elsewhere.mat"))
    source = load("omniglot", "train", tmp_path)
    np.testing.assert_array_equal(source.images[..., 0], images)


def stream(images):
    return ((image, label) for label, image in enumerate(images))


def test_small_sets_are_collected_in_memory(tmp_path, images):
    collected, labels, _ = collect_images(stream(images), 12, (5, 4, 3), tmp_path / "a.npy")
    np.testing.assert_array_equal(collected, images)
    np.testing.assert_array_equal(labels.numbers, np.arange(12))
    assert list(tmp_path.iterdir()) == []


def test_large_sets_are_collected_on_disk(tmp_path, images, monkeypatch):
    monkeypatch.setattr(arrays, "MEMORY_LIMIT_BYTES", 100)
    path = tmp_path / "a.npy"
    collected = collect_images(stream(images), 12, (5, 4, 3), path).images
    assert isinstance(collected, np.memmap)
    for part in (collected, read_npy(path, "train")[0]):
        np.testing.assert_array_equal(part, images)
    np.testing.assert_array_equal(read_npy(path, "train").labels.numbers, np.arange(12))


def test_a_full_disk_leaves_nothing(tmp_path, images, monkeypatch):
    def full():
        yield images[0], 0
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(arrays, "MEMORY_LIMIT_BYTES", 100)
    with pytest.raises(DataError, match=r"a\.npy cannot be written \(No space left"):
        collect_images(full(), 12, (5, 4, 3), tmp_path / "a.npy")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path, images, monkeypatch):
    monkeypatch.setattr(arrays, "MEMORY_LIMIT_BYTES", 100)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        collect_images(stream(images), 12, (5, 4, 3), tmp_path / "file" / "a.npy")
