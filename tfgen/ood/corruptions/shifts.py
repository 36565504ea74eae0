"""Small shifts that leave an image what it is: elsewhere, turned, larger or smaller."""

import numpy as np

from tfgen.ood.corruptions.geometry import from_middle, grid, zoomed


def translate(images, share, rng):
    """By a share of the size, in a random direction, mirrored at the edges."""
    angles = rng.uniform(0.0, 2.0 * np.pi, (len(images), 1, 1))
    reach = share * max(images.shape[1:3])
    rows, columns = grid(images)
    return from_middle(images, rows - reach * np.sin(angles), columns - reach * np.cos(angles))


def rotate(images, degrees, rng):
    """By an angle, to either side."""
    angles = np.deg2rad(degrees) * rng.choice([-1.0, 1.0], (len(images), 1, 1))
    rows, columns = grid(images)
    cos, sin = np.cos(angles), np.sin(angles)
    return from_middle(images, cos * rows - sin * columns, sin * rows + cos * columns)


def scale(images, factor, rng):
    """By a factor, larger or smaller."""
    return zoomed(images, factor ** rng.choice([-1.0, 1.0], (len(images), 1, 1)))
