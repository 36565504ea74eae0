"""Which latents of a VAE get the diffusion prior, and how they look to it.

A latent z_k of prior N(loc_k, scale_k^2) given the earlier groups is whitened, (z_k - loc_k) /
scale_k, so that the VAE's prior is a standard Normal of everything. The groups of the smallest
grid, which come first, are joined over channels and get the diffusion; those of larger grids keep
the Normal (LSGM, appendix G, arXiv:2106.05931).
"""

import dataclasses
import itertools

import tensorflow as tf

from tfgen.generative.latent import PosteriorWalk


@dataclasses.dataclass(frozen=True)
class JoinedLatents:
    """The groups of the smallest grid.

    Attributes:
        names: tuple of their names, in the order in which they are drawn.
        channels: tuple of integers, channels of each.
        grid: tuple, the shape that they share: `(H, W)`, or `()` of vectors.
    """

    names: tuple[str, ...]
    channels: tuple[int, ...]
    grid: tuple[int, ...]

    @classmethod
    def of(cls, latent_shapes) -> "JoinedLatents":
        """Those of a VAE: the first group and what follows on the same grid.

        Args:
            latent_shapes: dict of the shapes of all groups, in order.
        """
        grid = tuple(next(iter(latent_shapes.values()))[:-1])
        same = itertools.takewhile(lambda item: item[1][:-1] == grid, latent_shapes.items())
        names, shapes = zip(*same)
        return cls(names, tuple(int(shape[-1]) for shape in shapes), grid)

    @property
    def shape(self) -> tuple[int, ...]:
        """`(H, W, C)`, or `(C,)` of vectors."""
        return (*self.grid, sum(self.channels))

    def join(self, groups) -> tf.Tensor:
        """`[B, *shape]` of a list of groups, of which the first ones count."""
        return tf.concat(list(groups)[: len(self.names)], axis=-1)

    def split(self, joined) -> list[tf.Tensor]:
        """The groups of `[B, *shape]`."""
        return tf.split(joined, self.channels, axis=-1)


def whitened(walk: PosteriorWalk) -> list[tf.Tensor]:
    """Every group's latents as noise: what `generate` would make them from."""
    return [(z - prior.loc) / prior.scale for z, prior in zip(walk.latents, walk.priors)]


def log_scales(walk: PosteriorWalk) -> tf.Tensor:
    """`[B]`, by how much whitening shrinks volumes: the sum of the priors' log-scales."""
    logs = [tf.math.log(prior.scale) for prior in walk.priors]
    return tf.add_n([tf.reduce_sum(log, axis=list(range(1, log.shape.rank))) for log in logs])
