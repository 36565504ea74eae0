"""A `MultiTaskOOD` of two convolutions, and eight images for it."""

import numpy as np
import tensorflow as tf

from tfgen.ood import MultiTaskOOD

RNG = np.random.default_rng(0)
IMAGES = RNG.random((8, 8, 8, 1)).astype(np.float32)
LABELS = np.arange(8) % 4
CNN = {"name": "small_cnn", "widths": [4, 8], "strides": [1, 2]}
DATA = {"images": tf.constant(IMAGES), "labels": tf.constant(LABELS, tf.int32)}


def make(transformations=("rotation", "cutout", "blur"), num_classes=4, **kwargs):
    return MultiTaskOOD(CNN, transformations, (8, 8, 1), num_classes, **kwargs)


def fitted():
    """One that is as sure as a trained one, its scores fitted."""
    found = make()
    moved = np.random.default_rng(1)
    for variable in found.trainable_variables:  # batch norms and biases as well
        variable.assign(variable + 0.5 * moved.standard_normal(variable.shape))
    found.main_head.kernel.assign(4.0 * found.main_head.kernel)
    found.fit_scores(IMAGES, LABELS)
    return found
