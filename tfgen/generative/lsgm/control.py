"""Samples of a trained LSGM that are told something: what is seen, which class, between which two.

The prior's noise prediction is drawn towards what is wanted of the decoded image, with gradients
through decoder and network (`tfgen.samplers.diffusion.reconstruction_guidance`); any solver follows
it. Nothing is trained for it.
"""

from collections.abc import Callable

import tensorflow as tf

from tfgen.errors import DataError, UserError
from tfgen.generative.masking import filled_in, seen_images
from tfgen.ops.checks import in_range, whole_number
from tfgen.samplers.diffusion import spherical


class LSGMControl:
    """What `LSGM` and its frozen form have of it; `LSGMInference` brings the methods used here."""

    def sample_towards(
        self, log_prob: Callable, seeds, scale: float = 1.0, temperature: float = 1.0
    ) -> tf.Tensor:
        """Images that a log-probability is higher of: the prior times its `scale`-th power.

        Args:
            log_prob: function from images `[B, H, W, C]` to `[B]` nats, differentiable: of a class
                by a classifier of images, or of any other wish. It sees what the decoder makes of
                the latents predicted so far; it need not know noisy images.
            seeds: `[B]` int32.
            scale: float, weight of the log-probability; more exaggerates. Defaults to `1.0`.
            temperature: float, as of `generate`. Defaults to `1.0`.

        Returns:
            `[B, H, W, C]`.

        Raises:
            UserError: `scale` is negative, no gradient reaches the images, or one is not finite.
        """

        def log_likelihood(images, variance):
            del variance
            return log_prob(images)

        noise = self.draw_noise(seeds)
        images = self.generate_with_count(noise, temperature, log_likelihood, scale)[0]
        known = tf.get_static_value(tf.reduce_all(tf.math.is_finite(images)))
        if known is not None and not known:
            raise UserError(
                "the images are not finite: log_prob or its gradient was not on the way to them; "
                "expected finite numbers of whatever the decoder makes, or a lower scale"
            )
        return images

    def inpaint(self, images, mask, seeds, deviation: float = 0.1, scale: float = 1.0):
        """Fills in the hidden part of images.

        Args:
            images: `[B, H, W, C]` in [0, 1]; hidden pixels may hold anything.
            mask: `[B, H, W, C]` or what broadcasts to it; 1 where a pixel is seen, 0 where not.
            seeds: `[B]` int32, of which other ones give other completions.
            deviation: float, with which pixels count as seen, in units of the images. Defaults to
                `0.1`.
            scale: float, weight of what is seen. Defaults to `1.0`.

        Returns:
            `[B, H, W, C]`: seen pixels as given, hidden ones from the decoder's mean.

        Raises:
            DataError: the shapes do not fit, or seen pixels are out of range.
            UserError: `deviation` is not above 0, or `scale` negative.
        """
        in_range("deviation", deviation, 0.0, above=True)
        images, mask = seen_images(self, images, mask, seeds)

        def log_likelihood(found, variance):
            missed = tf.reduce_sum((mask * (found - images)) ** 2, [1, 2, 3])
            # How far the latents may lie from their prediction counts as if it were in pixels.
            return -0.5 * missed / (deviation**2 + tf.cast(variance, missed.dtype))

        noise = self.draw_noise(seeds)
        found = self.generate_with_count(noise, 1.0, log_likelihood, scale)[0]
        return filled_in(images, mask, found)

    def interpolate(self, first, second, num_steps: int = 8) -> tf.Tensor:
        """Images on the way from each of `first` to its partner in `second`.

        Both are encoded to noise by the ODE, and what lies between on the sphere is solved and
        decoded. With a solver that draws noise, which cannot encode, the way is the VAE's own.

        Args:
            first: `[B, H, W, C]` in [0, 1].
            second: tensor like `first`.
            num_steps: integer, images on each way, ends included, at least 2. Defaults to `8`.

        Returns:
            `[B, num_steps, H, W, C]`.

        Raises:
            DataError: there are not as many of both.
        """
        if not self.encodes_noise:
            return super().interpolate(first, second, num_steps)
        num_steps = whole_number("num_steps", num_steps, 2)
        if len(first) != len(second):
            raise DataError(
                f"there are {len(first)} images to begin with and {len(second)} to end with; "
                "expected one partner for each"
            )
        ends = self.encode_noise(tf.concat([first, second], axis=0))
        weights = tf.linspace(0.0, 1.0, num_steps)
        noise = {}
        for name, value in ends.items():
            between = spherical(*tf.split(value, 2), weights)  # [num_steps, B, ...]
            noise[name] = tf.reshape(between, [-1, *value.shape[1:]])
        images = tf.reshape(self.generate(noise), [num_steps, -1, *self.image_shape])
        return tf.transpose(images, [1, 0, 2, 3, 4])
