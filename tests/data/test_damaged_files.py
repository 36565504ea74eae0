"""Every reader of data files on damaged ones: an error of ours or data, in bounded memory.

What is tried is drawn by hypothesis: cuts, foreign bytes and numbers of extreme size, mostly near
the beginning, where headers lie. Under the marker `slow`, 100,000 of each, drawn by NumPy.
"""

import contextlib
import dataclasses
import functools
import gzip
import resource
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import scipy.io
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfgen.data import arrays, cifar_c, image_list, libraries, mat_files
from tfgen.data.image_file import decode_image, read_header
from tfgen.errors import DataError

MEMORY_KIB = 2**20  # by which the process may grow, whatever a header of a kilobyte promises
SMALL, LARGE = 60, 100_000
EXTREME = (0, 1, 127, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


@dataclasses.dataclass(frozen=True)
class Reader:
    """How a whole file comes about, and what reads it.

    Attributes:
        write: writes a whole file to a path.
        read: reads it and whatever is damaged of it.
        name: of the file.
    """

    write: Callable[[Path], object]
    read: Callable[[Path], object]
    name: str = "file"


def images(channels=3):
    return np.random.default_rng(0).integers(0, 256, (4, 6, 5, channels), np.uint8)


def write_npz(path, save):
    with open(path, "wb") as file:
        save(file, x_train=images(), y_train=np.array(["cat", "dog", "cat", "emu"]), y_test=["dog"])


def write_idx(path, open_file=open):
    with open_file(path, "wb") as file:
        file.write(struct.pack(">4B3I", 0, 0, 8, 3, 4, 6, 5) + images(1).tobytes())


def write_svhn(path):
    pixels = np.moveaxis(images(), 0, -1)
    scipy.io.savemat(path, {"X": pixels, "y": np.arange(4)[:, None]}, do_compression=True)


def write_chardata(path):
    pixels = np.random.default_rng(0).random((784, 3))
    scipy.io.savemat(path, {"data": pixels, "target": np.eye(3)})


def write_records(path):
    pixels = images()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for image in pixels:
            features = {
                "data": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.tobytes()])),
                "shape": tf.train.Feature(int64_list=tf.train.Int64List(value=image.shape)),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())


def read_records(path):
    return libraries.read_tfrecords(path.parent, (6, 5, 3), path.parent / "cache.npy")


def read_image(path):
    read_header(path)
    return decode_image(path, (4, 4), 3)


def image_reader(name):
    picture = PIL.Image.fromarray(images()[0])
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    options = {"exif": exif} if name not in ("BMP", "GIF") else {}
    return Reader(lambda path: picture.save(path, format=name, **options), read_image)


def write_list(path):
    for index, image in enumerate(images()):
        PIL.Image.fromarray(image).save(path.parent / f"picture_{index}.png")
    lines = [f"picture_{index}.png {label}" for index, label in enumerate("0120")]
    path.write_text("\n".join(lines))


