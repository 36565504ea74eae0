"""From the decoder's output to a distribution over images (NVAE, appendix A)."""

import tensorflow as tf

from tfgen.distributions import CroppedBernoulli, DiscretizedLogisticMixture, PixelNormal
from tfgen.errors import DataError
from tfgen.ops.checks import one_of
from tfgen.ops.logistic_mixture import EDGES

DECODERS = ("bernoulli", "logistic_mixture", "normal")


class ImageDecoder:
    """Image likelihood of a VAE.

    Args:
        kind: "bernoulli", "logistic_mixture" or "normal".
        image_shape: `(H, W, C)` of the images, without padding.
        padding: integer, pixels that the network adds on every side; only the centre counts.
        num_bits: integer, bit depth of a logistic mixture.
        num_mixtures: integer, its components.
        edge: "exact", or "nvae2020" for the published code's treatment of level 254.
    """

    def __init__(self, kind, image_shape, padding, num_bits, num_mixtures, edge):
        one_of("decoder", kind, DECODERS)
        one_of("edge", edge, EDGES)
        self.kind = kind
        self.image_shape = tuple(image_shape)
        self.padding = padding
        self.num_bits = num_bits
        self.num_mixtures = num_mixtures
        self.edge = edge

    @property
    def head_channels(self) -> int:
        """Channels that the network must put out."""
        channels = self.image_shape[-1]
        per_mixture = 1 + 2 * channels + channels * (channels - 1) // 2
        return {
            "bernoulli": channels,
            "logistic_mixture": per_mixture * self.num_mixtures,
            "normal": 2 * channels,
        }[self.kind]

    def to_network(self, images) -> tf.Tensor:
        """Padded with zeros, unless already of the padded size, and moved to [-1, 1].

        Raises:
            DataError: the images have another shape.
        """
        p = self.padding
        images = tf.cast(images, tf.float32)
        self.check(images)
        if p and not self._is_padded(images):
            images = tf.pad(images, [[0, 0], [p, p], [p, p], [0, 0]])
        return 2.0 * images - 1.0

    def distribution(self, head: tf.Tensor):
        """The TFP distribution, event shape `image_shape`."""
        if self.kind == "bernoulli":
            return CroppedBernoulli(head, padding=self.padding)
        if p := self.padding:
            head = head[:, p:-p, p:-p]
        if self.kind == "normal":
            return PixelNormal(head)
        return DiscretizedLogisticMixture(
            head, num_channels=self.image_shape[-1], num_bits=self.num_bits, edge=self.edge
        )

    def log_prob(self, head: tf.Tensor, images) -> tf.Tensor:
        """`log p(x|z)`, `[B]` nats; padding, where the images carry it, does not count."""
        images = tf.cast(images, tf.float32)
        if self._is_padded(images):
            p = self.padding
            images = images[:, p:-p, p:-p]
        distribution = self.distribution(head)
        if self.kind == "normal":  # as the papers count
            return distribution.signed_log_prob(images)
        return distribution.log_prob(images)

    def check(self, images) -> None:
        """Raises a DataError unless images have the model's shape, padded or not."""
        height, width, channels = self.image_shape
        p = self.padding
        sizes = {self.image_shape, (height + 2 * p, width + 2 * p, channels)}
        given = tuple(images.shape)
        known = len(given) == 4 and any(
            all(a in (None, b) for a, b in zip(given[1:], size)) for size in sizes
        )
        if not known:
            raise DataError(
                f"images have shape {given}; this model takes [batch, {height}, {width}, "
                f"{channels}] with values in [0, 1]"
            )

    def _is_padded(self, images) -> bool:
        return self.padding > 0 and images.shape[1] == self.image_shape[0] + 2 * self.padding

    def mean(self, distribution) -> tf.Tensor:
        """Mean image in [0, 1]."""
        return distribution.mean()

    def noise_shapes(self) -> dict[str, tuple]:
        """Uniform noise that draws one image."""
        if self.kind == "logistic_mixture":
            return {
                "component": (*self.image_shape[:2], self.num_mixtures),
                "pixel": self.image_shape,
            }
        return {"pixel": self.image_shape}

    def draw(self, distribution, noise: dict[str, tf.Tensor]) -> tf.Tensor:
        """An image from the distribution and uniform noise."""
        if self.kind == "bernoulli":
            return tf.cast(noise["pixel"] < distribution.mean(), tf.float32)
        if self.kind == "logistic_mixture":
            return distribution.sample_from_noise(noise["component"], noise["pixel"])
        return distribution.quantile(tf.clip_by_value(noise["pixel"], 1e-5, 1 - 1e-5))
