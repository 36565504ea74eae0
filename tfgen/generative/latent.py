"""What a refined prior asks of a trained VAE: to be walked, latent group by latent group.

NVAE offers it, with any number of groups. A VAE of one's own joins in with three attributes and two
methods; see `LatentGenerator`.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfgen.data.doors import takes_images
from tfgen.errors import ConfigError
from tfgen.generative.base import Generator, NoiseSpec, batch_size_of, group_temperatures
from tfgen.ops import gaussian


@dataclasses.dataclass(frozen=True)
class GroupPrior:
    """The conditional prior p(z_k | z_<k) of one latent group, and what it is conditioned on.

    Attributes:
        index: integer k, from 0 on.
        loc: float32 tensor `[B, *latent_shape]`, the mean.
        scale: float32 tensor `[B, *latent_shape]`, the standard deviation.
        context: tensor `[B, ...]`, deterministic feature of the earlier groups; None for the first
            group.
    """

    index: int
    loc: tf.Tensor
    scale: tf.Tensor
    context: tf.Tensor | None


# From the prior of a group to z of that group, `[B, *latent_shape]`.
Choose = Callable[[GroupPrior], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class PosteriorWalk:
    """Images encoded once: a posterior draw of every group beside the prior it competes with.

    Attributes:
        latents: list of tensors, z of every group (after flows).
        priors: list of the `GroupPrior` of every group, given the latents before it.
        kl: `[B, L]` nats, of each group's posterior against its prior.
        log_q: `[B]`, log q(z|x).
        log_p: `[B]`, log p(z).
        log_px: `[B]`, log p(x|z).
    """

    latents: list[tf.Tensor]
    priors: list[GroupPrior]
    kl: tf.Tensor
    log_q: tf.Tensor
    log_p: tf.Tensor
    log_px: tf.Tensor


class TrainingWalk(NamedTuple):
    """A posterior walk through which a VAE learns, and what else its step needs.

    Attributes:
        walk: the `PosteriorWalk`, with gradients to the VAE's variables.
        penalty: float32 scalar, regularisation of the VAE's weights.
        updates: sequence of pairs of a variable that moves without a gradient and its next value.
    """

    walk: PosteriorWalk
    penalty: tf.Tensor
    updates: Sequence[tuple[Any, tf.Tensor]]


class LatentGenerator(Generator):
    """A generator that samples named groups of latents in turn, each from a Normal, and decodes.

    A subclass provides `image_shape`, `latent_shapes`, `context_shapes`, `walk_prior` and
    `walk_posterior`; sampling, noise, encodings, reconstructions and the bound follow.
    """

    @property
    def latent_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every group's latents, in the order in which they are drawn."""
        raise NotImplementedError

    @property
    def context_shapes(self) -> dict[str, tuple[int, ...] | None]:
        """Shape of `GroupPrior.context` of every group; None where there is none."""
        raise NotImplementedError

    def walk_prior(self, num_images, choose: Choose):
        """Draws the groups in order, asking `choose` for each, and decodes them.

        Args:
            num_images: integer B or a scalar tensor.
            choose: function from a `GroupPrior` to z of that group.

        Returns:
            A TFP distribution over images `[B, H, W, C]`.
        """
        raise NotImplementedError

    def walk_posterior(self, images, noise: dict[str, tf.Tensor]) -> PosteriorWalk:
        """Encodes `images` `[B, H, W, C]` with standard normal noise by group."""
        raise NotImplementedError

    def training_walk(self, images, noise: dict[str, tf.Tensor]) -> TrainingWalk:
        """`walk_posterior` as a training step takes it, for a VAE that is trained with its prior.

        One that behaves differently in training, or is regularised, overrides this.
        """
        return TrainingWalk(self.walk_posterior(images, noise), tf.zeros([]), ())

    def prepare_training(self) -> None:
        """Called before the first step of a training, outside of graphs."""

    def prepared(self) -> "LatentGenerator":
        """The same, made ready for many calls within one graph (weights folded, say)."""
        return self

    @property
    def groups(self) -> list[str]:
        """Names of the latent groups, in the order in which they are drawn."""
        return list(self.latent_shapes)

    @property
    def latent_dims(self) -> int:
        """Latent variables in all."""
        return sum(math.prod(shape) for shape in self.latent_shapes.values())

    def describe(self):
        return {**super().describe(), **describe_latents(self)}

    def noise_spec(self, num_images=None):
        """One standard normal per latent group."""
        return {name: NoiseSpec((num_images, *shape)) for name, shape in self.latent_shapes.items()}

    def generate(self, noise, temperature=1.0):
        values = [noise[name] for name in self.groups]
        temperatures = group_temperatures(temperature, len(values))

        def choose(prior: GroupPrior):
            scale = prior.scale * temperatures[prior.index]
            return prior.loc + scale * values[prior.index]

        return self.walk_prior(batch_size_of(values[0]), choose).mean()

    def posterior_noise(self, images, seeds=None) -> dict[str, tf.Tensor]:
        """What `walk_posterior` takes: the noise of `seeds` `[B]`, or zeros for the means."""
        if seeds is not None:
            return self.draw_noise(seeds)
        size = batch_size_of(images)
        return {name: tf.zeros((size, *shape)) for name, shape in self.latent_shapes.items()}

    @takes_images
    def encode(self, images, seeds=None) -> dict[str, tf.Tensor]:
        """Latents of images: posterior means, or draws when `seeds` `[B]` are given."""
        walk = self.walk_posterior(images, self.posterior_noise(images, seeds))
        return dict(zip(self.groups, walk.latents))

    @takes_images
    def reconstruct(self, images, seeds=None) -> tf.Tensor:
        """Decoder mean at the encoded latents, `[B, H, W, C]`."""
        walk = self.walk_posterior(images, self.posterior_noise(images, seeds))
        size = batch_size_of(walk.latents[0])
        return self.walk_prior(size, lambda prior: walk.latents[prior.index]).mean()

    @takes_images
    def negative_elbo(self, images, seeds):
        """Negative ELBO and its KL part in nats, `[B]` each, at one posterior draw per image."""
        walk = self.walk_posterior(images, self.draw_noise(seeds))
        kl = tf.reduce_sum(walk.kl, axis=1)
        return {"nelbo": kl - walk.log_px, "kl": kl}


