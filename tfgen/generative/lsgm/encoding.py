"""Latents of a data set as the prior sees them: cached once, and looked at before training."""

import numpy as np
import tensorflow as tf

from tfgen import stopping
from tfgen.data.elements import images_of
from tfgen.errors import DataError
from tfgen.generative.base import seeds_for
from tfgen.generative.lsgm.latents import whitened
from tfgen.ops.random_streams import SAMPLE_STRIDE

LATENTS = "latents"  # the name of cached latents among the arrays of a batch
_MODERATE = (0.2, 5.0)  # mean squares of latents that a diffusion towards N(0, 1) starts well from
_INACTIVE_LOGIT = -15.0  # of channels that are left to the Normal prior


class LSGMEncoding:
    """What `LSGM` does with data before it learns."""

    def encode_latents(self, dataset, draws_per_image: int = 1, seed: int = 0) -> np.ndarray:
        """Whitened latents of a data set, to train the prior on without encoding again.

        Args:
            dataset: iterable of batches, of images or of what holds them by name.
            draws_per_image: integer, posterior draws of every image. Defaults to `1`.
            seed: integer, seed of the draws. Defaults to `0`.

        Returns:
            `[N * draws_per_image, *latents of the diffusion]` float32: `fit({"latents": array})`.

        Raises:
            DataError: there are no images, or the latents are far from a standard Normal's size.
        """
        self.ensure_built()

        @tf.function(autograph=False, reduce_retracing=True)
        def encode(images, seeds):
            walk = self.vae.prepared().walk_posterior(images, self.vae.draw_noise(seeds))
            return self.joined.join(whitened(walk))

        found, done = [], 0
        for batch in dataset:
            stopping.check()
            images = self.as_images(images_of(batch))
            own = seeds_for(done + len(images), seed)[done:]
            found += [
                encode(images, tf.constant(own ^ (k * SAMPLE_STRIDE))).numpy()
                for k in range(draws_per_image)
            ]
            done += len(images)
        if not found:
            raise DataError("the data set to encode is empty; expected at least one image")
        latents = np.concatenate(found)
        check_size(latents)
        return latents

    def deactivate_channels(self, images, threshold: float = 0.1, seed: int = 0) -> int:
        """Leaves to the Normal prior all channels that carry less than `threshold` nats.

        The network neither sees nor touches them any more.

        Args:
            images: `[B, H, W, C]`, some hundreds.
            threshold: float, nats of a channel, summed over the grid. Defaults to `0.1`.
            seed: integer, seed of the posterior draws. Defaults to `0`.

        Returns:
            How many channels are left to it in all.
        """
        return self._leave_to_normal(self.channels_that_carry(images, threshold, seed))

    def channels_that_carry(self, images, threshold: float, seed: int = 0) -> np.ndarray:
        """Which channels of the diffusion's latents carry more than `threshold` nats, `[C]` bool.

        Args:
            images: `[B, H, W, C]`, some hundreds.
            threshold: float, nats of a channel, summed over the grid.
            seed: integer, seed of the posterior draws. Defaults to `0`.
        """
        self.ensure_built()
        seeds = self.seeds_for(len(images), seed)
        kl = np.asarray(self.vae.kl_per_channel(images, seeds))
        rows = [np.ravel(kl[k]) for k in range(len(self.joined.names))]
        return np.concatenate(self.joined.channels_of(rows)) > threshold

    def _leave_to_normal(self, carries) -> int:
        active = carries.astype(np.float32)
        self.active.assign(active)
        if self._options["mixing_logit"] is not None:
            logit = self.mixing_logit.numpy()
            self.mixing_logit.assign(np.where(active, logit, _INACTIVE_LOGIT))
        return int(np.sum(active == 0.0))


def latents_of(data) -> tf.Tensor | None:
    """Cached latents of a batch; None where it holds images.

    Args:
        data: a dict of arrays by name, or images.
    """
    return (
        tf.cast(data[LATENTS], tf.float32) if isinstance(data, dict) and LATENTS in data else None
    )


def check_size(latents: np.ndarray) -> None:
    """Refuses latents that a diffusion towards N(0, 1) cannot start from.

    Args:
        latents: array of any shape.

    Raises:
        DataError: they are not finite, or their mean square is far from 1.
    """
    square = float(np.mean(np.square(latents, dtype=np.float64)))
    if not np.isfinite(square):
        raise DataError("the latents hold NaN or infinities; encode the images anew")
    least, most = _MODERATE
    if not least <= square <= most:
        raise DataError(
            f"the latents have mean square {square:.3g}, a standard Normal has 1; train the VAE "
            "with its full KL term, or give encode_latents a VAE whose prior fits its posterior"
        )
