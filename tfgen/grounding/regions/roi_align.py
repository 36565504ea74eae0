"""RoIAlign: what a feature map holds within a box, sampled between its points (He et al., 2017).

Interpolation and the mean over samples both factor into rows and columns. Of each box there are
therefore two small matrices, from rows and from columns of the map to rows and columns of the
crop, and the whole is two products in `keras.ops`.
"""

import keras
from keras import ops


def roi_align(
    features,
    boxes,
    size: int = 7,
    scale: float | tuple[float, float] = 1.0,
    samples: int = 2,
    aligned: bool = True,
):
    """Crops of feature maps.

    Args:
        features: `[B, H, W, C]` floats.
        boxes: `[B, N, 4]` floats x1, y1, x2, y2 in pixels of the image, as edges: a box of one
            pixel at the corner is (0, 0, 1, 1).
        size: integer, points of a crop along each side. Defaults to `7`.
        scale: float, points of the map per pixel of the image, 1/16 for a stride of 16; or a pair
            of them, downwards and across. Defaults to `1.0`.
        samples: integer, samples along each side of a point, whose mean is taken. Defaults to `2`.
        aligned: whether points of the map lie in the middle of their pixels; otherwise at their
            corners, as in the first version of the operation. Defaults to `True`.

    Returns:
        `[B, N, size, size, C]`, zero where samples lie beyond the map by more than a point.
    """
    height, width = features.shape[1:3]
    vertical, horizontal = _pair(scale)
    scales = ops.convert_to_tensor([horizontal, vertical, horizontal, vertical], features.dtype)
    boxes = ops.cast(boxes, features.dtype) * scales - (0.5 if aligned else 0.0)
    least = 0.0 if aligned else 1.0
    across = _weights(boxes[..., 0], boxes[..., 2], width, size, samples, least)
    down = _weights(boxes[..., 1], boxes[..., 3], height, size, samples, least)
    rows = ops.einsum("bnph,bhwc->bnpwc", down, features)
    return ops.einsum("bnqw,bnpwc->bnpqc", across, rows)


def align_pairs(
    features,
    rows,
    columns,
    size: int = 7,
    scale: float | tuple[float, float] = 1.0,
    samples: int = 2,
    aligned: bool = True,
):
    """Crops of boxes that are every span of rows with every span of columns, as those of a grid.

    They are the same in all images, and each span is sampled once for all boxes that have it.

    Args:
        features: `[B, H, W, C]` floats.
        rows: `[R, 2]` numbers y1, y2 in pixels of the image, as edges.
        columns: `[K, 2]` numbers x1, x2, likewise.
        size: integer, see `roi_align`. Defaults to `7`.
        scale: float or a pair, likewise. Defaults to `1.0`.
        samples: integer, likewise. Defaults to `2`.
        aligned: whether points lie in the middle of their pixels, likewise. Defaults to `True`.

    Returns:
        `[B, R * K, size, size, C]`, the columns of the first rows first.
    """
    height, width, channels = features.shape[1:]
    down, across = (
        _span_weights(spans, length, features.dtype, size, scaled, samples, aligned)
        for spans, length, scaled in zip((rows, columns), (height, width), _pair(scale))
    )
    found = ops.matmul(down, ops.reshape(features, (-1, height, width * channels)))
    found = ops.matmul(across, ops.reshape(found, (-1, len(rows) * size, width, channels)))
    found = ops.reshape(found, (-1, len(rows), size, len(columns), size, channels))
    found = ops.transpose(found, (0, 1, 3, 2, 4, 5))
    return ops.reshape(found, (-1, len(rows) * len(columns), size, size, channels))


def _pair(scale) -> tuple[float, float]:
    return tuple(scale) if isinstance(scale, tuple | list) else (scale, scale)


def _span_weights(spans, length, dtype, size, scale, samples, aligned):
    """From the points of one side of the map to those of all spans, `[N * size, length]`."""
    spans = ops.cast(ops.convert_to_tensor(spans), dtype) * scale - (0.5 if aligned else 0.0)
    start, end = spans[None, :, 0], spans[None, :, 1]
    found = _weights(start, end, length, size, samples, 0.0 if aligned else 1.0)
    return ops.reshape(found, (-1, length))


def _weights(start, end, length, size, samples, least):
    """From the points of one side of the map to those of the crop, `[B, N, size, length]`."""
    extent = ops.maximum(end - start, least)
    steps = (ops.arange(size * samples, dtype="float32") + 0.5) / (size * samples)
    place = ops.expand_dims(start, -1) + ops.expand_dims(extent, -1) * ops.cast(steps, start.dtype)
    inside = ops.cast(ops.logical_and(place >= -1.0, place <= length), start.dtype)
    place = ops.clip(place, 0.0, length - 1.0)
    points = ops.cast(ops.arange(length), start.dtype)
    near = ops.maximum(1.0 - ops.abs(ops.expand_dims(place, -1) - points), 0.0)
    near *= ops.expand_dims(inside, -1)
    shape = ops.shape(near)
    return ops.mean(ops.reshape(near, (*shape[:2], size, samples, length)), axis=3)


def feature_map(backbone: keras.Model, layer: str | None = None) -> keras.Model:
    """A backbone up to one of its layers, from images to `[B, H, W, C]`.

    Args:
        backbone: any functional `keras.Model` of images.
        layer: string, the layer's name; None: the last one.
    """
    if layer is None:
        return backbone
    return keras.Model(backbone.inputs, backbone.get_layer(layer).output)
