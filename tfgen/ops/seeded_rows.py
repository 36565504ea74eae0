"""Random numbers of many seeds at once: row k depends on the k-th seed only."""

import functools
from collections.abc import Callable, Hashable

import tensorflow as tf

from tfgen.ops import philox


def map_seeds(draw: Callable, keys: tf.Tensor, signature, *settings: Hashable):
    """`draw(key, *settings)` of every key, as one loop of TensorFlow's, also outside of graphs.

    Stateless operators take one key a call, so that a loop is needed; in Python a row of it costs
    a millisecond, here 0.03. `philox` does without, where there is much to draw.

    Args:
        draw: a function of a module (loops are kept by it and `settings`) from one key `[...]` and
            `settings` to tensors.
        keys: `[B, ...]` int32.
        signature: `tf.TensorSpec` of what `draw` returns, or a tuple of them.
        *settings: anything hashable but tensors.

    Returns:
        What `draw` returns, each with a leading axis of size B.
    """
    loop = (_compiled if tf.executing_eagerly() else _loop)(draw, signature, settings)
    return loop(keys)


def normal_or_uniform(key: tf.Tensor, size: int, distribution: str) -> tf.Tensor:
    """`[size]` float32 numbers of one key `[2]`; `distribution` is "normal" or "uniform"."""
    draw = {"normal": tf.random.stateless_normal, "uniform": tf.random.stateless_uniform}
    return draw[distribution]([size], key, alg="philox")


def seeded_rows(
    seeds: tf.Tensor, stream: tf.Tensor | int, size: int, distribution: str = "normal"
) -> tf.Tensor:
    """Random numbers `[B, size]` float32; row k depends on `seeds[k]` and `stream` only.

    Args:
        seeds: `[B]` int32.
        stream: integer; other streams are independent.
        size: numbers per seed.
        distribution: "normal" or "uniform" in [0, 1).
    """
    seeds = tf.convert_to_tensor(seeds)
    stream = tf.cast(stream, seeds.dtype)
    keys = tf.stack([seeds, tf.fill(tf.shape(seeds), stream)], axis=1)

    def one_by_one():
        signature = tf.TensorSpec([size], tf.float32)
        return map_seeds(normal_or_uniform, keys, signature, size, distribution)

    def at_once():
        draw = {"normal": philox.normal_rows, "uniform": philox.uniform_rows}
        return draw[distribution](keys, size)

    num_seeds = seeds.shape[0] or tf.shape(seeds)[0]
    return philox.where_it_pays(num_seeds, size, at_once, one_by_one)


def _loop(draw, signature, settings):
    return lambda keys: tf.map_fn(
        lambda key: draw(key, *settings), keys, fn_output_signature=signature
    )


@functools.lru_cache(maxsize=64)
def _compiled(draw, signature, settings):
    return tf.function(_loop(draw, signature, settings), autograph=False, reduce_retracing=True)
