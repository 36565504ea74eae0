"""Every reader of data files on damaged ones: an error of ours or data, in bounded memory.

What is tried is drawn by hypothesis: cuts, foreign bytes and numbers of extreme size, mostly near
the beginning, where headers lie. Under the marker `slow`, 100,000 of each.
"""

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

from tfgen.data import arrays, libraries, mat_files
from tfgen.data.image_file import decode_image, read_header
from tfgen.errors import DataError

MEMORY_KIB = 2**20  # by which the process may grow, whatever a header of a kilobyte promises
SMALL, LARGE = 60, 100_000


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
    extreme = [0, 1, 127, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1]
    numbers = st.builds(
        lambda value, order: struct.pack(f"{order}I", value),
        st.sampled_from(extreme),
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


@pytest.mark.parametrize(
    "budget", [pytest.param(SMALL), pytest.param(LARGE, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_errors_of_ours_or_data(tmp_path, name, budget):
    reader = READERS[name]
    path = tmp_path / reader.name
    reader.write(path)
    reader.read(path)  # whole, it is read
    whole, outcomes = path.read_bytes(), {"read": 0, "refused": 0}

    @settings(
        max_examples=budget,
        deadline=None,
        database=None,
        derandomize=budget == SMALL,
        suppress_health_check=list(HealthCheck),
    )
    @given(damages(len(whole)))
    def try_one(damage):
        path.write_bytes(damaged(whole, damage))
        try:
            reader.read(path)
            outcomes["read"] += 1
        except DataError as error:
            assert "\n" not in str(error)  # noqa: PT017
            outcomes["refused"] += 1

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # parsers warn of what they mend
        try_one()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{name}: {outcomes}, grown by {grown / 1024:.0f} MiB")
    assert grown < MEMORY_KIB
    assert outcomes["refused"] > budget / 20
