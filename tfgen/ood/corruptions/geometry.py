"""Images at other places: sampling between pixels, motion, zooms and random clouds."""

import numpy as np


def mirrored(places: np.ndarray, size: int) -> np.ndarray:
    """Whole places folded into [0, size), mirrored at the middle of the edge pixels."""
    if size == 1:
        return np.zeros_like(places)
    period = 2 * size - 2
    places = np.mod(places, period)
    return np.where(places < size, places, period - places)


def sampled(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Images at places between pixels, bilinear, mirrored beyond the edges.

    Args:
        images: `[N, H, W, C]`.
        rows: `[N, H, W]`, where each pixel comes from.
        columns: `[N, H, W]`.
    """
    height, width = images.shape[1:3]
    which = np.arange(len(images))[:, None, None]
    top, left = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    below, right = (rows - top)[..., None], (columns - left)[..., None]

    def at(row, column):
        return images[which, mirrored(row, height), mirrored(column, width)]

    upper = at(top, left) * (1.0 - right) + at(top, left + 1) * right
    lower = at(top + 1, left) * (1.0 - right) + at(top + 1, left + 1) * right
    return (upper * (1.0 - below) + lower * below).astype(np.float32)


def grid(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns `[1, H, W]` of the pixels, from the middle of the image."""
    height, width = images.shape[1:3]
    rows = np.arange(height) - (height - 1) / 2.0
    columns = np.arange(width) - (width - 1) / 2.0
    return rows[None, :, None] + 0.0 * columns, columns[None, None, :] + 0.0 * rows[:, None]


def from_middle(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """`sampled` at places from the middle of the image."""
    height, width = images.shape[1:3]
    return sampled(images, rows + (height - 1) / 2.0, columns + (width - 1) / 2.0)


def zoomed(images: np.ndarray, factor) -> np.ndarray:
    """Enlarged about the middle by a factor, or one for each image `[N, 1, 1]`; same size."""
    rows, columns = (x / factor + np.zeros((len(images), 1, 1)) for x in grid(images))
    return from_middle(images, rows, columns)


def enlarging(size: int, factor: float) -> np.ndarray:
    """`[size, size]` that enlarges a row of pixels about its middle by a factor of at least 1."""
    middle = (size - 1) / 2.0
    places = (np.arange(size) - middle) / factor + middle
    first = np.minimum(np.floor(places).astype(int), max(size - 2, 0))
    share = (places - first).astype(np.float32)
    found = np.zeros((size, size), np.float32)
    found[np.arange(size), first] = 1.0 - share
    found[np.arange(size), np.minimum(first + 1, size - 1)] += share
    return found


def moved(images: np.ndarray, reach: int, deviation: float, angles: np.ndarray) -> np.ndarray:
    """Smeared in one direction, by the half of a Gaussian.

    Args:
        images: `[N, H, W, C]`.
        reach: integer, the smear is `2 reach + 1` pixels long.
        deviation: float, standard deviation in pixels.
        angles: `[N]`, directions in degrees.
    """
    length = 2 * reach + 1
    weights = np.exp(-0.5 * (np.arange(length) / deviation) ** 2)
    weights /= weights.sum()
    down, along = np.sin(np.deg2rad(angles)), np.cos(np.deg2rad(angles))
    height, width = images.shape[1:3]
    which, found = np.arange(len(images))[:, None, None], np.zeros_like(images)
    for step, weight in enumerate(weights):
        if weight < 1e-4:
            break
        row = np.rint(step * down).astype(int)[:, None, None] + np.arange(height)[None, :, None]
        column = np.rint(step * along).astype(int)[:, None, None] + np.arange(width)[None, None]
        row, column = np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)
        found += np.float32(weight) * images[which, row, column]
    return found


def clouds(count: int, height: int, width: int, decay: float, rng) -> np.ndarray:
    """Fractal noise `[N, H, W]` in [0, 1] by the diamond-square algorithm, which wraps around.

    Args:
        count: integer N.
        height: integer H.
        width: integer W.
        decay: float, what the noise is divided by from one grid to the next finer.
        rng: a NumPy generator.
    """
    size = 1 << max(1, int(np.ceil(np.log2(max(height, width, 2)))))
    field, step, strength = np.zeros((count, size, size), np.float32), size, 1.0
    while step >= 2:
        half = step // 2
        corners = field[:, ::step, ::step]
        right, down = np.roll(corners, -1, axis=2), np.roll(corners, -1, axis=1)
        middle = (corners + right + down + np.roll(right, -1, axis=1)) / 4.0
        field[:, half::step, half::step] = middle + _noise(middle, strength, rng)
        middle = field[:, half::step, half::step]
        above, before = np.roll(middle, 1, axis=1), np.roll(middle, 1, axis=2)
        top = (corners + right + middle + above) / 4.0
        side = (corners + down + middle + before) / 4.0
        field[:, ::step, half::step] = top + _noise(top, strength, rng)
        field[:, half::step, ::step] = side + _noise(side, strength, rng)
        step, strength = half, strength / decay
    field -= field.min(axis=(1, 2), keepdims=True)
    field /= np.maximum(field.max(axis=(1, 2), keepdims=True), 1e-12)
    return field[:, :height, :width]


def _noise(like, strength, rng):
    return rng.uniform(-strength, strength, like.shape)