def describe_latents(generator) -> dict:
    """The latent groups of a generator in plain values."""
    return {
        "groups": len(generator.groups),
        "latent_dims": generator.latent_dims,
        "latent_shapes": {name: list(shape) for name, shape in generator.latent_shapes.items()},
    }


def missing_from(generator: Any) -> str:
    """What a generator lacks that should be walked; empty if nothing."""
    needed = ("image_shape", "latent_shapes", "context_shapes", "walk_prior", "walk_posterior")
    return ", ".join(name for name in needed if not hasattr(generator, name))


def freeze(model: keras.Model) -> None:
    """Makes every variable of a generator untrainable, those of a loaded one too.

    Keras leaves the layers within alone when the model says that it is frozen already, as a loaded
    one does.
    """
    for layer in model._flatten_layers():
        layer.trainable = False
    for variable in model.variables:
        variable.trainable = False


def check_walk(generator: LatentGenerator, images, seeds) -> None:
    """Checks that both walks of a generator agree: for whoever brings a VAE of their own.

    The latents of `walk_posterior` are put through `walk_prior`, which must meet the same priors
    and contexts, and `log_p` must be their density there. A posterior walk that mixes up images
    (contexts of one, latents of another) would train classifiers on a label leak.

    Args:
        generator: a `LatentGenerator` to check.
        images: array or tensor `[B, H, W, C]` in [0, 1], a few images.
        seeds: `[B]` int32.

    Raises:
        ConfigError: they do not agree, and where.
    """
    walk = generator.walk_posterior(images, generator.draw_noise(seeds))
    log_p = [0.0]

    def choose(prior: GroupPrior):
        group, claimed = generator.groups[prior.index], walk.priors[prior.index]
        for name in ("loc", "scale", "context"):
            _agree(getattr(claimed, name), getattr(prior, name), f"{name} of {group!r}")
        z = walk.latents[prior.index]
        density = gaussian.log_prob(z, prior.loc, prior.scale)
        log_p[0] += tf.reduce_sum(density, axis=list(range(1, z.shape.rank)))
        return z

    generator.walk_prior(batch_size_of(images), choose)
    _agree(walk.log_p, log_p[0], "log_p")


def _agree(claimed, found, what: str):
    if claimed is None and found is None:
        return
    wrong = (claimed is None) != (found is None) or claimed.shape != found.shape
    if wrong or not np.allclose(claimed, found, rtol=1e-3, atol=1e-3):
        raise ConfigError(
            f"walk_posterior and walk_prior disagree about {what}: latents, priors and contexts of "
            "an image must belong to that image; check the order of the batch"
        )
