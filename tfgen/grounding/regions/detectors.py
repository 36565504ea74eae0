"""Regions by a detector of KerasHub: its boxes, and features of its own pyramid within them.

RetinaNet and D-FINE find the boxes. What they computed on the way is a pyramid of feature maps;
every box is cropped by RoIAlign out of the level that suits its size and the crop is averaged
(Lin et al., arXiv:1612.03144). A detector with two stages would do the same within.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError, DataError
from tfgen.grounding.keras_hub import from_preset
from tfgen.grounding.pictures import as_pixels
from tfgen.grounding.regions.files import Regions
from tfgen.grounding.regions.roi_align import roi_align
from tfgen.ops.checks import whole_number

_PIXELS, _SIDE = 16, 224.0  # the level of this step is for boxes of this side or more, in pixels


class DetectorRegions:
    """Pictures to `Regions`, by a detector that is not trained.

    Detectors of KerasHub answer what they are sure of; for grounding more boxes are better, so that
    their decoder may be given a lower threshold: `detector.prediction_decoder`.

    Args:
        detector: a `keras_hub.models.RetinaNetObjectDetector` or `DFineObjectDetector`.
        image_shape: tuple `(H, W, 3)`, what pictures are brought to; None: the shape of the
            detector's backbone, which has to have one then.
        num_regions: integer M, boxes of a picture at most, the surest. Defaults to `30`.
        crop_size: integer, points of a crop along each side, whose mean is the feature. Defaults to
            `7`.

    Raises:
        ConfigError: it is no such detector, or takes pictures of any size and none is given.
    """

    def __init__(
        self,
        detector: Any,
        image_shape: tuple[int, int, int] | None = None,
        num_regions: int = 30,
        crop_size: int = 7,
    ):
        if not hasattr(detector, "decode_predictions") or not hasattr(detector, "backbone"):
            raise ConfigError(
                f"the detector is a {type(detector).__name__}; expected a RetinaNetObjectDetector "
                "or DFineObjectDetector of KerasHub"
            )
        shape = tuple(image_shape or detector.backbone.image_shape)
        if len(shape) != 3 or None in shape:
            raise ConfigError(
                f"the detector takes pictures of shape {shape}; give image_shape, such as "
                "(640, 640, 3)"
            )
        self.detector, self.image_shape = detector, shape
        self.num_regions = whole_number("num_regions", num_regions, 1)
        self.crop_size = whole_number("crop_size", crop_size, 1)
        self._pyramid = keras.Model(detector.backbone.inputs, _maps(detector.backbone))
        self._function = tf.function(self._found, reduce_retracing=True, autograph=False)

    @classmethod
    def from_preset(cls, preset: str = "retinanet_resnet50_fpn_v2_coco", **arguments: Any):
        """By a preset of KerasHub, or a folder that its `save_to_preset` wrote.

        Args:
            preset: string, its name or path. Defaults to `"retinanet_resnet50_fpn_v2_coco"`.
            **arguments: keyword arguments of the class.

        Raises:
            UserError: KerasHub is not installed, or the preset is not to be had.
        """
        return cls(from_preset("ObjectDetector", preset), **arguments)

    def __call__(self, image) -> Regions:
        """The regions of a picture, the surest first.

        A picture in which nothing is found has one region, the whole of it.

        Args:
            image: path, or array `[H, W]` or `[H, W, C]`, uint8 or floats in [0, 1].

        Raises:
            DataError: it is no picture.
        """
        pixels, size = as_pixels(image, self.image_shape)
        edges, scores, count, maps = self._function(tf.constant(self._prepared(pixels)))
        edges, scores = self._kept(edges[0].numpy(), scores[0].numpy(), int(count[0]))
        features = self._features(maps, edges)
        scale = np.asarray([size[1], size[0]] * 2) / np.asarray([*self.image_shape[1::-1]] * 2)
        boxes = edges * scale - [0, 0, 1, 1]
        return Regions(features, boxes.astype(np.float32), scores, size)

    def _prepared(self, pixels) -> np.ndarray:
        """What the detector's own preprocessor makes of a picture of the right size, `[1, ...]`."""
        levels = 255.0 * pixels[None]
        converter = getattr(self.detector.preprocessor, "image_converter", None)
        if converter is None:
            return levels / 255.0
        found = keras.ops.convert_to_numpy(converter(levels))
        if found.shape[1:] != self.image_shape:
            raise DataError(
                f"the detector's preprocessor makes pictures of shape {found.shape[1:]} of "
                f"{self.image_shape}; give that as image_shape"
            )
        return found.astype(np.float32)

    def _found(self, images):
        """Boxes as edges `[1, K, 4]`, scores `[1, K]`, how many, and the maps by their stride."""
        raw = self.detector(images, training=False)
        found = self.detector.decode_predictions(raw, images)
        edges = keras.utils.bounding_boxes.convert_format(
            found["boxes"],
            source=self.detector.bounding_box_format,
            target="xyxy",
            height=self.image_shape[0],
            width=self.image_shape[1],
        )
        maps = list(self._pyramid(images).values())
        return edges, found["confidence"], found["num_detections"], maps

    def _kept(self, edges, scores, count):
        """The surest boxes that have an extent within the picture; else the whole of it."""
        height, width = self.image_shape[:2]
        edges = np.clip(edges[:count], 0, [width, height, width, height]).astype(np.float32)
        scores = scores[:count].reshape(count, -1).max(1) if count else np.zeros(0)
        wide = np.flatnonzero(((edges[:, 2:] - edges[:, :2]) >= 1.0).all(1))
        order = wide[np.argsort(-scores[wide], kind="stable")][: self.num_regions]
        if not len(order):
            return np.float32([[0, 0, width, height]]), np.zeros(1, np.float32)
        return edges[order], scores[order].astype(np.float32)

    def _features(self, maps, edges) -> np.ndarray:
        strides = np.array([self.image_shape[0] / level.shape[1] for level in maps])
        side = np.sqrt(np.prod(edges[:, 2:] - edges[:, :2], axis=1))
        wanted = _PIXELS * 2.0 ** np.floor(np.log2(side / _SIDE) + 1e-6)
        chosen = np.abs(np.log2(strides)[None] - np.log2(wanted)[:, None]).argmin(1)
        features = np.zeros((len(edges), maps[0].shape[-1]), np.float32)
        for number, level in enumerate(maps):
            rows = np.flatnonzero(chosen == number)
            if len(rows):
                crops = roi_align(level, edges[rows][None], self.crop_size, 1.0 / strides[number])
                features[rows] = np.mean(crops[0], axis=(1, 2))
        return features


def _maps(backbone) -> dict[str, Any]:
    """The feature maps of a detector's backbone, finest first."""
    outputs = backbone.output
    if "encoder_last_hidden_state" in outputs:  # D-FINE, whose decoder comes along
        return {"map": outputs["encoder_last_hidden_state"]}
    return {level: outputs[level] for level in sorted(outputs)}  # P3, P4 and so on
