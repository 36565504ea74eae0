"""Which latents of a VAE get the diffusion prior, and how they look to it.

A latent z_k of prior N(loc_k, scale_k^2) given the earlier groups is whitened, (z_k - loc_k) /
scale_k, so that the VAE's prior is a standard Normal of everything. The groups of the smallest
grid, which come first, are joined over channels and get the diffusion; those of larger grids keep
the Normal (LSGM, appendix G, arXiv:2106.05931). Ours beside it: those of larger grids can join,
every block of theirs as channels of the place of the smallest grid that it lies over.
"""

import dataclasses
import itertools

import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.generative.latent import PosteriorWalk
from tfgen.ops.checks import one_of

SCOPES = ("smallest_grid", "all")


@dataclasses.dataclass(frozen=True)
class JoinedLatents:
    """The groups that get the diffusion, as one tensor.

    Attributes:
        names: tuple of their names, in the order in which they are drawn.
        shapes: tuple of their shapes: `(H, W, C)`, or `(C,)` of vectors.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, latent_shapes, scope: str = "smallest_grid") -> "JoinedLatents":
        """Those of a VAE.

        Args:
            latent_shapes: dict of the shapes of all groups, in order.
            scope: string: "smallest_grid", the first group and what follows on the same grid, or
                "all". Defaults to `"smallest_grid"`.

        Raises:
            ConfigError: there is no such scope, or a grid is no multiple of the smallest.
        """
        one_of("scope", scope, SCOPES)
        grid = tuple(next(iter(latent_shapes.values()))[:-1])
        groups = latent_shapes.items()
        if scope == "smallest_grid":
            groups = itertools.takewhile(lambda item: tuple(item[1][:-1]) == grid, groups)
        names, shapes = zip(*groups)
        found = cls(names, tuple(tuple(int(size) for size in shape) for shape in shapes))
        found.check_grids()
        return found

    def check_grids(self) -> None:
        """Refuses grids that cannot be cut into blocks over the smallest.

        Raises:
            ConfigError: one cannot.
        """
        for name, shape in zip(self.names, self.shapes):
            factors = {big // small for big, small in zip(shape, self.grid)}
            fits = all(big % small == 0 for big, small in zip(shape, self.grid))
            if len(shape) != len(self.grid) + 1 or not fits or len(factors) > 1:
                raise ConfigError(
                    f"group {name} has the shape {shape}, which does not divide into blocks over "
                    f'the first grid, {self.grid}; take scope="smallest_grid"'
                )

    @property
    def grid(self) -> tuple[int, ...]:
        """`(H, W)` of the first group, the smallest; `()` of vectors."""
        return self.shapes[0][:-1]

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each group where all are joined."""
        return tuple(shape[-1] * self._factor(shape) ** 2 for shape in self.shapes)

    @property
    def shape(self) -> tuple[int, ...]:
        """`(H, W, C)`, or `(C,)` of vectors."""
        return (*self.grid, sum(self.channels))

    def join(self, groups) -> tf.Tensor:
        """`[B, *shape]` of a list of groups, of which the first ones count."""
        return tf.concat(
            [
                tf.nn.space_to_depth(group, factor) if factor > 1 else group
                for group, factor in zip(groups, map(self._factor, self.shapes))
            ],
            axis=-1,
        )

    def split(self, joined) -> list[tf.Tensor]:
        """The groups of `[B, *shape]`."""
        return [
            tf.nn.depth_to_space(part, factor) if factor > 1 else part
            for part, factor in zip(
                tf.split(joined, self.channels, axis=-1), map(self._factor, self.shapes)
            )
        ]

    def channels_of(self, rows) -> list:
        """What is known of every group's channels, for those of the joined tensor.

        Args:
            rows: list of `[C]` arrays, one for each group.
        """
        # A block's places come first, its channels within each of them.
        return [np.tile(row, self._factor(shape) ** 2) for row, shape in zip(rows, self.shapes)]

    def _factor(self, shape) -> int:
        return shape[0] // self.grid[0] if self.grid else 1


def whitened(walk: PosteriorWalk) -> list[tf.Tensor]:
    """Every group's latents as noise: what `generate` would make them from."""
    return [(z - prior.loc) / prior.scale for z, prior in zip(walk.latents, walk.priors)]


def log_scales(walk: PosteriorWalk) -> tf.Tensor:
    """`[B]`, by how much whitening shrinks volumes: the sum of the priors' log-scales."""
    logs = [tf.math.log(prior.scale) for prior in walk.priors]
    return tf.add_n([tf.reduce_sum(log, axis=list(range(1, log.shape.rank))) for log in logs])
