"""What sample-quality metrics look at: images as any Keras network sees them, by a pinned protocol.

Two FIDs can only be compared when extractor, weights, bit depth and resizing agree. All of it is
decided here, once, and travels with every result as `FeatureExtractor.protocol`.
"""

import functools
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py
import keras
import numpy as np
import tensorflow as tf

from tfgen.cores import side_by_side
from tfgen.data.doors import as_images
from tfgen.data.elements import images_of
from tfgen.data.ranges import as_levels
from tfgen.errors import DataError, reason_of
from tfgen.files.regular import regular_file

INCEPTION_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"


class FeatureExtractor:
    """Maps images in [0, 1] to feature vectors with a Keras model.

    Images are rounded to `num_bits`, grey ones repeated to the channels the model wants, resized
    (bilinear, antialiased when shrinking, half-pixel centres), scaled to `value_range`, and the
    output is averaged over space if it still has any.

    Args:
        model: any built `keras.Model` that takes one batch of images.
        name: string that says what it is in the result, None takes the model's own; a fingerprint
            of the weights is appended.
        value_range: pair of floats, what the model expects for black and white. Defaults to `(-1.0,
            1.0)`.
        num_bits: integer; images are rounded to so many bits first, as writing them to files would.
            Defaults to `8`.
        input_size: pair `(height, width)` to resize to; None is the model's own, or no resizing if
            it has none.
    """

    def __init__(
        self,
        model: keras.Model,
        name: str | None = None,
        value_range: tuple[float, float] = (-1.0, 1.0),
        num_bits: int = 8,
        input_size: tuple[int, int] | None = None,
    ):
        self.model = model
        self._value_range, self._num_bits = value_range, num_bits
        # Subclassed models may not know their input.
        shape = getattr(model, "input_shape", None) or (None,) * 4
        self._channels = shape[-1]
        self._input_size = input_size or (None if None in shape[1:3] else tuple(shape[1:3]))
        self._graphs: dict[tuple[int, ...], tf.types.experimental.PolymorphicFunction] = {}
        self._name = f"{name or model.name}#{_fingerprint(model)}"

    @property
    def protocol(self) -> dict[str, str | int]:
        """What a result has to say about how its features were made."""
        size = "none" if self._input_size is None else "x".join(map(str, self._input_size))
        return {
            "extractor": self._name,
            "bit_depth": self._num_bits,
            "resize": f"bilinear antialiased to {size}" if self._input_size else "none",
            "value_range": "[{:g}, {:g}]".format(*self._value_range),
        }

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features float32 `[B, D]` of images `[B, H, W, C]`, float in [0, 1] or uint8.

        Raises:
            DataError: another type, shape or range; NaN.
        """
        images = as_images(images)
        channels = images.shape[-1]
        if channels not in (1, self._channels or channels):
            raise DataError(
                f"the images have {channels} channels; expected {self._channels}, which "
                f"{self._name} takes, or 1"
            )
        extract = self._compiled(tuple(images.shape[1:]))
        return np.concatenate(side_by_side(lambda rows: extract(images[rows]), len(images)))

    def _compiled(self, image_shape: tuple[int, ...]):
        """One graph for each kind of image and all batch sizes."""
        if image_shape not in self._graphs:
            spec = tf.TensorSpec([None, *image_shape], tf.float32)
            self._graphs[image_shape] = tf.function(self._extract, [spec], autograph=False)
        return self._graphs[image_shape]

    def _extract(self, images: tf.Tensor) -> tf.Tensor:
        levels = 2.0**self._num_bits - 1.0
        images = tf.math.round(images * levels) / levels
        if images.shape[-1] == 1 and (self._channels or 1) > 1:
            images = tf.repeat(images, self._channels, axis=-1)
        if self._input_size is not None:
            images = tf.image.resize(images, self._input_size, "bilinear", antialias=True)
        low, high = self._value_range
        features = tf.cast(self.model(low + (high - low) * images, training=False), tf.float32)
        if features.shape.rank > 2:
            features = tf.reduce_mean(features, axis=list(range(1, features.shape.rank - 1)))
        return features


def inception_v3(weights: str | os.PathLike | None = None) -> FeatureExtractor:
    """The usual extractor: 2048 pooled features of Keras' InceptionV3 at 299x299.

    Its ImageNet weights are not those of the 2015 graph behind most published FIDs: compare numbers
    only with numbers from the same extractor, which every result names.

    Args:
        weights: path of a local weights file (`.h5` or `.weights.h5`, without the top). None takes
            Keras' own, from its cache or downloaded.

    Returns:
        A `FeatureExtractor`.

    Raises:
        DataError: if the file is missing or unfit, or nothing can be downloaded.
    """
    build = functools.partial(
        keras.applications.InceptionV3,
        include_top=False,
        pooling="avg",
        input_shape=(299, 299, 3),
    )
    if weights is None:
        return FeatureExtractor(_downloaded(build), "inception_v3")
    if not os.path.lexists(weights):
        raise DataError(f"Inception weights {weights} do not exist; give the path of a .h5 file.")
    try:
        # What is no such file is known before a network of 22 million weights is made for it.
        with h5py.File(regular_file(weights, DataError)):
            model = build(weights=None)
        model.load_weights(weights)
    except DataError:
        raise
    except Exception as error:
        # Keras raises whatever h5py or its own checks raise.
        raise DataError(
            f"Inception weights {weights} do not fit keras.applications.InceptionV3 without its "
            f"top: {reason_of(error)}"
        ) from error
    return FeatureExtractor(model, "inception_v3")


def _downloaded(build) -> keras.Model:
    try:
        return build(weights="imagenet")
    except Exception as error:
        home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
        raise DataError(
            f"Keras could not download the Inception weights; put {INCEPTION_FILE} into "
            f"{home / 'models'}, or give the path of a local copy."
        ) from error


def batches_of(images: np.ndarray | Iterable, batch_size: int) -> Iterator[np.ndarray]:
    """Image batches out of an array, or out of whatever a data set yields.

    What integers mean is decided for all of an array: a dark batch is not one of zeros and ones.
    """
    if not (tf.is_tensor(images) or isinstance(images, np.ndarray)):
        yield from (np.asarray(images_of(element)) for element in images)
        return
    images, scale = np.asarray(images), 1
    if len(images) and np.issubdtype(images.dtype, np.integer):
        images, scale = as_levels(images, "the array of images"), np.float32(255)
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        yield batch if scale == 1 else batch / scale


def _fingerprint(model: keras.Model) -> str:
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).data)
    return digest.hexdigest()[:8]
