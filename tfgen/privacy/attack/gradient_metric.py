"""A metric on gradients in which what tells images apart counts as much as what they share.

Nearly all of a gradient is the same for any images of the same labels: features behind a rectifier
have a mean, and errors behind a mean over pixels hardly vary. What belongs to the pixels is a small
part of it, in other directions; a plain distance is near zero long before it is met, and descent
crawls. As Shampoo does with the gradients of a training (Gupta et al., 2018, arXiv:1802.09568),
every tensor is weighed by the inverse roots of its second moments along each of its
axes, here over the gradients that other images would cause.
"""

from collections.abc import Sequence

import numpy as np
import scipy.linalg
import tensorflow as tf

from tfgen.ops import random_streams
from tfgen.privacy.attack.state import Evidence
from tfgen.privacy.network.shared import SharedNetwork

# One matrix for every axis of a tensor, once some of its axes are taken as one.
Factors = list[np.ndarray]

_REFERENCES = 24  # gradients that moments are taken of
_LARGEST = 1152  # rows of a matrix that takes a second to decompose


def metric_around(network: SharedNetwork, settings, evidence: Evidence) -> list[list[tf.Tensor]]:
    """The metric of gradients that random images with the labels of a batch would cause.

    Args:
        network: the `SharedNetwork` whose gradient was shared.
        settings: the `AttackSettings` of the attack.
        evidence: the `Evidence` of the attack; its first seed draws the images.
    """
    labels = evidence.labels
    if not np.any(labels):  # they are to be optimised: any will do
        labels = tf.one_hot(np.arange(len(labels)) % network.num_classes, network.num_classes)
    stream = random_streams.number("metric references")
    rng = np.random.default_rng([int(evidence.seeds[0]), stream])
    compute = tf.function(lambda *of: network.compute(*of)[1], autograph=False)
    references = [
        compute(
            network.normalize(natural_noise(rng, (len(labels), *network.image_shape))),
            tf.cast(labels, network.dtype),
            tf.constant([int(evidence.seeds[0]), index]),
            evidence.sample_weight,
        )
        for index in range(_REFERENCES)
    ]
    arrays = [[np.asarray(g) for g in gradients] for gradients in references]
    found = metric_of(arrays, settings.metric_damping, settings.metric_power)
    return [[tf.constant(f, network.dtype) for f in factors] for factors in found]


def natural_noise(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Noise whose amplitudes fall with the frequency as those of photographs do, in [0, 1].

    Args:
        rng: NumPy generator.
        shape: tuple `(K, H, W, C)`.
    """
    height, width = shape[1:3]
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    amplitudes = 1.0 / np.maximum(frequencies, 1.0 / max(height, width))[None, :, :, None]
    spectrum = amplitudes * np.fft.fft2(rng.standard_normal(shape), axes=(1, 2))
    noise = np.fft.ifft2(spectrum, axes=(1, 2)).real
    return np.clip(0.5 + 0.25 * noise / noise.std(), 0.0, 1.0).astype(np.float32)


def metric_of(
    references: Sequence[Sequence[np.ndarray]], damping: float, power: float
) -> list[Factors]:
    """The metric of gradients like some.

    Args:
        references: sequence of gradients, one for each of several batches of images that have
            nothing to do with each other; each a sequence of arrays, one a tensor.
        damping: float, added to the eigenvalues of the moments in units of their mean.
        power: float, of the moments, which divides; 0 is the plain distance.

    Returns:
        For every tensor its factors, scaled so that the squared distance between a reference and
        their mean is 1 on average.
    """
    return [_factors(np.stack(tensors), damping, power) for tensors in zip(*references)]


def squared_length(difference: tf.Tensor, factors: Sequence[tf.Tensor]) -> tf.Tensor:
    """The square of the length of a difference between two gradients of one tensor; scalar.

    Args:
        difference: tensor, of any shape that `metric_of` was given.
        factors: sequence of matrices, see `metric_of`.
    """

    @tf.custom_gradient
    def quadratic(x):
        weighed = _apply(x, factors)

        def gradient(upstream):
            return 2.0 * upstream * weighed  # the metric is symmetric: nothing is multiplied twice

        return tf.reduce_sum(weighed * x), gradient

    return quadratic(tf.reshape(difference, [f.shape[0] for f in factors]))


def _factors(tensors, damping, power):
    """Of the gradients `[R, ...]` of one tensor."""
    shape = _folded(tensors.shape[1:])
    deviations = (tensors - tensors.mean(axis=0)).reshape(-1, *shape)
    factors, weighed = [], deviations
    for axis, size in enumerate(shape):
        rows = np.moveaxis(deviations, axis + 1, 0).reshape(size, -1)
        factors.append(_inverse_power(rows @ rows.T, damping, power))
        weighed = np.moveaxis(np.tensordot(factors[-1], weighed, (1, axis + 1)), 0, axis + 1)
    unit = np.sum(weighed * deviations) / len(tensors)
    # A tensor whose gradient no image changes has no unit, and says nothing.
    factors[0] = factors[0] / unit if unit > 0 else np.zeros_like(factors[0])
    return factors


def _folded(shape):
    """A kernel as a matrix, or where that is too large with its spatial axes as one."""
    if len(shape) < 3:
        return shape or (1,)
    patch = int(np.prod(shape[:-1], dtype=int))
    if patch <= _LARGEST:
        return patch, shape[-1]
    return int(np.prod(shape[:-2], dtype=int)), *shape[-2:]


def _inverse_power(moments, damping, power):
    dtype = moments.dtype
    mean = np.trace(moments) / len(moments)
    moments = moments.astype(np.float64)
    values, vectors = scipy.linalg.eigh(moments / mean if mean > 0 else moments)
    found = (vectors * (np.maximum(values, 0.0) + damping) ** -power) @ vectors.T
    return found.astype(dtype)


def _apply(x, factors):
    """Every factor along its axis."""
    first, *rest = factors
    shape = x.shape
    x = tf.reshape(first @ tf.reshape(x, [shape[0], -1]), shape)
    if len(rest) == 1:
        return x @ rest[0]
    return rest[0] @ (x @ rest[1]) if rest else x
