"""How a client's loss depends on the logits, which decides what gradients say of labels.

Of the mean cross-entropy the derivative by the logits of image k is `(p_k - y_k) / K`, and all that
is known about labels in gradients rests on it. Sums instead of means, smoothed labels and sigmoids
change it in ways that can be told, and undone, by trying.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tfgen.privacy.network.outputs import PROBABILITIES, SIGMOID
from tfgen.privacy.network.shared import SharedNetwork

_TOLERANCE, _LEAST_ROWS = 1e-4, 4


@dataclasses.dataclass(frozen=True)
class Residual:
    """The derivative of the loss by logits, `gain / K * (p - share * y - floor)`.

    Attributes:
        link: "softmax" or "sigmoid": what makes p of logits.
        gain: float, 1 for a mean over images, K for their sum.
        share: float, what smoothing leaves of a label.
        floor: float, what it gives to every class.
    """

    link: str
    gain: float
    share: float
    floor: float


def residual_of(network: SharedNetwork, batch_size: int) -> Residual | None:
    """The residual of a network's loss, or None if a gradient of it proves no label.

    Args:
        network: the `SharedNetwork` whose loss it is.
        batch_size: integer K.
    """
    rng, num_classes = np.random.default_rng(0), network.num_classes
    trials = [
        (rng.standard_normal((batch_size, num_classes)), rng.integers(0, num_classes, batch_size))
        for _ in range(-(-_LEAST_ROWS // batch_size))
    ]
    found = batch_size * np.concatenate([_derivative(network, *trial) for trial in trials])
    logits = np.concatenate([trial[0] for trial in trials])
    labels = np.eye(num_classes)[np.concatenate([trial[1] for trial in trials])]
    for link, probabilities in (("softmax", softmax(logits)), ("sigmoid", sigmoid(logits))):
        parts = [probabilities, -labels, -np.ones_like(labels)]
        for used in (2, 3):  # without a floor if that is enough: rounding must not make one
            columns = np.stack(parts[:used], axis=-1).reshape(-1, used)
            fit = np.linalg.lstsq(columns, found.ravel(), rcond=None)[0]
            error = np.linalg.norm(columns @ fit - found.ravel())
            if fit[0] > 0 and error <= _TOLERANCE * np.linalg.norm(found):
                share, floor = fit[1] / fit[0], fit[2] / fit[0] if used == 3 else 0.0
                return Residual(link, float(fit[0]), float(share), float(floor))
    # Weights on classes or on hard examples keep the signs, on which all proofs rest.
    own = labels == 1
    gains = -found[own] / (1.0 - softmax(logits)[own])
    if gains.min() > 0 and found[~own].min(initial=0.0) > -_TOLERANCE * np.abs(found).max():
        return Residual("softmax", float(gains.mean()), 1.0, 0.0)
    return None


def _derivative(network, logits, classes):
    """`[K, N]`, of the loss by logits."""
    logits = tf.constant(logits, network.dtype)
    inputs = tf.zeros([len(classes), *network.image_shape], network.dtype)
    activation = {PROBABILITIES: tf.nn.softmax, SIGMOID: tf.nn.sigmoid}
    with tf.GradientTape() as tape:
        tape.watch(logits)
        outputs = activation.get(network.kind, tf.identity)(logits)
        loss = network.loss_of_outputs(inputs, network.one_hot(classes), outputs)
    gradient = tape.gradient(loss, logits)
    return np.zeros(logits.shape) if gradient is None else gradient.numpy().astype(np.float64)


def softmax(x: np.ndarray) -> np.ndarray:
    """Along the last axis."""
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Number by number."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))
