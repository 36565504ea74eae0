"""Corruptions of the sensor: noise of three kinds."""

import numpy as np


def gaussian_noise(images, deviation, rng):
    """Normal noise of a standard deviation in [0, 1]."""
    return images + deviation * rng.standard_normal(images.shape, np.float32)


def shot_noise(images, photons, rng):
    """Poisson counts of so many photons of a white pixel."""
    return rng.poisson(images * photons) / photons


def impulse_noise(images, share, rng):
    """A share of the values black or white."""
    drawn = rng.random(images.shape, np.float32)
    black_or_white = np.where(drawn < 0.5 * share, np.float32(0.0), np.float32(1.0))
    return np.where(drawn < share, black_or_white, images)
