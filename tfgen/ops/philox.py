"""Random numbers of many seeds in one pass over memory, on CPUs: those of `tf.random.stateless_*`.

TensorFlow's operators take one seed a call and compute number by number. The generator they use,
Philox-4x32-10 (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3"), is integer
arithmetic on a counter, so XLA makes vectors of it. Bits and uniforms are the operators' own;
normals, by Box and Muller's transform from the same bits, differ from theirs by rounding.
"""

import collections
import functools
import math
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from tfgen.ops.clusters import cluster, is_portable, on_cpu

# Numbers that are worth a program: XLA takes half a second for one, which its calls must save,
# and steps of training are many.
SMALLEST, SMALLEST_IN_STEPS = 2**16, 2**15
_LOOP = 2**8  # numbers that a seed counts as besides: without a program, it is a turn of a loop

_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85  # added to the key in each round
_SCRAMBLING_KEY = 0x3EC8F720, 0x02461E29  # TensorFlow's, which makes a key of a seed
_ROUNDS = 10

Words = tuple[tf.Tensor, ...]  # of uint32, all of one shape


def where_it_pays(num_seeds, size: int, fast: Callable, slow: Callable, smallest: int = SMALLEST):
    """`fast()` where `[num_seeds, size]` numbers are worth a program that this graph may hold, else
    `slow()`.

    Args:
        num_seeds: integer, how many; or a scalar tensor, and the graph chooses as it runs.
        size: integer, numbers of each seed.
        fast: function without arguments.
        slow: likewise, with tensors of the same shapes and dtypes.
        smallest: integer, how many numbers are worth a program. Defaults to `SMALLEST`.
    """
    if is_portable() or not on_cpu():
        return slow()
    enough = num_seeds >= -(-smallest // (size + _LOOP))
    if isinstance(num_seeds, int):
        return fast() if enough else slow()
    return tf.cond(enough, fast, slow)


def normal_rows(seeds: tf.Tensor, size: int) -> tf.Tensor:
    """Standard normals `[B, size]` float32 of seeds `[B, 2]` int32.

    A row is `tf.random.stateless_normal([size], seed, alg="philox")` of its seed, to 2e-6.
    """
    return _numbers(_program(_normals, seeds.shape[0], -(-size // 2))(seeds), size)


def uniform_rows(seeds: tf.Tensor, size: int) -> tf.Tensor:
    """Uniforms in [0, 1), `[B, size]` float32, of seeds `[B, 2]` int32.

    A row is `tf.random.stateless_uniform([size], seed, alg="philox")` of its seed.
    """
    return _numbers(_program(_uniforms, seeds.shape[0], -(-size // 2))(seeds), size)


def fold_in(seeds: tf.Tensor, number: int) -> tf.Tensor:
    """`tf.random.fold_in(seed, number, alg="philox")` of every seed of `[B, 2]` int32, B known."""
    return _program(_fold_in, seeds.shape[0], number)(seeds)


def stateless_normals(shapes: Sequence, seeds: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """`tf.random.stateless_normal(shape, seed)` of each, in float32; for graphs that run often.

    Args:
        shapes: sequence of shapes; their entries are integers, or tensors where not known.
        seeds: sequence of `[2]` int32, one of each shape.
    """
    drawn: list = [None] * len(shapes)
    for size, places in _by_size(shapes).items():
        of_size = [shapes[place] for place in places], [seeds[place] for place in places]
        if size is None:
            found = _operators(*of_size)
        else:
            draws = (functools.partial(f, *of_size) for f in (_at_once, _operators))
            found = where_it_pays(len(places), size, *draws, SMALLEST_IN_STEPS)
        for place, numbers in zip(places, found):
            drawn[place] = numbers
    return drawn


def named_normals(batch_size, shapes: Mapping[str, tuple], seeds: Mapping) -> dict[str, tf.Tensor]:
    """`stateless_normals` `[batch_size, *shape]` of every name, from the seed of that name."""
    drawn = stateless_normals(
        [(batch_size, *shape) for shape in shapes.values()], [seeds[name] for name in shapes]
    )
    return dict(zip(shapes, drawn))


def normal_like(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """`stateless_normals` of the shape and dtype of `x`, from one seed."""
    if x.dtype == tf.float32 and x.shape.is_fully_defined():
        return stateless_normals([x.shape.as_list()], [seed])[0]
    drawn = tf.random.stateless_normal(tf.shape(x), seed, dtype=x.dtype)
    return tf.ensure_shape(drawn, x.shape)


def _operators(shapes, seeds):
    return [tf.random.stateless_normal(shape, seed) for shape, seed in zip(shapes, seeds)]


def _at_once(shapes, seeds):
    """As `_operators`, of shapes that hold equally many numbers."""
    rows = tf.unstack(normal_rows(tf.stack(seeds), math.prod(shapes[0])))
    return [tf.reshape(row, shape) for row, shape in zip(rows, shapes)]


def _by_size(shapes):
    """Places of the shapes by how many numbers they hold, None where that is not known."""
    places = collections.defaultdict(list)
    for place, shape in enumerate(shapes):
        known = all(isinstance(length, int) for length in shape)
        places[math.prod(shape) if known else None].append(place)
    return places


def _numbers(words, size):
    """`[B, n]` uint64 as their halves, `[B, size]` float32. Within a program it would not be a mere
    view."""
    return tf.reshape(tf.bitcast(words, tf.float32), [-1, 2 * words.shape[1]])[:, :size]


@functools.cache
def _program(draw: Callable, num_seeds: int | None, argument: int) -> Callable:
    """`draw(argument, seeds)`, compiled: one for every size, as `cluster` asks."""
    return cluster(functools.partial(draw, argument), num_seeds)


# -- within programs ------------------------------------------------------------------------------


def _normals(count, seeds):
    """Box and Muller: sqrt(-2 log u) (sin a, cos a) of two uniforms, a the angle 2 pi v."""
    first, second = _pairs(seeds, count)
    radius = tf.sqrt(-2.0 * tf.math.log(tf.maximum(_unit(first), 1e-7)))
    sine, cosine = _sine_and_cosine(_unit(second))
    return _side_by_side(radius * sine, radius * cosine)


def _uniforms(count, seeds):
    return _side_by_side(*map(_unit, _pairs(seeds, count)))


def _fold_in(number, seeds):
    first, _ = _pairs(seeds, 1)
    folded = tf.bitcast(first[:, 0], tf.int32)
    return tf.stack([folded, tf.fill(tf.shape(folded), number)], axis=1)


def _pairs(seeds, count):
    """The words 0, 2, 4, ... and 1, 3, 5, ... of each seed's stream, `[B, count]` both.

    Every block of four is computed for both of its pairs: the words lie in memory as they are
    made, which is faster than to make each block once and sort.
    """
    seeds = tf.bitcast(tf.cast(seeds, tf.int64), tf.uint64)
    words = (*_halves(seeds[:, 0]), *_halves(seeds[:, 1]))
    a, b, c, d = (word[:, None] for word in _philox(words, _constants(_SCRAMBLING_KEY)))
    pair = tf.range(count, dtype=tf.int32)[None]
    block = tf.cast(tf.bitwise.right_shift(pair, 1), tf.uint32)
    zeros = tf.zeros([tf.shape(seeds)[0], count], tf.uint32)
    words = _philox((block + zeros, zeros, c + zeros, d + zeros), (a, b))
    odd = tf.bitwise.bitwise_and(pair, 1) > 0
    return tf.where(odd, words[2], words[0]), tf.where(odd, words[3], words[1])


def _philox(counter: Words, key: Words) -> Words:
    """The block of random words of a counter (four words) under a key (two)."""
    a, b, c, d = counter
    left, right = key
    xor = tf.bitwise.bitwise_xor
    multipliers, weyl = _constants(_MULTIPLIERS), _constants(_WEYL)
    for turn in range(_ROUNDS):
        if turn:
            left, right = left + weyl[0], right + weyl[1]
        low, high = _halves(tf.cast(a, tf.uint64) * tf.cast(multipliers[0], tf.uint64))
        other_low, other_high = _halves(tf.cast(c, tf.uint64) * tf.cast(multipliers[1], tf.uint64))
        a, b, c, d = xor(xor(other_high, b), left), other_low, xor(xor(high, d), right), low
    return a, b, c, d


def _unit(words):
    """uint32 to [0, 1): the lower 23 bits are a mantissa's."""
    bits = tf.bitwise.bitwise_and(words, tf.constant(0x7FFFFF, tf.uint32))
    return (
        tf.bitcast(tf.bitwise.bitwise_or(bits, tf.constant(0x3F800000, tf.uint32)), tf.float32) - 1
    )


def _sine_and_cosine(turns):
    """Of `turns` in [0, 1) of a whole turn.

    XLA computes its own ones number by number. The nearest quarter of a turn is taken off, and
    what is left, an angle of at most pi/4, goes into Taylor's series up to where float32 ends.
    """
    quarter = tf.round(4.0 * turns)
    angle = (turns - 0.25 * quarter) * (2.0 * math.pi)
    square = angle * angle
    sine = angle * _series(square, 3, 5, 7, 9)
    cosine = _series(square, 2, 4, 6, 8, 10)
    quarter = tf.cast(quarter, tf.int32)
    swapped = tf.bitwise.bitwise_and(quarter, 1) > 0
    first, second = tf.where(swapped, cosine, sine), tf.where(swapped, sine, cosine)
    below = tf.bitwise.bitwise_and(quarter, 2) > 0
    left = tf.bitwise.bitwise_and(quarter + 1, 2) > 0
    return tf.where(below, -first, first), tf.where(left, -second, second)


def _series(square, *factorials):
    """1 - square / n! + square**2 / m! - ... of the factorials' numbers n, m, ..."""
    total = tf.zeros_like(square)
    for power, n in reversed(list(enumerate(factorials, 1))):
        total = square * (total + (-1) ** power / math.factorial(n))
    return 1.0 + total


def _side_by_side(first, second):
    """float32 twice as the halves of uint64: by `stack`, XLA asks of each number which it is."""
    low, high = (tf.cast(tf.bitcast(x, tf.uint32), tf.uint64) for x in (first, second))
    return tf.bitwise.bitwise_or(low, tf.bitwise.left_shift(high, tf.constant(32, tf.uint64)))


def _halves(words):
    """The lower and the upper 32 bits of uint64."""
    upper = tf.bitwise.right_shift(words, tf.constant(32, tf.uint64))
    return tf.cast(words, tf.uint32), tf.cast(upper, tf.uint32)


def _constants(pair):
    return tuple(tf.constant(number, tf.uint32) for number in pair)
