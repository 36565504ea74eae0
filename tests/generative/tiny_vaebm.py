"""VAEBMs small enough to ask much of in a second."""

import numpy as np
import tensorflow as tf
from tiny_nvae import tiny_nvae

from tfgen.generative.vaebm import VAEBM
from tfgen.optimizers import ClippedAdam

VAE = {"image_shape": (8, 8, 1), "decoder": "normal", "num_scales": 1}
ENERGY = {"architecture": ((1, True), (2, False)), "num_channels": 4}
OPTIONS = {"num_steps": 3, "step_size": 1e-3, "sample_steps": 2, "energy": ENERGY}


def tiny_vaebm(vae=None, **options) -> VAEBM:
    """A VAEBM as it is made; its VAE has a seed of its own."""
    vae = tiny_nvae(seed=3, **VAE, **(vae or {}))
    return VAEBM(vae, **{**OPTIONS, **options})


def compiled_vaebm(learning_rate=1e-3, **options) -> VAEBM:
    """Ready for `fit`."""
    model = tiny_vaebm(**options)
    model.build()
    model.compile(ClippedAdam(learning_rate, weight_decay=3e-5, use_ema=True, ema_momentum=0.9))
    return model


def images(count=8, seed=0, shape=(8, 8, 1)) -> np.ndarray:
    """Blobs of light in the dark."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    centres = rng.uniform(2, 6, (count, 2, 1, 1))
    squares = (y - centres[:, 0]) ** 2 + (x - centres[:, 1]) ** 2
    return np.exp(-squares / 4)[..., None].astype(np.float32) * np.ones(shape, np.float32)


def dataset(batch_size=8, num_images=32) -> tf.data.Dataset:
    """Endless batches."""
    data = tf.data.Dataset.from_tensor_slices({"images": images(num_images)})
    return data.repeat().batch(batch_size)
