"""Random numbers of many seeds at once are those of TensorFlow's operators, which take one."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfgen.ops import clusters, philox
from tfgen.ops import seeded_rows as rows
from tfgen.samplers import proposal_noise

SEEDS = np.array(
    [[3, 5], [-1, 7], [0, 0], [2**31 - 1, -(2**31)], [-(2**31), 123_456_789]], np.int32
)
ROUNDING = 2e-6  # of numbers up to 6


@pytest.mark.parametrize("size", [1, 4, 1003])
def test_rows_are_those_of_the_stateless_operators(size):
    normal = [tf.random.stateless_normal([size], seed, alg="philox") for seed in SEEDS]
    np.testing.assert_allclose(philox.normal_rows(SEEDS, size), normal, rtol=0, atol=ROUNDING)
    uniform = [tf.random.stateless_uniform([size], seed, alg="philox") for seed in SEEDS]
    np.testing.assert_array_equal(philox.uniform_rows(SEEDS, size), uniform)


@pytest.mark.parametrize("number", [0, 2**31 - 1])
def test_seeds_are_folded_as_by_tensorflow(number):
    expected = [tf.random.fold_in(seed, number, alg="philox") for seed in SEEDS]
    np.testing.assert_array_equal(philox.fold_in(SEEDS, number), expected)


def test_many_numbers_of_one_seed_are_the_operators_and_normal():
    """4e6 numbers: their extremes are those of the operator's, and no moment of the first four
    is further from a Normal's than 5 of its standard errors (2e-6 by chance)."""
    size = 4_000_000
    drawn = philox.normal_rows(np.array([[8, 13]], np.int32), size).numpy()[0]
    operator = tf.random.stateless_normal([size], [8, 13], alg="philox")
    np.testing.assert_allclose(drawn, operator, rtol=0, atol=ROUNDING)
    drawn = drawn.astype(np.float64)
    for power in range(1, 5):
        mean, square = stats.norm.moment(power), stats.norm.moment(2 * power)
        error = np.sqrt((square - mean**2) / size)
        assert abs(np.mean(drawn**power) - mean) < 5 * error, power


def test_sines_are_float32s_own():
    turns = np.linspace(0, 1, 100_003, endpoint=False, dtype=np.float32)
    sine, cosine = philox._sine_and_cosine(tf.constant(turns))
    angles = 2 * np.pi * turns.astype(np.float64)
    np.testing.assert_allclose(sine, np.sin(angles), rtol=0, atol=2e-7)
    np.testing.assert_allclose(cosine, np.cos(angles), rtol=0, atol=2e-7)


def test_shapes_of_a_step_each_have_their_own_seed():
    shapes = [(64, 8, 8, 10), (64, 4, 4, 3), (64, 8, 8, 10), (2, 3)]
    seeds = [tf.constant([7, k]) for k in range(4)]
    step = tf.function(lambda: philox.stateless_normals(shapes, seeds), autograph=False)
    for shape, seed, drawn in zip(shapes, seeds, step()):
        assert drawn.shape == shape
        expected = tf.random.stateless_normal(shape, seed)
        np.testing.assert_allclose(drawn, expected, rtol=0, atol=ROUNDING)
    assert _programs(step.get_concrete_function()) == 1  # both of the large ones in one


