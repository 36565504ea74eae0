"""Corruptions of the lens: blur of four kinds."""

import numpy as np
from scipy import ndimage

from tfgen.ood.corruptions.geometry import enlarging, moved

_SMALL_DISK = 8  # up to this radius the edge is softened over 3 pixels, beyond it over 5


def defocus_blur(images, parameters, rng):
    """The mean over a disk with a softened edge."""
    del rng
    radius, softness = parameters
    kernel = _disk(radius, softness)
    return ndimage.correlate(images, kernel[None, :, :, None], mode="mirror")


def glass_blur(images, parameters, rng):
    """Pixels change places with neighbours, one after another, between two Gaussian blurs."""
    deviation, reach, rounds = parameters
    found = _gaussian(images, deviation)
    height, width = images.shape[1:3]
    which = np.arange(len(images))
    for _ in range(rounds):
        for row in range(height - reach - 1, reach - 1, -1):
            for column in range(width - reach - 1, reach - 1, -1):
                down, along = rng.integers(-reach, reach + 1, (2, len(images)))
                here = found[:, row, column].copy()
                found[:, row, column] = found[which, row + down, column + along]
                found[which, row + down, column + along] = here
    return _gaussian(found, deviation)


def motion_blur(images, parameters, rng):
    """A smear in a direction of each image's own, at most 45 degrees from the horizontal."""
    reach, deviation = parameters
    return moved(images, reach, deviation, rng.uniform(-45.0, 45.0, len(images)))


def zoom_blur(images, parameters, rng):
    """The mean of the image and of enlargements up to a factor."""
    del rng
    largest, step = parameters
    factors, total = np.arange(1.0, largest, step), images.copy()
    for factor in factors:
        rows, columns = (enlarging(size, factor) for size in images.shape[1:3])
        total += np.einsum("hi,nijc,wj->nhwc", rows, images, columns, optimize=True)
    return total / (len(factors) + 1)


def _gaussian(images, deviation):
    return ndimage.gaussian_filter(images, (0, deviation, deviation, 0), mode="nearest")


def _disk(radius, softness):
    reach = int(np.floor(radius))
    places = np.arange(-reach, reach + 1)
    disk = (places[:, None] ** 2 + places**2 <= radius**2).astype(np.float64)
    half = 1 if radius <= _SMALL_DISK else 2
    edge = np.exp(-0.5 * (np.arange(-half, half + 1) / softness) ** 2)
    edge /= edge.sum()
    return ndimage.convolve(np.pad(disk / disk.sum(), half), np.outer(edge, edge), mode="constant")
