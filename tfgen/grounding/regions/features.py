"""Features of windows of an image, by any Keras backbone or by its pixels."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfgen.grounding.regions.backbones import backbone_of, map_shape
from tfgen.grounding.regions.roi_align import align_pairs, roi_align
from tfgen.grounding.regions.windows import spans, windows
from tfgen.ops.checks import one_of, whole_number

POOLS = ("flat", "mean")


@keras.saving.register_keras_serializable(package="tfgen")
class RegionFeatures(keras.Layer):
    """Regions of an image without a detector: windows of a pyramid, cropped out of a feature map.

    Args:
        image_shape: tuple `(H, W, C)`.
        grids: sequence of integers, see `windows`. Defaults to `(1, 2, 3)`.
        overlap: float, see `windows`. Defaults to `0.5`.
        crop_size: integer, points of a crop along each side. Defaults to `7`.
        pool: string, "flat" keeps where in the crop something is, "mean" does not. Defaults to
            `"flat"`.
        backbone: a functional `keras.Model` of images in [0, 1] to a feature map, or the dict of
            one as Keras serialises it; or a dict of `filters` and perhaps `strides`, a few
            convolutions of ours (see `backbones.convolutions`); or a dict of `name` (a class of
            `keras.applications`), `weights` (None, "imagenet" or a path), `layer` (where to stop;
            None: at the end) and `scale` (what images in [0, 1] are multiplied by, 255 for most);
            None: crops are of the pixels themselves.
        train_backbone: whether the backbone learns along. Defaults to `False`.
        seed: integer, seed of the initial weights of convolutions. Defaults to `0`.
        name: string, the layer's name. Defaults to `"region_features"`.

    Call arguments:
        images: `[B, H, W, C]` in [0, 1].
        boxes: `[B, M, 4]` of other regions in pixels, both ends included; by default the windows.

    Returns:
        `[B, M, dims]` float32.

    Raises:
        ConfigError: a number is out of range, there is no such backbone, or it makes no feature map
            of such images.
    """

    def __init__(
        self,
        image_shape,
        grids=(1, 2, 3),
        overlap=0.5,
        crop_size=7,
        pool="flat",
        backbone: Any = None,
        train_backbone=False,
        seed=0,
        name="region_features",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.image_shape = tuple(int(size) for size in image_shape)
        self.grids, self.overlap = tuple(grids), overlap
        self.crop_size = whole_number("crop_size", crop_size, 1)
        self.pool = one_of("pool", pool, POOLS)
        self.train_backbone, self.seed = bool(train_backbone), int(seed)
        self.boxes = windows(*self.image_shape[:2], self.grids, overlap)
        self._given = backbone
        self.backbone, self.scale = backbone_of(backbone, self.image_shape, self.seed)
        channels = self.image_shape[-1]
        if self.backbone is not None:
            self.backbone.trainable = self.train_backbone
            *sizes, channels = map_shape(self.backbone, self.image_shape)
            self.strides = tuple(a / b for a, b in zip(self.image_shape, sizes))
        else:
            self.strides = (1.0, 1.0)
        self.dims = channels * (self.crop_size**2 if self.pool == "flat" else 1)

    @property
    def num_regions(self) -> int:
        return len(self.boxes)

    def build(self, input_shape=None):
        self.built = True

    def call(self, images, boxes=None):
        features = tf.cast(images, tf.float32)
        if self.backbone is not None:
            features = tf.cast(self.backbone(features * self.scale, training=False), tf.float32)
        scale = tuple(1.0 / stride for stride in self.strides)
        if boxes is None:
            count, crops = self.num_regions, self._window_crops(features, scale)
        else:
            count = boxes.shape[1] or tf.shape(boxes)[1]
            edges = tf.cast(boxes, tf.float32) + tf.constant([0.0, 0.0, 1.0, 1.0])
            crops = roi_align(features, edges, self.crop_size, scale)
        if self.pool == "mean":
            crops = tf.reduce_mean(crops, axis=[2, 3])
        return tf.reshape(crops, [-1, count, self.dims])

    def _window_crops(self, features, scale):
        """Of the windows, whose rows and columns are the same in all images."""
        found, (height, width) = [], self.image_shape[:2]
        for grid in self.grids:
            rows, columns = (
                np.add(spans(length, grid, self.overlap), [0, 1]) for length in (height, width)
            )
            found.append(align_pairs(features, rows, columns, self.crop_size, scale))
        return tf.concat(found, axis=1)

    def get_config(self):
        given = self._given
        if isinstance(given, keras.Model):
            given = keras.saving.serialize_keras_object(given)
        return {
            **super().get_config(),
            "image_shape": list(self.image_shape),
            "grids": list(self.grids),
            "overlap": self.overlap,
            "crop_size": self.crop_size,
            "pool": self.pool,
            "backbone": given,
            "train_backbone": self.train_backbone,
            "seed": self.seed,
        }
