"""Generators whose latents are known in closed form, and an NCP sampler with the exact ratio."""

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfgen.generative import GroupPrior, LatentGenerator, PosteriorWalk
from tfgen.generative.ncp.inference import NCPInference, Ready
from tfgen.ops import gaussian

tfd = tfp.distributions


@keras.saving.register_keras_serializable(package="tfgen_tests")
class ToyVAE(LatentGenerator, keras.Model):
    """Vectors of latents; "images" are given latents of one group, decoded by N(z, 1) in a pixel.

    The aggregate posterior is whatever law the images are drawn from: each encodes to itself, up to
    `noise`. With two groups, the second is a copy of the first plus noise of scale 0.5, while its
    prior does not know of it but as context.
    """

    def __init__(self, dims=1, num_groups=1, noise=1e-3, context=True, **kwargs):
        super().__init__(**kwargs)
        self.dims, self.num_groups, self.noise, self.context = dims, num_groups, noise, context
        self.image_shape = (1, dims, 1)
        self.weight = self.add_weight(shape=(), initializer="zeros", name="unused")
        self.built = True

    @property
    def latent_shapes(self):
        return {f"z_{k}": (self.dims,) for k in range(self.num_groups)}

    @property
    def context_shapes(self):
        return {f"z_{k}": (self.dims,) if k else None for k in range(self.num_groups)}

    def _prior(self, index, first, batch):
        zeros = tf.zeros((batch, self.dims))
        if not index:
            return GroupPrior(0, zeros, zeros + 1.0, None)
        return GroupPrior(index, zeros, zeros + 1.0, first if self.context else zeros)

    def as_images(self, images, where="the array of images"):
        return tf.cast(images, tf.float32)  # any numbers: no picture

    as_images_in_dataset = as_images

    def walk_prior(self, num_images, choose):
        z = [choose(self._prior(0, None, num_images))]
        for k in range(1, self.num_groups):
            z.append(choose(self._prior(k, z[0], num_images)))
        return tfd.Normal(tf.reshape(z[0], [-1, *self.image_shape]), 1.0)

    def walk_posterior(self, images, noise):
        x = tf.reshape(tf.cast(images, tf.float32), [-1, self.dims])
        batch = tf.shape(x)[0]
        z = [x + self.noise * noise["z_0"]]
        locs, scales = [x], [self.noise]
        for k in range(1, self.num_groups):
            locs.append(z[0])
            scales.append(0.5)
            z.append(z[0] + 0.5 * noise[f"z_{k}"])
        priors = [self._prior(k, z[0], batch) for k in range(self.num_groups)]
        log_q = [gaussian.log_prob(v, m, s) for v, m, s in zip(z, locs, scales)]
        log_p = [gaussian.log_prob(v, p.loc, p.scale) for v, p in zip(z, priors)]
        kl = tf.stack([tf.reduce_sum(a - b, axis=1) for a, b in zip(log_q, log_p)], axis=1)
        sums = [tf.add_n([tf.reduce_sum(v, axis=1) for v in part]) for part in (log_q, log_p)]
        log_px = tf.reduce_sum(gaussian.log_prob(x, z[0], 1.0), axis=1)
        return PosteriorWalk(z, priors, kl, *sums, log_px)

    def call(self, images, training=False):
        return images

    def get_config(self):
        names = ("dims", "num_groups", "noise", "context")
        return {name: getattr(self, name) for name in names}


class Exact:
    """A classifier that is right by construction."""

    def __init__(self, log_r):
        self.log_r = log_r

    def context(self, w, prior):
        return None

    def __call__(self, w, z, prior, context):
        return self.log_r(z)


class ExactNCP(NCPInference):
    """An NCP sampler whose ratios are given functions of z `[B, m, dims]`."""

    def __init__(self, vae, log_ratios, num_proposals, chunk_size=64):
        self.vae, self.image_shape = vae, vae.image_shape
        self.num_proposals = [num_proposals] * len(log_ratios)
        self.chunk_size = chunk_size
        self.classifiers = [Exact(log_r) for log_r in log_ratios]

    def ready(self):
        return Ready(self.vae, [None] * len(self.classifiers), self.classifiers)


def narrow(z):
    """log N(z; 1, 1/2) / N(z; 0, 1)."""
    return tf.reduce_sum(np.log(2.0) - 2 * (z - 1) ** 2 + z**2 / 2, axis=-1)


def ring(z):
    """log of N(|z|; 1.5, 0.2) / (2 pi |z|) over N(z; 0, I) in the plane."""
    radius = tf.maximum(tf.norm(z, axis=-1), 1e-12)
    log_q = gaussian.log_prob(radius, 1.5, 0.2) - np.log(2 * np.pi) - tf.math.log(radius)
    return log_q + np.log(2 * np.pi) + radius**2 / 2


def ring_images(count, seed=0):
    """Draws of the ring as images `[count, 1, 2, 1]`."""
    rng = np.random.default_rng(seed)
    angle, radius = rng.uniform(0, 2 * np.pi, count), rng.normal(1.5, 0.2, count)
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return points.astype(np.float32).reshape(count, 1, 2, 1)


def narrow_images(count, seed=0):
    """Draws of N(1, 1/2) as images `[count, 1, 1, 1]`."""
    values = np.random.default_rng(seed).normal(1.0, 0.5, count)
    return values.astype(np.float32).reshape(count, 1, 1, 1)
