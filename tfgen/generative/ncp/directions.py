"""The few directions of a latent group in which the encoder says anything.

Most latents of a trained VAE are noise whatever the image. A classifier that sees all of them has
to find the few that are not by a signal which neither their means nor their variances betray, as
these are what the prior was fitted to; it can stay at log r = 0 for a long time. The posterior
means themselves show where to look.
"""

import numpy as np
import tensorflow as tf

from tfgen.generative.base import seeds_for


def informative_directions(
    vae, num_directions: int, num_images: int = 2000, batch_size: int = 100, seed: int = 0
) -> dict[str, np.ndarray]:
    """Principal directions of the whitened posterior means (mu_q - mu_p) / sigma_p of every group.

    The images are the generator's own samples, so that all workers find the same.

    Args:
        vae: a trained `LatentGenerator`.
        num_directions: integer d; a group of fewer latents gets as many as it has.
        num_images: integer, images encoded.
        batch_size: integer, images encoded at a time.
        seed: integer, draws the images.

    Returns:
        `{group: [size, d]}` float32: orthogonal columns in falling order, each scaled by the root
        of its second moment over the largest, so that directions of noise all but vanish.
    """
    shapes = vae.latent_shapes
    vae = vae.prepared() if not hasattr(vae, "frozen") else vae.frozen()

    @tf.function(autograph=False)
    def second_moments(seeds):
        noise = vae.draw_noise(seeds)
        values = [noise[name] for name in shapes]
        samples = vae.walk_prior(
            batch_size, lambda prior: prior.loc + prior.scale * values[prior.index]
        )
        images = samples.sample(seed=tf.stack([seeds[0], seed]))
        walk = vae.walk_posterior(images, {name: tf.zeros_like(noise[name]) for name in shapes})
        found = []
        for z, prior in zip(walk.latents, walk.priors):
            white = tf.reshape((z - prior.loc) / prior.scale, [batch_size, -1])
            found.append(tf.matmul(white, white, transpose_a=True))
        return found

    sums = None
    for start in range(0, num_images, batch_size):
        seeds = tf.constant(seeds_for(batch_size, seed + start))
        found = [np.float64(moment.numpy()) for moment in second_moments(seeds)]
        sums = found if sums is None else [a + b for a, b in zip(sums, found)]
    return {name: _principal(moment, num_directions) for name, moment in zip(shapes, sums)}


def _principal(moment: np.ndarray, count: int) -> np.ndarray:
    values, vectors = np.linalg.eigh(moment)
    values = np.maximum(values[::-1][:count], 0.0)
    largest = values[0] if values[0] > 0 else 1.0  # a group that says nothing at all
    return np.float32(vectors[:, ::-1][:, :count] * np.sqrt(values / largest))