def test_names_keep_their_seeds():
    shapes = {"b": (8, 8, 10), "a": (3,)}
    seeds = {"a": tf.constant([1, 2]), "b": tf.constant([3, 4])}
    drawn = philox.named_normals(64, shapes, seeds)
    assert list(drawn) == list(shapes)
    for name, numbers in drawn.items():
        expected = tf.random.stateless_normal((64, *shapes[name]), seeds[name])
        np.testing.assert_allclose(numbers, expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("known", [True, False])
def test_normal_like(dtype, known):
    x = np.zeros((300, 128), dtype)
    shape = x.shape if known else (None, 128)
    signature = [tf.TensorSpec(shape, dtype)]
    draw = tf.function(lambda x: philox.normal_like(x, (1, 2)), signature, autograph=False)
    expected = tf.random.stateless_normal(x.shape, (1, 2), dtype=dtype)
    np.testing.assert_allclose(draw(x), expected, rtol=0, atol=ROUNDING)
    concrete = draw.get_concrete_function()
    assert concrete.outputs[0].shape.as_list() == list(shape)
    assert _programs(concrete) == (known and dtype == "float32")


@pytest.mark.parametrize("size", [3840, 2])
@pytest.mark.parametrize("known", [True, False])
def test_large_draws_take_the_short_way_and_small_ones_do_not(monkeypatch, known, size):
    """Long rows, or many of them; where the graph does not know how many, it chooses as it runs."""
    drawn = {name: [] for name in ("at once", "one by one")}
    monkeypatch.setattr(philox, "normal_rows", _told(philox.normal_rows, drawn["at once"]))
    monkeypatch.setattr(rows, "map_seeds", _told(rows.map_seeds, drawn["one by one"]))
    signature = None if known else [tf.TensorSpec([None], tf.int32)]
    draw = tf.function(lambda k: rows.seeded_rows(k, 9, size), signature, autograph=False)
    count = philox.SMALLEST // (size + 256) + 4  # as `philox` counts
    keys = np.arange(count, dtype=np.int32)
    large = draw(keys)
    assert {name: len(calls) for name, calls in drawn.items()} == {"at once": 1, "one by one": 0}
    small = [draw(keys[: count // 2]), draw(keys[count // 2 :])]
    assert {name: len(calls) for name, calls in drawn.items()} == {"at once": 1, "one by one": 2}
    np.testing.assert_allclose(large, tf.concat(small, axis=0), rtol=0, atol=ROUNDING)


def test_proposals_are_the_same_in_one_draw_and_in_parts():
    """Those of a batch in one program, those of each image by the operators."""
    seeds = np.array([4, 5, 6, 7], np.int32)

    def all_of_them():
        return proposal_noise(seeds, 3, (40, 20), 16, 48)

    together = tf.function(all_of_them, autograph=False).get_concrete_function()
    assert _programs(together) == 4  # two of seeds, normals and uniforms
    normals, uniforms = together()
    assert 3 * 16 * 800 < philox.SMALLEST < 4 * 3 * 16 * 800
    for k in range(4):
        normal, uniform = proposal_noise(seeds[k : k + 1], 3, (40, 20), 16, 48)
        np.testing.assert_allclose(normals[k], normal[0], rtol=0, atol=ROUNDING)
        np.testing.assert_array_equal(uniforms[k], uniform[0])


def test_portable_graphs_hold_no_program():
    def draw(seeds):
        return rows.seeded_rows(seeds, 9, 4096)

    signature = [tf.TensorSpec([64], tf.int32)]
    plain = tf.function(draw, signature, autograph=False).get_concrete_function()
    with clusters.portable():
        portable = tf.function(draw, signature, autograph=False).get_concrete_function()
    assert (_programs(plain), _programs(portable)) == (1, 0)
    seeds = tf.range(64)
    np.testing.assert_allclose(plain(seeds), portable(seeds), rtol=0, atol=ROUNDING)


def _programs(concrete):
    """How many calls of programs of XLA's a graph holds."""
    library = {f.signature.name: f for f in concrete.graph.as_graph_def().library.function}
    calls = [op for op in concrete.graph.get_operations() if "PartitionedCall" in op.type]
    compiled = [library[op.get_attr("f").name].attr["_XlaMustCompile"].b for op in calls]
    return sum(compiled)


def _told(draw, calls):
    """`draw`, which notes in `calls` that it ran, in graphs too."""

    def told(*arguments):
        numbers = draw(*arguments)
        tf.py_function(lambda: calls.append(1), [], [])
        return numbers

    return told
