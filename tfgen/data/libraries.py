"""Data sets that a library holds or fetches: scikit-learn, Keras, TensorFlow Datasets; TFRecords.

Whatever a library raises while fetching (no network, no space, a moved address) becomes a
`DataError`; `load` adds where the user can put the file by hand.
"""

import contextlib
import importlib
import os
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import tensorflow as tf

from tfgen.data.arrays import (
    MissingSplitError,
    Split,
    collect_images,
)
from tfgen.data.image_file import fit
from tfgen.data.labels import Labels, as_labels
from tfgen.data.mat_files import read_chardata_mat
from tfgen.data.ranges import as_levels
from tfgen.errors import DataError

CHARDATA_URL = "https://github.com/yburda/iwae/raw/master/datasets/OMNIGLOT/chardata.mat"
NETWORK_TIMEOUT_SECONDS = 30.0
PROBE_TIMEOUT_SECONDS = 5.0
_PROBED_HOSTS = ("storage.googleapis.com", "www.tensorflow.org")
NUM_DIGITS_TRAIN = 1500


def read_digits(split: str) -> Split:
    """scikit-learn's 1797 handwritten 8x8 digits as 16x16 intensities; embedded, no network.

    Levels 0..16 are scaled to 0..255 and the images doubled in size by bilinear interpolation, so
    that strokes have soft edges. A fixed permutation gives 1500 for training and 297 for testing:
    the file's own order groups the writers.
    """
    from sklearn.datasets import load_digits

    if split not in ("train", "test"):
        raise MissingSplitError(f"digits has the splits train and test, not {split!r}")
    data = load_digits()
    grey = (data.images / 16.0 * 255.0).astype(np.float32)
    doubled = [
        np.asarray(PIL.Image.fromarray(image).resize((16, 16), PIL.Image.Resampling.BILINEAR))
        for image in grey
    ]
    images = np.rint(np.stack(doubled)).astype(np.uint8)[..., np.newaxis]
    order = np.random.default_rng(0).permutation(len(images))
    part = order[:NUM_DIGITS_TRAIN] if split == "train" else order[NUM_DIGITS_TRAIN:]
    return Split(images[part], Labels(data.target[part].astype(np.int64)))


def fetch_keras(module: str, split: str) -> Split:
    """One split of `keras.datasets.<module>`, downloaded to Keras's own folder when needed."""
    if split not in ("train", "test"):
        raise MissingSplitError(f"keras.datasets.{module} has the splits train and test")
    with _fetching(f"keras.datasets.{module}"):
        train, test = importlib.import_module(f"keras.datasets.{module}").load_data()
    images, labels = train if split == "train" else test
    where = f"keras.datasets.{module}"
    images = as_levels(images, where)
    return Split(images, as_labels(labels, len(images), where))


def fetch_chardata(split: str) -> Split:
    """OMNIGLOT 28x28 from its authors' repository, kept in Keras's own folder."""
    import keras

    with _fetching(CHARDATA_URL):
        path = keras.utils.get_file("chardata.mat", CHARDATA_URL)
    return read_chardata_mat(Path(path), split)


