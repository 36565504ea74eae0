"""Corruptions of processing: contrast, elastic waves, coarse pixels and JPEG."""

import io

import numpy as np
from PIL import Image
from scipy import ndimage

from tfgen.ood.corruptions.geometry import from_middle, grid


def contrast(images, factor, rng):
    """Distance from each channel's mean, shrunk by a factor."""
    del rng
    mean = images.mean(axis=(1, 2), keepdims=True)
    return (images - mean) * factor + mean


def elastic_transform(images, parameters, rng):
    """A random affine map about the middle, and waves on top of it."""
    strength, deviation, corner = parameters
    height, width = images.shape[1:3]
    size, count = max(height, width), len(images)
    rows, columns = grid(images)
    matrix, offset = _affine(count, min(height, width) / 6.0, corner * size, rng)
    row = matrix[:, 0, 0] * rows + matrix[:, 0, 1] * columns + offset[:, 0]
    column = matrix[:, 1, 0] * rows + matrix[:, 1, 1] * columns + offset[:, 1]
    if strength:
        row, column = (
            x + strength * size * _waves(count, height, width, deviation * size, rng)
            for x in (row, column)
        )
    return from_middle(images, row, column)


def pixelate(images, share, rng):
    """Averaged over boxes to a share of the size, and shown in as many squares."""
    del rng
    down = [_boxes(size, max(1, int(size * share))) for size in images.shape[1:3]]
    up = [_squares(len(matrix), matrix.shape[1]) for matrix in down]
    rows, columns = (u @ d for u, d in zip(up, down, strict=True))
    return np.einsum("hi,nijc,wj->nhwc", rows, images, columns, optimize=True)


def jpeg_compression(images, quality, rng):
    """Written as JPEG and read again; of other than 1 or 3 channels each by itself."""
    del rng
    levels = np.uint8(np.rint(255.0 * images))
    if images.shape[-1] not in (1, 3):
        channels = [jpeg_compression(images[..., k : k + 1], quality, None) for k in _range(images)]
        return np.concatenate(channels, axis=-1)
    found = np.empty(images.shape, np.float32)
    for index, image in enumerate(levels):
        written = io.BytesIO()
        Image.fromarray(image if image.shape[-1] == 3 else image[..., 0]).save(
            written, "JPEG", quality=int(quality)
        )
        found[index] = np.asarray(Image.open(written), np.float32).reshape(image.shape) / 255.0
    return found


def _range(images):
    return range(images.shape[-1])


def _affine(count, reach, corner, rng):
    """`[N, 2, 2, 1, 1]` and `[N, 2, 1, 1]`: three points `reach` from the middle that moved."""
    points = np.array([[reach, reach], [reach, -reach], [-reach, -reach]])
    targets = points + rng.uniform(-corner, corner, (count, 3, 2))
    rows = np.concatenate([points, np.ones((3, 1))], axis=1)
    solved = np.linalg.solve(rows, targets)  # [N, 3, 2]: to row and column, of row, column and 1
    matrix, offset = solved[:, :2].transpose(0, 2, 1), solved[:, 2]
    return matrix[..., None, None], offset[..., None, None]


def _waves(count, height, width, deviation, rng):
    drawn = rng.uniform(-1.0, 1.0, (count, height, width))
    return ndimage.gaussian_filter(drawn, (0, deviation, deviation), mode="reflect")


def _boxes(size, fewer):
    """`[fewer, size]`: the mean of the part of the pixels that each box covers."""
    edges = np.linspace(0.0, size, fewer + 1)
    start, end = edges[:-1, None], edges[1:, None]
    pixels = np.arange(size)
    covered = np.clip(np.minimum(end, pixels + 1) - np.maximum(start, pixels), 0.0, None)
    return (covered / covered.sum(axis=1, keepdims=True)).astype(np.float32)


def _squares(fewer, size):
    """`[size, fewer]`: the box in which the middle of each pixel lies."""
    box = np.minimum(((np.arange(size) + 0.5) * fewer / size).astype(int), fewer - 1)
    return np.eye(fewer, dtype=np.float32)[box]
