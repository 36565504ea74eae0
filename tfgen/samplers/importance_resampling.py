"""Sampling-importance-resampling: one of M fresh proposals, chosen by its weight (Rubin, 1987).

With proposals z_1..z_M ~ p and weights r(z), the chosen one has a law between p (M = 1) and
r p / Z (M to infinity); its error falls as 1/M. The choice is made by Gumbel-max,

    argmax_m log r(z_m) - log(-log u_m),    u_m ~ U(0, 1),

which is a running maximum: proposals come in chunks and only the best so far is kept, so memory
does not grow with M. Every output has proposals of its own. (Resampling N outputs from N shared
proposals without replacement would return the proposals themselves, permuted: there is no way to
ask for it.)
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError, UserError
from tfgen.ops import importance, philox
from tfgen.ops.checks import in_range, whole_number
from tfgen.ops.random_streams import fold_in, number
from tfgen.ops.seeded_rows import map_seeds

BLOCK = 16  # proposals drawn at once from one seed
_DRAWN = "normal", "uniform"
_SMALLEST_UNIFORM = 1e-30  # its Gumbel value is -4.2: a zero counts as the smallest draw

# (first, count) -> proposals, nested [B, count, ...], and uniforms [B, count]
Propose = Callable[[Any, int], tuple[Any, tf.Tensor]]
# proposals, nested [B, count, ...] -> [B, count]
LogWeight = Callable[[Any], tf.Tensor]


class Resampled(NamedTuple):
    """What resampling chose, one entry per output, and how it went.

    Attributes:
        sample: the chosen proposals, nested `[B, ...]`.
        index: `[B]` int32, which of the proposals it was.
        log_weight: `[B]`, log r of the chosen ones.
        log_mean_weight: `[B]`, log of the mean of r over all proposals: estimates log Z from below.
        effective_sample_size: `[B]`, between 1 and M.
    """

    sample: Any
    index: tf.Tensor
    log_weight: tf.Tensor
    log_mean_weight: tf.Tensor
    effective_sample_size: tf.Tensor


def importance_resampling(
    log_weight: LogWeight, proposals: Any, uniforms: tf.Tensor, chunk_size: int | None = None
) -> Resampled:
    """Chooses one of the given proposals of every output.

    Args:
        log_weight: function, log r of proposals, nested `[B, m, ...]` to `[B, m]`.
        proposals: nested `[B, M, ...]`, drawn from p independently for every output.
        uniforms: `[B, M]` in [0, 1).
        chunk_size: integer, proposals weighed at once; None weighs all.

    Returns:
        `Resampled`.

    Raises:
        ConfigError: M is unknown, or outputs and uniforms disagree about it.
    """
    proposals = tf.nest.map_structure(tf.convert_to_tensor, proposals)
    uniforms = tf.cast(uniforms, tf.float32)
    leaves = [*tf.nest.flatten(proposals), uniforms]
    if any((leaf.shape.rank or 2) < 2 for leaf in leaves):
        raise ConfigError(
            f"proposals and uniforms have shapes {[tuple(leaf.shape) for leaf in leaves]}; "
            "expected [B, M, ...] and [B, M]"
        )
    sizes = {int(leaf.shape[1] or 0) for leaf in leaves}
    if len(sizes) != 1 or min(sizes) < 1:
        raise ConfigError(
            f"proposals and uniforms have {sorted(sizes)} entries for every output; expected one "
            "known number of at least 1, as [B, M, ...] and [B, M]"
        )

    def propose(first, count):
        part = tf.nest.map_structure(lambda x: _part(x, first, count), proposals)
        return part, _part(uniforms, first, count)

    return resample_lazily(log_weight, propose, sizes.pop(), chunk_size)


def resample_lazily(
    log_weight: LogWeight, propose: Propose, num_proposals: int, chunk_size: int | None = None
) -> Resampled:
    """As `importance_resampling`, with proposals that are made when their turn comes.

    Args:
        log_weight: function, as there.
        propose: function of `(first, count)` to the proposals numbered so, nested `[B, count,
            ...]`, and their uniforms `[B, count]`; `first` may be a tensor, `count` is a number.
        num_proposals: integer M.
        chunk_size: integer, proposals weighed at once; None weighs all. It changes no result.

    Returns:
        `Resampled`.

    Raises:
        ConfigError: `num_proposals` or `chunk_size` is below 1.
        UserError: the log-weights have another shape than the uniforms.
    """
    num_proposals = whole_number("num_proposals", num_proposals, 1)
    chunk = num_proposals
    if chunk_size is not None:
        chunk = min(whole_number("chunk_size", chunk_size, 1), num_proposals)

    def weigh(first, count):
        z, uniforms = propose(first, count)
        log_r = tf.cast(log_weight(z), tf.float32)
        if not log_r.shape.is_compatible_with(uniforms.shape):
            raise UserError(
                f"log_weight gives {tuple(log_r.shape)} for proposals "
                f"{[tuple(x.shape) for x in tf.nest.flatten(z)]}; expected "
                f"{tuple(uniforms.shape)}, one number of each proposal"
            )
        best, score = _gumbel_max(log_r, uniforms)
        chosen = tf.nest.map_structure(lambda x: _pick(x, best), z)
        return (score, first + best, _pick(log_r, best), chosen), log_r

    best, log_r = weigh(0, chunk)
    state = importance.update(importance.init(tf.shape(log_r)[0], tf.float32), tf.transpose(log_r))
    whole = num_proposals // chunk
    if whole > 1:

        def step(number, best, state):
            other, log_r = weigh(number * chunk, chunk)
            return number + 1, _better(best, other), importance.update(state, tf.transpose(log_r))

        _, best, state = tf.while_loop(
            lambda number, *_: number < whole, step, (1, best, state), parallel_iterations=1
        )
    if rest := num_proposals - whole * chunk:
        other, log_r = weigh(whole * chunk, rest)
        best, state = _better(best, other), importance.update(state, tf.transpose(log_r))
    _, index, chosen_log_r, sample = best
    return Resampled(
        sample, index, chosen_log_r, importance.bound(state), importance.sample_size(state)
    )


def proposal_noise(seeds, stream, shape: tuple[int, ...], first, count: int):
    """The noise of proposals number `first` to `first + count`, from one seed per output.

    A function of seed, stream and the proposal's number alone: neither the chunks nor the batch
    change it.

    Args:
        seeds: `[B]` int32.
        stream: integer that tells apart the uses of one seed (`tfgen.ops.random_streams`, space
            `use`), less than 2**15.
        shape: tuple, shape of one proposal.
        first: integer or scalar tensor, number of the first, a multiple of `BLOCK`.
        count: integer, how many.

    Returns:
        Standard normals `[B, count, *shape]` and uniforms `[B, count]`.
    """
    size, num_blocks = int(np.prod(shape)), -(-count // BLOCK)
    blocks = stream * 2**16 + first // BLOCK + tf.range(num_blocks)
    num_images = seeds.shape[0] or tf.shape(seeds)[0]
    pairs = tf.stack(
        [tf.repeat(seeds, num_blocks), tf.tile(tf.cast(blocks, tf.int32), [num_images])], axis=1
    )

    def at_once():
        normal, uniform = (philox.fold_in(pairs, number(f"proposal {d}")) for d in _DRAWN)
        normals = philox.normal_rows(normal, BLOCK * size)
        return tf.reshape(normals, [-1, BLOCK, size]), philox.uniform_rows(uniform, BLOCK)

    def one_by_one():
        signature = tf.TensorSpec([BLOCK, size]), tf.TensorSpec([BLOCK])
        return map_seeds(_block, pairs, signature, size)

    normals, uniforms = philox.where_it_pays(
        num_images * num_blocks, BLOCK * size, at_once, one_by_one
    )
    normals = tf.reshape(normals, [num_images, num_blocks * BLOCK, *shape])
    uniforms = tf.reshape(uniforms, [num_images, num_blocks * BLOCK])
    return normals[:, :count], uniforms[:, :count]


def _block(pair: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Normals `[BLOCK, size]` and uniforms `[BLOCK]` of one key."""
    normal, uniform = (fold_in(pair, number(f"proposal {d}")) for d in _DRAWN)
    normals = tf.random.stateless_normal([BLOCK, size], normal, alg="philox")
    return normals, tf.random.stateless_uniform([BLOCK], uniform, alg="philox")


