"""The noise space of a VAE, in which VAEBM samples (arXiv:2010.00654, appendix B).

Ancestral sampling is a bijection T from standard normal noise (eps_z of every latent group, eps_x
of the pixels) to (z, x). Under it h(x, z) = p(x, z) exp(-E(x)) / Z becomes

    h(eps) = exp(-E(x(eps))) N(eps; 0, I) / Z

Every coordinate has unit scale, so one step size serves all latents and pixels.

With `smoothing` s the energy sees x + s n, where n is one more normal noise of the joint density

    h(x, z, n) = p(x, z) N(n; 0, I) exp(-E(x + s n)) / Z

Data are sharper than what a decoder makes, everywhere and by little; an energy that sees them as
they are tells them apart by that, and its gradient says nothing else. Noise hides it. (Ours; the
paper has s = 0.)
"""

import math

import tensorflow as tf

from tfgen.generative.base import batch_size_of, group_temperatures
from tfgen.samplers import standard_normal_energy

PIXELS = "x"  # name of the pixels' noise
SMOOTHING = "n"  # name of the noise that smooths the energy

# The authors' code keeps the log-scale of p(x|z) above -2 where it scores, not where it draws.
OFFICIAL_SCALE_FLOOR = math.exp(-2.0) + 0.01
POTENTIALS = ("exact", "official")


def noise_shapes(vae, smoothing: float = 0.0) -> dict[str, tuple[int, ...]]:
    """Shapes of the noise by name, without a batch axis: latent groups top first, then pixels, and
    what smooths the energy if anything does."""
    image_shape = tuple(vae.image_shape)
    names = (PIXELS, SMOOTHING) if smoothing else (PIXELS,)
    return {**vae.latent_shapes, **dict.fromkeys(names, image_shape)}


class NoiseSpace:
    """From noise to images.

    Args:
        vae: a `LatentGenerator` whose image distribution has `loc` and `scale` on [-1, 1] and
            `sample_from_noise`, as an `NVAE` with a Normal decoder; best `prepared()`.
        temperature: float, scale on the standard deviation of the latents' prior.
        smoothing: float, deviation of the noise through which the energy sees images.
    """

    def __init__(self, vae, temperature=1.0, smoothing: float = 0.0):
        self.vae = vae
        self.temperature = temperature
        self.smoothing = smoothing

    def decode(self, noise):
        """Walks down the prior with given noise.

        Returns:
            The distribution of the images, and `[B]`, the sum over all latents of the prior's log
            standard deviation.
        """
        log_scales = []
        number = len(self.vae.latent_shapes)
        temperatures = group_temperatures(self.temperature, number)

        def choose(prior):
            eps = noise[self.vae.groups[prior.index]]
            scale = prior.scale * tf.cast(temperatures[prior.index], eps.dtype)
            axes = list(range(1, eps.shape.rank))
            log_scales.append(tf.reduce_sum(tf.math.log(scale), axes))
            return prior.loc + scale * eps

        first = noise[self.vae.groups[0]]
        distribution = self.vae.walk_prior(batch_size_of(first), choose)
        return distribution, tf.add_n(log_scales)

    def images(self, noise) -> tf.Tensor:
        """x(eps), `[B, H, W, C]`, clipped to [0, 1]."""
        return self.decode(noise)[0].sample_from_noise(noise[PIXELS])

    def smoothed(self, images, noise) -> tf.Tensor:
        """Images as the energy sees them."""
        return images + self.smoothing * noise[SMOOTHING] if self.smoothing else images

    def seen(self, noise) -> tf.Tensor:
        """x(eps) + s n, of which the energy is taken."""
        return self.smoothed(self.images(noise), noise)

    def mean(self, noise) -> tf.Tensor:
        """The decoder's mean at the latents' noise, `[B, H, W, C]` in [0, 1]."""
        return self.decode(noise)[0].mean()

    def exact_potential(self, energy, noise, observed=None) -> tf.Tensor:
        """U = E(x(eps)) + |eps|^2 / 2, `[B]`.

        Args:
            energy: function `[B]` of images as it sees them.
            noise: dict of tensors by name.
            observed: function `[B]` of the images themselves, which is added; None adds nothing.
        """
        images = self.images(noise)
        potential = energy(self.smoothed(images, noise)) + standard_normal_energy(noise)
        return potential if observed is None else potential + observed(images)

    def official_potential(self, energy, noise) -> tf.Tensor:
        """E - log p(z) - log p(x|z) at (z, x)(eps), `[B]`, as the authors' code samples.

        Lacks log|det dT/deps| and so prefers where the VAE's deviations are small.
        """
        distribution, log_scale = self.decode(noise)
        images = distribution.sample_from_noise(noise[PIXELS])
        latents = {name: value for name, value in noise.items() if name != PIXELS}
        scale = tf.maximum(distribution.scale, OFFICIAL_SCALE_FLOOR)
        standardized = (2.0 * images - 1.0 - distribution.loc) / scale
        terms = 0.5 * standardized**2 + tf.math.log(scale)
        return (
            energy(self.smoothed(images, noise))
            + standard_normal_energy(latents)
            + log_scale
            + tf.reduce_sum(terms, [1, 2, 3])
            + 0.5 * math.log(2.0 * math.pi) * _dimensions(noise)
        )

    def potential(self, energy, noise, kind: str = "exact") -> tf.Tensor:
        """One of `POTENTIALS` of an energy `images -> [B]`."""
        if kind == "official":
            return self.official_potential(energy, noise)
        return self.exact_potential(energy, noise)


def _dimensions(noise) -> float:
    return float(sum(x.shape[1:].num_elements() for x in noise.values()))