def fetch_tfds(
    name: str,
    split: str,
    data_dir: Path | None,
    cache: Path,
    image_size: tuple[int, int] | None = None,
    crop: tuple[int, int, int, int] | None = None,
) -> Split:
    """One split of a data set of TensorFlow Datasets that has an `image` (and maybe a `label`).

    Args:
        name: string, with configuration and version if need be: "downsampled_imagenet/32x32".
        split: string, as TFDS knows it.
        data_dir: path where TFDS looks and downloads to; None: its own default.
        cache: path of the .npy file that a set too large for memory is unpacked to.
        image_size: pair `(height, width)` to bring every image to; None: as they are.
        crop: tuple `(left, upper, right, lower)` cut out first; None cuts nothing.

    Raises:
        DataError: the library is not installed, cannot fetch the set, or it has no images.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise DataError(
            f"the data set {name!r} comes from TensorFlow Datasets, which is not installed: "
            "pip install tensorflow-datasets"
        ) from error
    with _fetching(f"TensorFlow Datasets ({name})"):
        known = name.split("/")[0].split(":")[0]
        if known not in tfds.list_builders() and not (_tfds_folder(data_dir) / known).is_dir():
            _check_network()
        builder = tfds.builder(name, data_dir=data_dir)
        if not builder.is_prepared() and type(builder).__module__.startswith(tfds.__name__):
            _check_network()
        builder.download_and_prepare()
        if split not in builder.info.splits:
            known = ", ".join(builder.info.splits)
            raise MissingSplitError(f"TFDS {name!r} has no split {split!r}; it has {known}")
        if "image" not in builder.info.features:
            raise DataError(
                f"TFDS {name!r} has no feature 'image'; it has {', '.join(builder.info.features)}"
            )
        dataset = builder.as_dataset(split=split, shuffle_files=False)
        num_images = builder.info.splits[split].num_examples
        examples = _prepared(tfds.as_numpy(dataset), name, image_size, crop)
        first = next(examples)
        return collect_images(_chain(first, examples), num_images, first[0].shape, cache)


def read_tfrecords(folder: Path, image_shape: tuple[int, int, int], cache: Path) -> Split:
    """Glow's records of CelebA-HQ: raw uint8 bytes `data` with their `shape`, in *.tfrecords.

    Raises:
        DataError: a record is damaged, or holds images of another shape.
    """
    files = tf.data.Dataset.from_tensor_slices([str(path) for path in tfrecord_files(folder)])
    records = tf.data.TFRecordDataset(files)
    features = {
        "data": tf.io.FixedLenFeature([], tf.string),
        "shape": tf.io.FixedLenFeature([3], tf.int64),
    }

    def examples():
        for record in records.as_numpy_iterator():
            example = tf.io.parse_single_example(record, features)
            shape = tuple(example["shape"].numpy().tolist())
            if shape != image_shape:
                raise DataError(f"{folder} holds records of shape {shape}; expected {image_shape}")
            yield np.frombuffer(example["data"].numpy(), np.uint8).reshape(shape), None

    try:
        num_images = int(records.reduce(np.int64(0), lambda count, _: count + 1))
        return collect_images(examples(), num_images, image_shape, cache)
    except DataError:
        raise
    except Exception as error:  # TensorFlow's, NumPy's and Python's own.
        raise DataError(
            f"{folder} cannot be read as TFRecords of images ({_one_line(error)}); "
            "a file may be truncated: fetch it again"
        ) from error


def tfrecord_files(folder: Path) -> list[Path]:
    """The TFRecord files directly in a folder, sorted."""
    return sorted(path for path in folder.glob("*.tfrecord*") if path.is_file())


def _prepared(examples, name, image_size, crop) -> Iterator[tuple[np.ndarray, int | None]]:
    expected = None
    for example in examples:
        image = example["image"]
        if image.dtype != np.uint8:
            raise DataError(f"TFDS {name!r} has images of type {image.dtype}; expected uint8")
        if crop is not None:
            left, upper, right, lower = crop
            image = image[upper:lower, left:right]
        if image_size is not None and image.shape[:2] != image_size:
            image = _resized(image, image_size)
        expected = expected or image.shape
        if image.shape != expected:
            raise DataError(
                f"TFDS {name!r} has images of shapes {expected} and {image.shape}; "
                "give an image size to bring them to"
            )
        yield image, _one_class(example.get("label"))


def _one_class(label):
    """A number, a word or a one-hot row; what names several classes is no label here."""
    if np.ndim(label) == 1:
        label = np.asarray(label)
        one_hot = (label == 1).sum() == 1 and ((label == 0) | (label == 1)).all()
        return label if one_hot else None
    return label if np.ndim(label) == 0 else None


def _resized(image, image_size):
    squeezed = image[..., 0] if image.shape[-1] == 1 else image
    resized = np.asarray(fit(PIL.Image.fromarray(squeezed), image_size))
    return resized.reshape(*image_size, image.shape[-1])


def _chain(first, rest):
    yield first
    yield from rest


def _tfds_folder(data_dir: Path | None) -> Path:
    """Where TFDS keeps what it prepared."""
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()


def _check_network() -> None:
    """Fails in seconds where there is no network; TFDS would try again for minutes."""
    if urllib.request.getproxies():
        return  # Only whoever uses the proxy can tell.
    reason = None
    for host in _PROBED_HOSTS:
        try:
            socket.create_connection((host, 443), timeout=PROBE_TIMEOUT_SECONDS).close()
            return
        except OSError as error:
            reason = error
    raise ConnectionError(f"no network: {_PROBED_HOSTS[-1]}: {reason}")


@contextlib.contextmanager
def _fetching(what: str) -> Iterator[None]:
    # A network that swallows packets would otherwise keep a user waiting for many minutes.
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_TIMEOUT_SECONDS)
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # Libraries raise bare exceptions on top of those of four others.
        raise DataError(f"{what} cannot be fetched ({_one_line(error)})") from error
    finally:
        socket.setdefaulttimeout(timeout)


def _one_line(error: BaseException, limit: int = 200) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else f"{text[:limit]}…"
