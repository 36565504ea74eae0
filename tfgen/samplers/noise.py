"""Where chains get their random numbers: given, or drawn statelessly.

Exactly one of three sources feeds a sampler:

    noise=   tensors made beforehand, for replay, tests and exported graphs without random ops
    seeds=   one int32 per chain: no chain depends on the batch it runs in
    seed=    two integers for the whole batch: the fastest, for training
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.ops.philox import normal_like
from tfgen.ops.random_streams import fold_in, number
from tfgen.ops.seeded_rows import seeded_rows
from tfgen.samplers.checks import one_per_chain
from tfgen.samplers.state import num_chains


class ChainNoise(NamedTuple):
    """All noise of a chain, made beforehand.

    Attributes:
        normal: nested tensors like the state with an axis of steps before it: leaves `[K, B, ...]`.
        uniform: `[K, B]` in (0, 1) for samplers that accept or reject; None for others.
    """

    normal: Any
    uniform: tf.Tensor | None = None


class NoiseSource:
    """One way to get the noise of a step; see the head of this file.

    Args:
        noise: a `ChainNoise`, or its `normal` alone.
        seeds: `[B]` int32.
        seed: two integers.

    Raises:
        UserError: not exactly one source is given, or `seed` is no pair of integers.
    """

    def __init__(self, noise=None, seeds=None, seed=None):
        sources = {"noise": noise, "seeds": seeds, "seed": seed}
        given = [name for name, source in sources.items() if source is not None]
        if len(given) != 1:
            raise UserError(
                f"a sampler takes one of noise=, seeds= and seed=; got {', '.join(given) or 'none'}"
            )
        noise = noise if isinstance(noise, ChainNoise) or noise is None else ChainNoise(noise)
        # Arrays that a program closes over cannot be indexed within its loop; tensors can.
        self._noise = tf.nest.map_structure(
            lambda given: None if given is None else tf.convert_to_tensor(given), noise
        )
        self._seeds = None if seeds is None else tf.convert_to_tensor(seeds, tf.int32)
        self._seed = None if seed is None else pair_of_integers(seed)

    def covering(self, state, num_steps: int, accepts: bool = False) -> "NoiseSource":
        """Itself, once it is known to last for the steps of all chains.

        Args:
            state: nested tensors, that of the chains, prepared.
            num_steps: integer K.
            accepts: whether the sampler accepts or rejects. Default: `False`.

        Returns:
            This source.

        Raises:
            UserError: it has fewer steps, other shapes, or seeds for other chains.
        """
        if self._seeds is not None:
            one_per_chain("seeds", self._seeds, num_chains(state))
        if self._noise is None:
            return self
        leaves = tf.nest.flatten(state)
        shapes = [np.shape(given) for given in tf.nest.flatten(self._noise.normal)]
        wanted = [tuple(leaf.shape) for leaf in leaves]
        if accepts and self._noise.uniform is not None:
            shapes.append(np.shape(self._noise.uniform))
            wanted.append(tuple(leaves[0].shape[:1]))
        fits = len(shapes) == len(wanted) and all(
            len(shape) == len(want) + 1
            and (shape[0] is None or shape[0] >= num_steps)
            and tf.TensorShape(shape[1:]).is_compatible_with(want)
            for shape, want in zip(shapes, wanted)
        )
        if not fits:
            expected = ", ".join(str((num_steps, *want)) for want in wanted)
            raise UserError(
                f"the noise has shapes {', '.join(map(str, shapes))}; expected {expected}, like "
                "the state with an axis of steps before it"
            )
        return self

    def normal(self, step, like) -> Any:
        """Standard normals of a step, like the state."""
        leaves = tf.nest.flatten(like)
        if self._noise is not None:
            given = tf.nest.flatten(self._noise.normal)
            drawn = [tf.cast(g[step], x.dtype) for g, x in zip(given, leaves, strict=True)]
        elif self._seeds is not None:
            drawn = normal_rows(self._seeds, number("image chain normal", step), leaves)
        else:
            key = fold_in(self._seed, number("chain normal", step))
            drawn = [normal_like(x, fold_in(key, index)) for index, x in enumerate(leaves)]
        return tf.nest.pack_sequence_as(like, drawn)

    def uniform(self, step, like) -> tf.Tensor:
        """`[B]` in [0, 1) of a step."""
        dtype = tf.nest.flatten(like)[0].dtype
        if self._noise is not None:
            if self._noise.uniform is None:
                raise UserError(
                    "this sampler accepts or rejects: give noise=ChainNoise(normal, uniform) with "
                    "uniform numbers [steps, batch]"
                )
            return tf.cast(self._noise.uniform[step], dtype)
        if self._seeds is not None:
            word = number("image chain uniform", step)
            return tf.cast(seeded_rows(self._seeds, word, 1, "uniform")[:, 0], dtype)
        key = fold_in(self._seed, number("chain uniform", step))
        return tf.random.stateless_uniform([num_chains(like)], key, dtype=dtype)


def pair_of_integers(seed) -> tf.Tensor:
    """A seed as int32 `[2]`; raises a UserError where it is none."""
    pair = tf.convert_to_tensor(seed)
    if not (pair.dtype.is_integer and pair.shape.is_compatible_with([2])):
        raise UserError(f"seed is {seed!r}; expected two integers, such as seed=(1, 0)")
    return tf.cast(pair, tf.int32)


def normal_rows(seeds: tf.Tensor, stream, leaves) -> list[tf.Tensor]:
    """Standard normals shaped like `leaves` `[B, ...]`, one stream of numbers per seed."""
    sizes = [int(np.prod(leaf.shape[1:])) for leaf in leaves]
    flat = seeded_rows(seeds, stream, sum(sizes))
    parts = tf.split(flat, sizes, axis=1)
    return [
        tf.cast(tf.reshape(part, [-1, *leaf.shape[1:]]), leaf.dtype)
        for part, leaf in zip(parts, leaves)
    ]
