"""Fills in the hidden part of images, by conditioning the chain in noise space on the rest.

With a mask m of what is seen, chains sample U(eps) + |m (x(eps) - x_seen)|^2 / (2 s^2): the model
given that the seen pixels were observed with deviation s.
"""

import tensorflow as tf

from tfgen.generative.masking import filled_in, seen_images
from tfgen.generative.vaebm.noise_space import NoiseSpace
from tfgen.samplers import mala


def inpaint(
    model,
    images,
    mask,
    seeds,
    num_steps: int = 200,
    deviation: float = 0.1,
    step_size: float = 1e-3,
) -> tf.Tensor:
    """Completes images.

    Args:
        model: a `VAEBM`, live or frozen.
        images: `[B, H, W, C]` in [0, 1]; hidden pixels may hold anything finite.
        mask: `[B, H, W, C]` or what broadcasts to it; 1 where a pixel is seen, 0 where not.
        seeds: `[B]` int32, of which other ones give other completions.
        num_steps: integer, steps of MALA; in the first half every chain finds its own step size.
            Defaults to `200`.
        deviation: float s, in units of the images. Defaults to `0.1`.
        step_size: float where the step size starts. Defaults to `1e-3`.

    Returns:
        `[B, H, W, C]`: seen pixels as given, hidden ones from the decoder's mean.

    Raises:
        DataError: the shapes do not fit, or seen pixels are out of range.
    """
    images, mask = seen_images(model, images, mask, seeds)
    ready = model.ready()
    space = NoiseSpace(ready.vae, smoothing=model.smoothing)

    def observed(x):
        missed = tf.reduce_sum((mask * (x - images)) ** 2, [1, 2, 3])
        return missed / (2.0 * deviation**2)

    start = model.draw_start(seeds)
    end = mala(
        lambda noise: space.exact_potential(ready.energy, noise, observed),
        start,
        num_steps,
        step_size,
        seeds=seeds,
        num_adaptation_steps=num_steps // 2,
    ).state
    return filled_in(images, mask, space.mean(end))
