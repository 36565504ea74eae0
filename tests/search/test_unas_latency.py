"""Search spaces in parts: every network of a space is the sum of its blocks."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.search.latency import Block, Entry, LatencyTable
from tfgen.search.unas import ArchitectureDistribution
from tfgen.search.unas.block_supernet import block_groups
from tfgen.search.unas.cell_supernet import cell_groups
from tfgen.search.unas.genotypes import GENOTYPES, BlockGenotype, CellGenotype
from tfgen.search.unas.latency import BlockSpace, CellSpace
from tfgen.search.unas.networks import block_network, cell_network, num_macs

CELLS = dict(image_shape=(32, 32, 3), num_classes=5, num_channels=4, num_cells=4)
BLOCKS = dict(image_shape=(64, 64, 3), num_classes=5, width=0.2)


def macs(block):
    """Multiplications instead of milliseconds: of these it is known that they add up."""
    model = Block(*block).made()
    return 0.0 if model is None else float(num_macs(model))


def table_of(space):
    """Another number for every block."""
    rng = np.random.default_rng(0)
    numbers = {b.key: Entry(float(rng.uniform(1, 2)), 0.0, 60) for b in space.blocks}
    return LatencyTable({}, {**numbers, "nothing": Entry(0.0)})


def assert_adds_up(space, genotype, network, choices):
    keys, by_key = space.keys(genotype), dict(space.blocks)
    by_hand = {key: macs((key, by_key[key])) for key in set(keys)}
    assert sum(by_hand[key] for key in keys) == num_macs(network)
    assert_sums(space, genotype, choices)


def assert_sums(space, genotype, choices):
    table = table_of(space)
    expected = table.milliseconds(space.keys(genotype)).sum()
    assert space.latency(table)(choices) == pytest.approx(expected, rel=1e-12)


@pytest.fixture(scope="module", params=["small", pytest.param("large", marks=pytest.mark.slow)])
def cells(request):
    options = {**CELLS, "stem": request.param}
    if request.param == "large":
        options["image_shape"] = (64, 64, 3)
    return options, CellSpace(**options)


@pytest.fixture(scope="module")
def blocks():
    return BlockSpace(**BLOCKS)


def choices(groups, rng):
    return {name: rng.integers(0, count, factors) for name, (factors, count) in groups.items()}


def test_cells_add_up(cells):
    options, space = cells
    drawn = choices(cell_groups(), np.random.default_rng(0))
    genotype = CellGenotype.of_choices(drawn)
    assert_adds_up(space, genotype, cell_network(genotype, **options), drawn)


@pytest.mark.parametrize(
    ("kinds", "source"), [(("normal", "reduction"), 0), (("normal",), 1)], ids=["cells", "inputs"]
)
def test_what_nothing_reads_is_no_part(cells, kinds, source):
    """Cells that all start at one input leave out the other, and with it whole cells or the end of
    a stem."""
    options, space = cells
    drawn = choices(cell_groups(), np.random.default_rng(1))
    for name, value in drawn.items():
        if name.startswith(kinds) and name.endswith("input"):
            value[:] = source
    genotype = CellGenotype.of_choices(drawn)
    network, keys = cell_network(genotype, **options), space.keys(genotype)
    assert sum(key.startswith("add") for key in keys) == sum(
        layer.name.rpartition("_")[2].startswith("node") for layer in network.layers
    )
    counted = {block.key: macs(block) for block in space.blocks if block.key in keys}
    assert sum(counted[key] for key in keys) == num_macs(network)
    assert_sums(space, genotype, drawn)


def test_the_smallest_of_all_cells():
    sizes = dict(num_operations=2, num_nodes=1)
    space = CellSpace((8, 8, 3), 3, 2, 5, **sizes)
    groups = cell_groups(**sizes)
    every = np.indices(8 * (2,)).reshape(8, -1).T.reshape(-1, 4, 2)  # 256 architectures
    one_hot = {name: tf.one_hot(every[:, k], 2, dtype=tf.float64) for k, name in enumerate(groups)}
    milliseconds = space.latency(table_of(space))
    values = milliseconds.tensor(one_hot).numpy()
    assert milliseconds.smallest() == pytest.approx(values.min(), rel=1e-12)
    doubled = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(milliseconds.times(2.0))
    )
    np.testing.assert_allclose(doubled.tensor(one_hot), 2.0 * values, rtol=1e-12)


def test_blocks_add_up(blocks):
    drawn = choices(block_groups(), np.random.default_rng(0))
    genotype = BlockGenotype.of_choices(drawn)
    assert_adds_up(blocks, genotype, block_network(genotype, **BLOCKS), drawn)


def test_published_genotypes_have_keys(cells, blocks):
    for genotype in GENOTYPES.values():
        space = blocks if isinstance(genotype, BlockGenotype) else cells[1]
        assert set(space.keys(genotype)) <= set(dict(space.blocks))


def test_the_same_part_is_timed_once(cells, blocks):
    for space in (cells[1], blocks):
        keys = [block.key for block in space.blocks]
        assert len(set(keys)) == len(keys)
    # 6 stages of 6 operations, one block each where it changes the width and one where not, but
    # for the last stage, which has no second block; stem, head and none.
    assert len(blocks.blocks) == 6 * 6 + 5 * 6 + 3


def test_relaxed_architectures_have_gradients(cells):
    _, space = cells
    latency, distribution = space.latency(table_of(space)), ArchitectureDistribution(cell_groups())
    drawn = distribution.sample(3, seed=(0, 1)).relaxed
    relaxed = {name: tf.cast(value, tf.float64) for name, value in drawn.items()}
    with tf.GradientTape() as tape:
        tape.watch(relaxed)
        total = latency.tensor(relaxed)
    assert total.shape == (3,)
    gradient = tape.gradient(total, relaxed)
    for name, choice in (("reduction/2/operation", 3), ("normal/1/input", 0)):
        step = 1e-4 * tf.one_hot(choice, relaxed[name].shape[-1], dtype=tf.float64)
        ends = [
            latency.tensor(relaxed | {name: relaxed[name] + sign * step * [[1.0], [0.0]]})
            for sign in (1.0, -1.0)
        ]
        slope = (ends[0] - ends[1]) / 2e-4
        np.testing.assert_allclose(gradient[name][:, 0, choice], slope, rtol=1e-6)


def test_five_operations():
    space = CellSpace(**CELLS, num_operations=5)
    assert not any("7x7" in block.key or "average" in block.key for block in space.blocks)
    for cell in space.cells:
        shapes = [(len(rows), len(rows[0])) for rows in cell.nodes]
        assert shapes == [(node + 2, 5) for node in range(4)]


def test_what_was_not_measured(blocks):
    with pytest.raises(UserError, match="the table has no block"):
        blocks.latency(LatencyTable({}))
