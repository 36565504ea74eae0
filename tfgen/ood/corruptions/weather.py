"""Corruptions of the weather: snow, frost, fog and brightness."""

import numpy as np
from scipy import ndimage

from tfgen.ood.corruptions.geometry import clouds, moved, zoomed

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_ICE = np.array([0.86, 0.93, 1.0], np.float32)  # its colour, on images that have any


def snow(images, parameters, rng):
    """Flakes that fall across an image that is paler for it."""
    mean, deviation, zoom, threshold, reach, motion, kept = parameters
    shape = (*images.shape[:3], 1)
    flakes = zoomed(rng.normal(mean, deviation, shape).astype(np.float32), zoom)
    flakes = np.clip(np.where(flakes < threshold, 0.0, flakes), 0.0, 1.0).astype(np.float32)
    flakes = moved(flakes, reach, motion, rng.uniform(-135.0, -45.0, len(images)))
    pale = np.maximum(images, 1.5 * _grey(images) + 0.5)
    return kept * images + (1.0 - kept) * pale + flakes + flakes[:, ::-1, ::-1]


def frost(images, parameters, rng):
    """The image behind ice.

    The published corruption takes photographs of frost. Ours is grown: the ridges of fractal noise
    at three scales, which look like needles of ice, whiter towards a side of the image.
    """
    kept, strength = parameters
    count, height, width = images.shape[:3]
    ice = np.zeros((count, height, width), np.float32)
    for decay, weight in ((1.6, 0.5), (1.3, 0.3), (1.1, 0.2)):
        ridges = 1.0 - np.abs(2.0 * clouds(count, height, width, decay, rng) - 1.0)
        ice += weight * ridges**2
    ice = ndimage.gaussian_filter(ice, (0, 0.3, 0.3), mode="nearest")
    ice = 0.25 + 0.75 * _full_range(ice * (0.6 + 0.4 * clouds(count, height, width, 3.0, rng)))
    colour = _ICE if images.shape[-1] == 3 else np.ones(images.shape[-1], np.float32)
    return kept * images + strength * ice[..., None] * colour


def fog(images, parameters, rng):
    """Fractal clouds over the image, which is no brighter than before."""
    strength, decay = parameters
    brightest = images.max(axis=(1, 2, 3), keepdims=True)
    mist = clouds(*images.shape[:3], decay, rng)[..., None]
    return (images + strength * mist) * brightest / np.maximum(brightest + strength, 1e-12)


def brightness(images, change, rng):
    """The value of HSV raised, hue and saturation kept."""
    del rng
    value = images.max(axis=-1, keepdims=True)
    raised = np.clip(value + change, 0.0, 1.0)
    ratio = np.divide(raised, value, out=np.zeros_like(value), where=value > 0.0)
    return np.where(value > 0.0, images * ratio, raised)


def _grey(images):
    if images.shape[-1] != 3:
        return images.mean(axis=-1, keepdims=True)
    return (images @ _LUMA)[..., None]


def _full_range(field):
    field = field - field.min(axis=(1, 2), keepdims=True)
    return field / np.maximum(field.max(axis=(1, 2), keepdims=True), 1e-12)
