"""NVAEs small enough to ask much of in a second."""

import numpy as np
import tensorflow as tf

from tfgen.generative.nvae import NVAE

OPTIONS = {
    "image_shape": (8, 8, 1),
    "padding": 0,
    "num_channels": 4,
    "num_scales": 2,
    "num_groups": 2,
    "latent_channels": 3,
    "encoder_cells": 1,
    "decoder_cells": 1,
    "preprocess_blocks": 1,
    "preprocess_cells": 1,
    "postprocess_blocks": 1,
    "postprocess_cells": 1,
}

# One of every decoder; one to four channels; squares and not; flows, padding, a single group.
KINDS = {
    "bernoulli": {"image_shape": (8, 12, 1), "padding": 2},
    "mixture with flow": {
        "image_shape": (8, 8, 3),
        "decoder": "logistic_mixture",
        "num_mixtures": 2,
        "num_flows": 1,
        "conditional_flow": True,
    },
    "normal": {"image_shape": (8, 4, 2), "decoder": "normal", "residual_posterior": False},
    "vanilla in five bits": {
        "image_shape": (8, 8, 4),
        "decoder": "logistic_mixture",
        "num_mixtures": 2,
        "num_bits": 5,
        "num_scales": 1,
        "num_groups": 1,
    },
}


def tiny_nvae(**options) -> NVAE:
    """An NVAE as it is made."""
    return NVAE(**{**OPTIONS, **options})


def shaken_nvae(**options) -> NVAE:
    """An NVAE whose every weight and statistic is away from its initial value."""
    model = tiny_nvae(**options)
    model.build()
    rng = np.random.default_rng(5)
    for variable in model.weights:
        if "float" in str(variable.dtype):
            variable.assign(variable * rng.uniform(0.7, 1.3, variable.shape))
    for means in model.bank.means.values():
        means.assign(0.2 * rng.standard_normal(means.shape))
    return model


def draw_images(model, num_images: int, seed: int = 0) -> np.ndarray:
    """Images that the model's decoder can score: binary, on the grid of its bits, or any."""
    rng = np.random.default_rng(seed)
    images = rng.random((num_images, *model.image_shape))
    decoder = model.image_decoder
    levels = {"bernoulli": 1, "logistic_mixture": 2**decoder.num_bits - 1, "normal": 10**6}
    levels = levels[decoder.kind]
    return (np.rint(images * levels) / levels).astype(np.float32)


def normals(model, num_images: int, seed: int = 0) -> dict[str, tf.Tensor]:
    """Noise for `generate`."""
    rng = np.random.default_rng(seed)
    return {
        name: tf.constant(rng.standard_normal((num_images, *shape)), tf.float32)
        for name, shape in model.latent_shapes.items()
    }
