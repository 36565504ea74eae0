"""The common corruptions and small shifts of images, by name and severity."""

import numpy as np

from tfgen import stopping
from tfgen.data.doors import as_images
from tfgen.ood.corruptions import blur, digital, noise, shifts, weather
from tfgen.ood.corruptions.severities import LARGE, SHIFTED, SMALL
from tfgen.ops.checks import one_of, whole_number
from tfgen.ops.random_streams import hashed

_CHUNK = 256  # images changed at once; also what a seed is drawn for
_LARGEST_SMALL = 64  # pixels

_FUNCTIONS = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
    "translate": shifts.translate,
    "rotate": shifts.rotate,
    "scale": shifts.scale,
}
CORRUPTIONS = tuple(SMALL)
SHIFTS = tuple(SHIFTED)
SEVERITIES = (1, 2, 3, 4, 5)


def corrupt(images: np.ndarray, name: str, severity: int, seed: int = 0) -> np.ndarray:
    """Images as they would look through a poor lens, bad weather or a coarse file.

    The fifteen corruptions of Hendrycks & Dietterich (2019), from their definitions and with their
    strengths: those of CIFAR-10-C for images of at most 64 pixels, those of ImageNet-C for larger
    ones. Frost is grown from noise instead of photographs; everything random is drawn for each
    image. The shifts "translate", "rotate" and "scale" are ours.

    Args:
        images: `[N, H, W, C]` in [0, 1], or 8-bit.
        name: string, of `CORRUPTIONS` or `SHIFTS`.
        severity: integer, 1 to 5.
        seed: integer, of what is drawn. The same images and seed give the same. Defaults to `0`.

    Returns:
        float32 array `[N, H, W, C]` in [0, 1], of 256 levels as the published sets are stored.

    Raises:
        ConfigError: there is no such corruption or severity.
        DataError: these are no images.
    """
    one_of("the corruption", name, _FUNCTIONS)
    whole_number("the severity", severity, 1, 5)
    images = np.asarray(as_images(images))
    parameters = _table(images.shape)[name][severity - 1]
    found = np.empty(images.shape, np.float32)
    for first in range(0, len(images), _CHUNK):
        stopping.check()
        rng = np.random.default_rng((seed, hashed(name, severity), first))
        changed = _FUNCTIONS[name](images[first : first + _CHUNK], parameters, rng)
        found[first : first + _CHUNK] = np.rint(255.0 * np.clip(changed, 0.0, 1.0)) / 255.0
    return found


def _table(shape):
    return {**(SMALL if max(shape[1:3]) <= _LARGEST_SMALL else LARGE), **SHIFTED}