READERS = {
    "npz": Reader(
        functools.partial(write_npz, save=np.savez), lambda path: arrays.read_npz(path, "train")
    ),
    "npz, deflated": Reader(
        functools.partial(write_npz, save=np.savez_compressed),
        lambda path: arrays.read_npz(path, "train"),
    ),
    "npy": Reader(
        lambda path: np.save(path, images()), lambda path: arrays.read_npy(path, ""), "a.npy"
    ),
    "npy, float": Reader(
        lambda path: np.save(path, images() / 255), lambda path: arrays.read_npy(path, ""), "a.npy"
    ),
    "list of images": Reader(
        write_list, lambda path: image_list.read_image_list(path, [path.parent]), "list.txt"
    ),
    "CIFAR-10-C": Reader(
        lambda path: np.save(path, np.concatenate([images()] * 5)),
        lambda path: cifar_c.read_cifar_c(path.parent, "fog", 3, "test"),
        "fog.npy",
    ),
    "idx": Reader(write_idx, arrays.read_idx),
    "idx, gzipped": Reader(functools.partial(write_idx, open_file=gzip.open), arrays.read_idx),
    "mat of SVHN": Reader(write_svhn, lambda path: mat_files.read_svhn_mat(path, "train")),
    "mat of OMNIGLOT": Reader(
        write_chardata, lambda path: mat_files.read_chardata_mat(path, "train")
    ),
    "TFRecords": Reader(write_records, read_records, "a.tfrecords"),
    **{name: image_reader(name) for name in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")},
}


def damages(size: int):
    """Edits of a file of `size` bytes: what is written where, where it ends, what follows."""
    place = st.one_of(st.integers(0, min(size, 160)), st.integers(0, size))
    numbers = st.builds(
        lambda value, order: struct.pack(f"{order}I", value),
        st.sampled_from(EXTREME),
        st.sampled_from("<>"),
    )
    edits = st.lists(
        st.tuples(place, st.one_of(st.binary(min_size=1, max_size=2), numbers)), max_size=4
    )
    return st.tuples(edits, st.one_of(st.just(size), st.integers(0, size)), st.binary(max_size=8))


def damaged(whole: bytes, damage) -> bytes:
    edits, length, tail = damage
    content = bytearray(whole)
    for place, found in edits:
        content[place : place + len(found)] = found
    return bytes(content[:length]) + tail


class Trials:
    """Damaged files of one reader, tried one by one."""

    def __init__(self, name: str, folder: Path):
        self.reader, self.path = READERS[name], folder / READERS[name].name
        self.reader.write(self.path)
        self.reader.read(self.path)  # whole, it is read
        self.whole = self.path.read_bytes()
        self.read = self.refused = 0

    def attempt(self, content: bytes) -> None:
        """Reads it; anything but data or an error of ours, on one line, is raised."""
        self.path.write_bytes(content)
        try:
            self.reader.read(self.path)
            self.read += 1
        except DataError as error:
            if len(str(error).splitlines()) != 1:
                raise AssertionError("an error of several lines") from error
            self.refused += 1


@contextlib.contextmanager
def bounded_memory():
    """The process grows less than `MEMORY_KIB`; parsers may warn of what they mend."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"grown by {grown / 1024:.0f} MiB")
    assert grown < MEMORY_KIB


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_errors_of_ours_or_data(tmp_path, name):
    trials = Trials(name, tmp_path)

    @settings(
        max_examples=SMALL,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(damages(len(trials.whole)))
    def attempt(damage):
        trials.attempt(damaged(trials.whole, damage))

    with bounded_memory():
        attempt()
    assert trials.refused > SMALL / 20


def drawn(rng: np.random.Generator, size: int):
    """What `damages` draws, forty times as fast."""
    edits = []
    for _ in range(rng.integers(5)):
        place = rng.integers(1 + (min(size, 160) if rng.random() < 0.5 else size))
        kind = rng.random()
        if kind < 0.5:
            found = rng.bytes(1 + rng.integers(2))
        else:
            found = struct.pack("<I" if kind < 0.75 else ">I", EXTREME[rng.integers(len(EXTREME))])
        edits.append((int(place), found))
    length = size if rng.random() < 0.7 else int(rng.integers(size + 1))
    return edits, length, rng.bytes(rng.integers(9))


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_many_damaged_files(tmp_path, name):
    trials, rng = Trials(name, tmp_path), np.random.default_rng(0)
    with bounded_memory():
        for number in range(LARGE // (20 if name == "TFRecords" else 1)):  # 30 ms each
            content = damaged(trials.whole, drawn(rng, len(trials.whole)))
            try:
                trials.attempt(content)
            except Exception as error:
                raise AssertionError(f"number {number}, {content!r}") from error
    print(f"{name}: {trials.read:,} read, {trials.refused:,} refused")
