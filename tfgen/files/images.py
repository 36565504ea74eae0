"""Many images in one picture."""

import os
from collections.abc import Iterable

import numpy as np
from PIL import Image

from tfgen.files.replacing import replace_file

_GAP = 2  # pixels between images
_GROUND = 128  # neither the black nor the white of binary images
_SMALLEST = 48  # pixels; smaller images are enlarged by a whole factor


def grid(images: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Lays images out row by row, with a gap between them.

    Args:
        images: array `[N, H, W, C]`, floats in [0, 1] or uint8. With other than three channels only
            the first is shown, in grey.
        columns: integer, images in a row; None: as many as make the grid about square.

    Returns:
        uint8 `[height, width, 3]`; small images are enlarged by a whole factor.

    Raises:
        ValueError: there is no image, or the array has another rank.
    """
    return grid_of_batches([images], len(np.asarray(images)), columns)


def grid_of_batches(
    batches: Iterable[np.ndarray], num_images: int, columns: int | None = None
) -> np.ndarray:
    """As `grid`, of images that come in batches, none of which is kept.

    Args:
        batches: arrays `[B, H, W, C]` of one image size.
        num_images: integer, how many they hold in all.
        columns: integer, images in a row; by default as many as make the grid about square.

    Returns:
        uint8 `[height, width, 3]`.

    Raises:
        ValueError: there is no image, or an array has another rank.
    """
    columns = columns or int(np.ceil(np.sqrt(num_images)))
    picture, index = None, 0
    for batch in batches:
        images = _pixels(batch)
        _, height, width, _ = images.shape
        if picture is None:
            rows = -(-num_images // columns)
            shape = (rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3)
            picture = np.full(shape, _GROUND, np.uint8)
        for image in images:
            top, left = (index // columns) * (height + _GAP), (index % columns) * (width + _GAP)
            picture[top : top + height, left : left + width] = image
            index += 1
    if picture is None:
        raise ValueError("Expected at least one batch of images; got none.")
    return picture


def save_grid(images: np.ndarray, path: str | os.PathLike, columns: int | None = None) -> None:
    """Writes `grid(images, columns)` as a PNG (or whatever the suffix says), whole or not at all.

    Args:
        images: array `[N, H, W, C]`, as in `grid`.
        path: path of the file.
        columns: integer, as in `grid`; None is about square.

    Raises:
        OSError: the folder cannot be written.
    """
    save_picture(grid(images, columns), path)


def save_picture(picture: np.ndarray, path: str | os.PathLike) -> None:
    """Writes uint8 `[H, W, 3]` as what the suffix says, whole or not at all.

    Raises:
        OSError: the folder cannot be written.
    """
    with replace_file(path) as temporary:
        Image.fromarray(picture).save(temporary)


def _pixels(images):
    """uint8 `[N, H, W, 3]`, enlarged if small; what is not a number becomes black."""
    images = np.asarray(images)
    if images.ndim != 4 or not len(images):
        raise ValueError(
            f"Expected at least one image in an array [N, H, W, C]; got shape {images.shape}."
        )
    if images.dtype != np.uint8:
        images = np.nan_to_num(images.astype(np.float32), nan=0.0, posinf=1.0, neginf=0.0)
        images = np.round(255 * np.clip(images, 0.0, 1.0)).astype(np.uint8)
    if images.shape[-1] != 3:
        images = np.repeat(images[..., :1], 3, axis=-1)
    factor = max(1, -(-_SMALLEST // max(images.shape[1:3])))
    return images.repeat(factor, axis=1).repeat(factor, axis=2)
