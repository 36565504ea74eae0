"""Selective search: boxes where a picture falls into parts, by OpenCV (Uijlings et al., 2013)."""

import numpy as np

from tfgen.errors import DataError, UserError
from tfgen.ops.checks import one_of, whole_number


def selective_search(
    image, num_regions: int = 30, mode: str = "fast", least_share: float = 0.002
) -> np.ndarray:
    """Boxes of a picture, the largest structures first.

    Args:
        image: uint8 `[H, W, 3]` or `[H, W, 1]`.
        num_regions: integer M, boxes at most. Defaults to `30`.
        mode: string, "fast" or "quality", which looks at more ways to join parts. Defaults to
            `"fast"`.
        least_share: float, boxes of less than this share of the picture are left out. Defaults to
            `0.002`.

    Returns:
        float32 `[M, 4]`, x1, y1, x2, y2 in pixels, both ends included; the whole picture first, so
        that there is always one.

    Raises:
        UserError: OpenCV with its extra modules is not installed.
        DataError: it is no picture.
    """
    whole_number("num_regions", num_regions, 1)
    one_of("mode", mode, ("fast", "quality"))
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise DataError(
            f"the image has type {image.dtype} and shape {image.shape}; expected uint8 [H, W, 3]"
        )
    try:
        import cv2

        search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    except (ImportError, AttributeError) as error:
        raise UserError(
            "selective search needs OpenCV with its extra modules; pip install 'tfgen[grounding]' "
            "(opencv-contrib-python-headless), or take windows"
        ) from error
    height, width = image.shape[:2]
    whole = np.array([[0, 0, width - 1, height - 1]], np.float32)
    if min(height, width) < 8:  # nothing to part, and OpenCV fails on single pixels
        return whole
    picture = np.ascontiguousarray(np.repeat(image, 3 // image.shape[-1], axis=-1)[..., ::-1])
    search.setBaseImage(picture)
    if mode == "fast":
        search.switchToSelectiveSearchFast()
    else:
        search.switchToSelectiveSearchQuality()
    found = np.asarray(search.process(), np.float32).reshape(-1, 4)
    boxes = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:] - 1.0], axis=1)
    keep = found[:, 2] * found[:, 3] >= least_share * height * width
    boxes = np.concatenate([whole, boxes[keep]])
    _, first = np.unique(boxes, axis=0, return_index=True)
    return boxes[np.sort(first)][:num_regions]
