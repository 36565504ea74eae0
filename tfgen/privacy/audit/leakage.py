"""How much a reconstruction shows of its original, image by image.

All scores compare images `[K, H, W, C]` in [0, 1] after `match`: the slots of an inversion are in
no order. Figures are float64 NumPy.
"""

import keras
import numpy as np
import scipy.optimize
import tensorflow as tf

from tfgen.data.doors import as_images
from tfgen.metrics import ssim
from tfgen.metrics.reconstruction import as_pair
from tfgen.privacy.attack.registration import register
from tfgen.privacy.network.forward import layers_of, replaced_calls
from tfgen.privacy.network.shared import SharedNetwork

PSNR_CAP_DB = 120.0
TIE = 1e-9  # similarities nearer than this are equal
CONSTANT = 1e-6  # what is left of a vector without its mean, relative to it, below this is rounding


def match(originals: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """For every original the reconstruction that is meant: the assignment of least squared error.

    Args:
        originals: array `[K, H, W, C]`.
        reconstructions: array `[R, H, W, C]` with R >= K.

    Returns:
        int64 `[K]`, indices into `reconstructions`.
    """
    _, columns = scipy.optimize.linear_sum_assignment(_pairwise_errors(originals, reconstructions))
    return columns


def psnr_db(originals: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio, `[K]` in decibel, at most 120: means stay finite."""
    originals, reconstructions = _pixels(originals, reconstructions)
    error = np.mean(np.square(originals - reconstructions), axis=(1, 2, 3))
    return np.minimum(PSNR_CAP_DB, -10.0 * np.log10(np.maximum(error, 1e-300)))


def registered_psnr_db(originals: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """PSNR after shifting, and if need be mirroring, each reconstruction to its original."""
    originals, reconstructions = as_pair(originals, reconstructions)
    return psnr_db(originals, register(reconstructions, originals))


def structural_similarity(originals: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """SSIM, `[K]`; 1 is equal."""
    return ssim(originals, reconstructions).numpy().astype(np.float64)


def fourier_distance(originals: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """Mean absolute difference of the magnitudes of the orthonormal 2-D spectra, `[K]`.

    Blind to cyclic shifts. (The paper's FFT_2D is not defined in public; this is our definition.)
    """
    spectra = [
        np.abs(np.fft.fft2(x, axes=(1, 2), norm="ortho"))
        for x in _pixels(originals, reconstructions)
    ]
    return np.mean(np.abs(spectra[0] - spectra[1]), axis=(1, 2, 3))


def relative_leakage(
    originals: np.ndarray, reconstructions: np.ndarray, prior: np.ndarray
) -> np.ndarray:
    """RDLV: how much more a reconstruction resembles its original than what was known before.

        (SSIM(reconstruction, original) - SSIM(prior, original)) / |SSIM(prior, original)|

    Args:
        originals: array `[K, H, W, C]`.
        reconstructions: array like `originals`, matched.
        prior: array like `originals`: what the attack shows without the gradient, matched.

    Returns:
        `[K]`; 0 is no leakage.
    """
    before = structural_similarity(originals, prior)
    after = structural_similarity(originals, reconstructions)
    return (after - before) / np.maximum(np.abs(before), 1e-3)


class FeatureDistance:
    """Distances in what a network sees: LPIPS without its learned weights.

    Activations of convolutions are normalised to unit length over channels; their squared
    differences are averaged over space and added over layers. LPIPS proper needs weights that Keras
    does not have; numbers of two networks cannot be compared, so `name` belongs to every one.

    Args:
        network: the `SharedNetwork` whose activations count; the audited network, or any other
            classifier.
        num_layers: integer, convolutions taken, evenly spaced over the depth.
    """

    def __init__(self, network: SharedNetwork, num_layers: int = 5):
        self.network = network
        convolutions = network.ordered(
            [x for x in layers_of(network.model) if isinstance(x, keras.layers.Conv2D)]
        )
        chosen = np.unique(np.linspace(0, len(convolutions) - 1, num_layers).round().astype(int))
        self._layers = [convolutions[i] for i in chosen] if convolutions else []
        self.name = f"activations of {network.model.name}: " + (
            ", ".join(layer.name for layer in self._layers) or "its input"
        )
        self._compiled = tf.function(self._activations, autograph=False, reduce_retracing=True)

    def distance(self, originals: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
        """Distances `[K]` of matched images `[K, H, W, C]`."""
        total = np.zeros(len(originals))
        for a, b in zip(self._maps(originals), self._maps(reconstructions), strict=True):
            # Where the original shows next to nothing, direction is noise and must not count.
            floor = 0.1 * np.linalg.norm(a, axis=-1).mean() + 1e-10
            a, b = (x / (np.linalg.norm(x, axis=-1, keepdims=True) + floor) for x in (a, b))
            total += np.sum(np.square(a - b), axis=-1).reshape(len(a), -1).mean(axis=1)
        return total

    def embed(self, images: np.ndarray) -> np.ndarray:
        """One vector an image `[K, D]`: activations of the last layer, averaged over a 4x4 grid."""
        pooled = []
        for start in range(0, len(images), 64):
            maps = self._maps(images[start : start + 64])[-1]
            grid = tf.image.resize(maps, [min(4, n) for n in maps.shape[1:3]], "area")
            pooled.append(np.reshape(grid, (len(maps), -1)))
        return np.concatenate(pooled).astype(np.float64)

    def _maps(self, images):
        found = self._compiled(as_images(images))
        return [x.numpy().astype(np.float64) for x in found]

    def _activations(self, images):
        if not self._layers:
            return [images]
        found = {}

        def recording(layer, original):
            def call(*arguments, **options):
                found[layer] = original(*arguments, **options)
                return found[layer]

            return call

        calls = {layer: recording(layer, layer.call) for layer in self._layers}
        with replaced_calls(calls), keras.StatelessScope():
            self.network.model(self.network.normalize(images), training=False)
        return [tf.cast(found[layer], tf.float32) for layer in self._layers]


def source_ranks(reconstructions: np.ndarray, pool: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Where the source of each reconstruction stands among its neighbours in a pool of images.

    Args:
        reconstructions: vectors `[K, D]`.
        pool: vectors `[P, D]`.
        sources: int `[K]`, the index of each source in the pool.

    Returns:
        int64 `[K]`: 0 where the nearest image, by cosine similarity of vectors without their own
        mean, is the source itself and no other is as near. The share of zeros is IIP, image
        identifiability precision. Of a source drawn at random, chance is at most 1/P; an assignment
        of reconstructions to sources raises it, see `chance`.
    """
    similarity = _unit(reconstructions) @ _unit(pool).T
    own = similarity[np.arange(len(sources)), sources]
    return np.sum(similarity >= own[:, None] - TIE, axis=1) - 1


def _pairwise_errors(a, b):
    a, b = (_float64(x).reshape(len(x), -1) for x in (a, b))
    # Differences, not the expanded square, which loses small errors to rounding.
    return np.stack([np.mean(np.square(b - row), axis=1) for row in a])


def _unit(x):
    """Vectors `[n, D]` without their mean at length one; constant ones, of no direction, at 0."""
    x = _float64(x)
    size = np.linalg.norm(x, axis=1, keepdims=True)
    x = x - x.mean(axis=1, keepdims=True)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.where(length > CONSTANT * size, x / np.maximum(length, 1e-300), 0.0)


def _pixels(originals, reconstructions) -> list[np.ndarray]:
    return [x.numpy().astype(np.float64) for x in as_pair(originals, reconstructions)]


def _float64(x):
    return np.asarray(x, np.float64)
