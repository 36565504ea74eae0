"""Windows that cover an image at several sizes: regions that need no detector.

Boxes are x1, y1, x2, y2 in pixels from 0 on, both ends included, everywhere in this room.
"""

from collections.abc import Sequence

import numpy as np

from tfgen.errors import ConfigError
from tfgen.ops.checks import in_range, whole_number


def windows(
    height: int, width: int, grids: Sequence[int] = (1, 2, 3), overlap: float = 0.5
) -> np.ndarray:
    """A pyramid of windows, coarse to fine.

    Args:
        height: integer, of the image in pixels.
        width: integer, likewise.
        grids: sequence of integers; g stands for windows of a g-th of each side. Defaults to
            `(1, 2, 3)`.
        overlap: float, the share of a window that its neighbour has as well: 0 is a plain grid,
            0.5 puts a window between every two. Defaults to `0.5`.

    Returns:
        float32 `[M, 4]`, rows of windows from the top left on.

    Raises:
        ConfigError: no grid; windows of less than a pixel.
    """
    in_range("overlap", overlap, 0.0, below=1.0)
    if not len(grids):
        raise ConfigError("grids is empty; expected at least one number, such as (1, 2, 3)")
    found = []
    for grid in grids:
        whole_number("a grid", grid, 1, min(height, width))
        across, down = spans(width, grid, overlap), spans(height, grid, overlap)
        found += [(x1, y1, x2, y2) for y1, y2 in down for x1, x2 in across]
    return np.asarray(found, np.float32)


def spans(length: int, grid: int, overlap: float) -> list[tuple[int, int]]:
    """First and last pixel of each window along one side.

    Args:
        length: integer, pixels of that side.
        grid: integer, see `windows`.
        overlap: float, see `windows`.
    """
    size = length / grid
    count = 1 + round((length - size) / (size * (1.0 - overlap)))
    starts = np.linspace(0.0, length - size, count)
    return [(round(start), max(round(start), round(start + size) - 1)) for start in starts]
