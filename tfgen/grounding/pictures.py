"""Pictures as models take them, whatever form they come in."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from tfgen.data.image_file import decode_image, read_header
from tfgen.data.ranges import as_levels
from tfgen.errors import DataError
from tfgen.files.names import shown


def as_pixels(image, image_shape: tuple[int, int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """A picture as a model takes it, and the height and width that it had.

    Args:
        image: path, or array `[H, W]` or `[H, W, C]`, uint8 or floats in [0, 1].
        image_shape: tuple `(H, W, C)`, what it is brought to, without regard to its proportions.

    Returns:
        float32 `[H, W, C]` in [0, 1], and a pair of integers.

    Raises:
        DataError: it is no picture.
    """
    if isinstance(image, str | os.PathLike):
        image = read_picture(image)
    image = np.asarray(image)
    image = image[..., None] if image.ndim == 2 else image
    if image.ndim != 3 or image.shape[-1] not in (1, 3, 4) or 0 in image.shape:
        raise DataError(
            f"the image has shape {image.shape}; expected a path, [H, W] or [H, W, C] with 1, 3 "
            "or 4 channels"
        )
    levels = as_levels(image[None, ..., :3] if image.shape[-1] == 4 else image[None], "the image")
    picture = Image.fromarray(levels[0].squeeze(-1) if levels.shape[-1] == 1 else levels[0])
    picture = picture.convert("L" if image_shape[-1] == 1 else "RGB")
    picture = picture.resize(image_shape[1::-1], Image.Resampling.BILINEAR)
    pixels = np.asarray(picture, np.float32).reshape(image_shape) / 255.0
    return pixels, (image.shape[0], image.shape[1])


def read_picture(path: str | os.PathLike) -> np.ndarray:
    """A file as uint8 `[H, W, 3]`, turned as its EXIF data say.

    Args:
        path: of the file, in any format of `tfgen.data`'s folders.

    Raises:
        DataError: it is no picture, or is missing or damaged.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"there is no picture {shown(path)}")
    width, height = read_header(path).size
    return decode_image(path, (height, width), 3)
