"""How tiny instances of systems and parts are made, and what they are fed."""

import keras
import numpy as np
import tensorflow as tf

from tfgen import layers
from tfgen.generative.lsgm import LSGM
from tfgen.generative.ncp import NCPVAE
from tfgen.generative.nvae import NVAE
from tfgen.generative.vaebm import VAEBM
from tfgen.ood import MultiTaskOOD
from tfgen.search.hant import NetworkClassifier, mobile_network

RNG = np.random.default_rng(0)

TINY = {
    "image_shape": (8, 8, 1),
    "padding": 0,
    "num_channels": 4,
    "num_scales": 1,
    "num_groups": 2,
    "latent_channels": 3,
    "encoder_cells": 1,
    "decoder_cells": 1,
    "preprocess_blocks": 1,
    "preprocess_cells": 1,
    "postprocess_blocks": 1,
    "postprocess_cells": 1,
}


def making(type_, *arguments, **options):
    """Makes fresh instances; takes further keyword arguments of the constructor."""
    return lambda **kwargs: type_(*arguments, **{**options, **kwargs})


def nvae(**options):
    return making(NVAE, **{**TINY, **options})


def ncp(vae, **options):
    """Over a generator of its own each time."""
    options = {"width": 8, "num_cells": 1, "num_proposals": 5, "chunk_size": 16, **options}
    return lambda **kwargs: NCPVAE(vae(), **{**options, **kwargs})


TINY_ENERGY = {"architecture": [[1, True], [2, False]], "num_channels": 4}


def vaebm(vae, **options):
    """Over a generator of its own each time."""
    options = {"energy": TINY_ENERGY, "num_steps": 2, "sample_steps": 2, **options}
    return lambda **kwargs: VAEBM(vae(), **{**options, **kwargs})


TINY_NODE = [[["dilated_3x3", 0], ["skip", 1]]]
TINY_GENOTYPE = {"normal": TINY_NODE, "reduction": TINY_NODE}
TINY_SCORE = {"num_channels": 4, "multipliers": [1], "num_blocks": 1, "embedding_dims": 4}


def lsgm(vae, **options):
    """Over a generator of its own each time."""
    options = {
        "score_network": TINY_SCORE,
        "sampler": {"name": "dpm_solver", "num_steps": 3},
        "num_evaluation_times": 1,
        **options,
    }
    return lambda **kwargs: LSGM(vae(), **{**options, **kwargs})


def bank(**kwargs):
    """A bank with a row of everything."""
    result = layers.ParameterBank(**kwargs)
    result.conv(3, 4, 3)
    result.conv(4, 4, 5, depthwise=True, bias=False, weight_norm=False)
    result.dense(4, 2)
    result.batch_norm(4)
    result.group_norm(4, 2)
    result.free("start", (2, 2, 3))
    return result


def tensor(*shape):
    return tf.constant(RNG.standard_normal(shape), tf.float32)


def levels(count, *shape):
    return tf.constant(RNG.integers(0, count, shape) / (count - 1), tf.float32)


def image_batch(model, num_images=3):
    """Images that any decoder can score, as `fit` would get them."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 2, (num_images, *model.image_shape))
    return {"images": tf.constant(images, tf.float32)}


def labelled_batch(model, num_images=3):
    """Images and labels of any classifier."""
    images = np.random.default_rng(0).random((num_images, *model.image_shape))
    labels = np.arange(num_images) % (model.num_classes or 10)
    return {"images": tf.constant(images, tf.float32), "labels": tf.constant(labels, tf.int32)}


@keras.saving.register_keras_serializable(package="tfgen_tests")
def mirrored_rows(images, level):
    """A transformation of one's own."""
    return tf.reverse(images, [1])


TINY_CNN = {"name": "small_cnn", "widths": [4, 6], "strides": [1, 2]}


def detector(*transformations, **options):
    """With a threshold, as what is served has to have."""

    def make(**kwargs):
        given = {"image_shape": (8, 8, 1), **options, **kwargs}
        model = MultiTaskOOD(TINY_CNN, transformations, **given)
        for variable, value in ((model.fitted_to, 50), (model.calibrated_on, 40)):
            variable.assign(value)
        for score in model.scores.values():
            for statistic in score.weights:
                statistic.assign(statistic + 1.0)
        model.threshold.assign(1.5)
        return model

    return make


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "cat", "red", "ball"]
REGIONS = {"image_shape": (8, 8, 3), "grids": (1, 2), "crop_size": 2}


def caption_batch(model, num_examples=3):
    """Images and captions, as features or for the parts that make those."""
    rng = np.random.default_rng(0)
    batch = {"image_ids": tf.range(num_examples)}
    if model.word_encoder is not None:
        batch |= {
            "images": tf.constant(rng.random((num_examples, 8, 8, 3)), tf.float32),
            "token_ids": tf.constant(rng.integers(1, 10, (num_examples, 4))),
            "word_positions": tf.constant(rng.integers(0, 4, (num_examples, 2))),
            "negative_ids": tf.constant(rng.integers(1, 10, (num_examples, 3))),
            "noun_position": tf.constant(rng.integers(0, 4, num_examples)),
        }
        return batch
    shapes = {"regions": (4, 6), "words": (3, 5), "negatives": (3, 5)}
    features = {k: rng.normal(size=(num_examples, *shape)) for k, shape in shapes.items()}
    return batch | {name: tf.constant(value, tf.float32) for name, value in features.items()}


def network_classifier(**kwargs):
    """Around a network that is made when it is needed."""
    options = dict(stages=[(2, 4, 2, 2, 3)], stem=4, head=6)
    network = mobile_network((8, 8, 3), 4, **options)
    return NetworkClassifier(network, label_smoothing=0.1, temperature=3.0, **kwargs)
