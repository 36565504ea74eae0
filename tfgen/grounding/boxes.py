"""Boxes in pixels, both ends included, and when one of them counts as found.

A box is x1, y1, x2, y2 from 0 on, and one pixel is (5, 5, 5, 5), as Flickr30K Entities and the
published evaluation have it. Boxes the other way round or of no extent have no area, and are found
by nothing.
"""

import numpy as np


def intersection_over_union(a, b) -> np.ndarray:
    """Of every box with every other.

    As in the published evaluation, two boxes that share a single row or column of pixels do not
    overlap.

    Args:
        a: `[N, 4]` numbers.
        b: `[K, 4]` numbers.

    Returns:
        float64 `[N, K]` in [0, 1].
    """
    a, b = (np.asarray(boxes, np.float64).reshape(-1, 4) for boxes in (a, b))
    first = np.maximum(a[:, None, :2], b[None, :, :2])
    last = np.minimum(a[:, None, 2:], b[None, :, 2:])
    extent = last - first
    shared = np.prod(extent + 1.0, axis=-1) * np.all(extent > 0, axis=-1)
    union = area(a)[:, None] + area(b)[None] - shared
    return shared / (union + 1e-6)


def area(boxes) -> np.ndarray:
    """Pixels of boxes `[..., 4]`, `[...]`; 0 for those the other way round."""
    boxes = np.asarray(boxes, np.float64)
    return np.prod(np.maximum(boxes[..., 2:] - boxes[..., :2] + 1.0, 0.0), axis=-1)


def centres(boxes) -> np.ndarray:
    """Middles x, y of boxes `[..., 4]`, `[..., 2]`."""
    boxes = np.asarray(boxes, np.float64)
    return 0.5 * (boxes[..., :2] + boxes[..., 2:])


def points_inside(points, boxes, inclusive: bool = False) -> np.ndarray:
    """Which points lie in which boxes, booleans `[N, K]`.

    Args:
        points: `[N, 2]` numbers x, y.
        boxes: `[K, 4]` numbers.
        inclusive: whether the edge counts; in the published evaluation it does not. Defaults to
            `False`.
    """
    points = np.asarray(points, np.float64).reshape(-1, 1, 2)
    boxes = np.asarray(boxes, np.float64).reshape(1, -1, 4)
    low, high = points - boxes[..., :2], boxes[..., 2:] - points
    inside = (low >= 0) & (high >= 0) if inclusive else (low > 0) & (high > 0)
    return np.all(inside, axis=-1)


def enclosing(boxes) -> np.ndarray:
    """The smallest box `[1, 4]` around boxes `[K, 4]`."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])[None]


def covered_share(boxes, image_size: tuple[float, float]) -> float:
    """The share of an image that the box around all `[K, 4]` boxes takes.

    Args:
        boxes: `[K, 4]` numbers.
        image_size: pair of numbers, height and width in pixels.
    """
    height, width = image_size
    return float(area(enclosing(boxes))[0] / (height * width))