def log_normalizer_bounds(log_r, log_r_target) -> tuple[tf.Tensor, tf.Tensor]:
    """Lower and upper bound (each in expectation) of log Z, Z the mean of r under p.

        E_p log mean(r_1..r_M)  <=  log Z  <=  E_{r p / Z} E_p log mean(r*, r_2..r_M)

    Both are tight as M grows.

    Args:
        log_r: `[M, ...]`, log r of M independent draws of p.
        log_r_target: `[...]`, log r of one draw of r p / Z, independent of the others.

    Returns:
        Two tensors `[...]`.
    """
    lower = importance.iw_bound(log_r)
    swapped = tf.concat([tf.expand_dims(log_r_target, 0), log_r[1:]], axis=0)
    return lower, importance.iw_bound(swapped)


def num_proposals_for(
    ess_fractions: Mapping[str, float],
    effective: float = 20.0,
    smallest: int = 4,
    largest: int = 1000,
) -> dict[str, int]:
    """How many proposals each group needs for so many effective ones.

    Args:
        ess_fractions: dict of floats in (0, 1] by group, (E_p r)^2 / E_p r^2.
        effective: float, the effective sample size wanted; resampling errs by about its reciprocal.
            Defaults to `20.0`.
        smallest: integer, lower limit. Defaults to `4`.
        largest: integer, upper limit. Defaults to `1000`.

    Returns:
        Dict of integers by group.
    """
    in_range("effective", effective, 0.0, above=True)
    in_range("ess_fractions", list(ess_fractions.values()), 0.0)
    whole_number("smallest", smallest, 1, whole_number("largest", largest, 1))
    wanted = {name: effective / max(share, 1e-12) for name, share in ess_fractions.items()}
    return {name: min(max(math.ceil(m), smallest), largest) for name, m in wanted.items()}


def _gumbel_max(log_r, uniforms):
    """Index of the winner `[B]` int32 and its score."""
    uniforms = tf.clip_by_value(uniforms, _SMALLEST_UNIFORM, 1.0 - 2.0**-24)
    scores = log_r - tf.math.log(-tf.math.log(uniforms))
    return tf.argmax(scores, axis=1, output_type=tf.int32), tf.reduce_max(scores, axis=1)


def _better(a, b):
    """The entries with the higher score."""
    wins = b[0] > a[0]

    def choose(x, y):
        return tf.where(tf.reshape(wins, [-1] + [1] * (x.shape.rank - 1)), y, x)

    return tf.nest.map_structure(choose, a, b)


def _pick(x, index):
    return tf.gather(x, index, axis=1, batch_dims=1)


def _part(x, first, count: int):
    if isinstance(first, int) and first == 0 and count == x.shape[1]:
        return x
    part = tf.slice(
        x, [0, first] + [0] * (x.shape.rank - 2), [-1, count] + [-1] * (x.shape.rank - 2)
    )
    return tf.ensure_shape(part, [x.shape[0], count, *x.shape[2:]])
