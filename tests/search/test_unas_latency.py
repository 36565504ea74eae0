"""Search spaces in parts: every network of a space is the sum of its blocks."""

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


def assert_adds_up(space, genotype, network, one_hot):
    keys, by_key = space.keys(genotype), dict(space.blocks)
    by_hand = {key: macs((key, by_key[key])) for key in set(keys)}
    assert sum(by_hand[key] for key in keys) == num_macs(network)
    table = table_of(space)
    expected = table.milliseconds(keys).sum()
    np.testing.assert_allclose(space.latency(table)(one_hot), [expected], rtol=1e-6)


@pytest.fixture(scope="module", params=["small", pytest.param("large", marks=pytest.mark.slow)])
def cells(request):
    options = {**CELLS, "stem": request.param}
    if request.param == "large":
        options["image_shape"] = (64, 64, 3)
    return options, CellSpace(**options)


@pytest.fixture(scope="module")
def blocks():
    return BlockSpace(**BLOCKS)


def choices(groups, rng, width=1):
    return {
        name: rng.integers(0, count, (width, factors)) for name, (factors, count) in groups.items()
    }


def one_hot(drawn, groups):
    return {name: tf.one_hot(drawn[name], groups[name][1]) for name in groups}


def test_cells_add_up(cells):
    options, space = cells
    drawn = choices(cell_groups(), np.random.default_rng(0))
    genotype = CellGenotype.of_choices({name: value[0] for name, value in drawn.items()})
    network = cell_network(genotype, **options)
    assert_adds_up(space, genotype, network, one_hot(drawn, cell_groups()))


def test_blocks_add_up(blocks):
    drawn = choices(block_groups(), np.random.default_rng(0))
    genotype = BlockGenotype.of_choices({name: value[0] for name, value in drawn.items()})
    network = block_network(genotype, **BLOCKS)
    assert_adds_up(blocks, genotype, network, one_hot(drawn, block_groups()))


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
    drawn = distribution.sample(7, seed=(0, 1))
    with tf.GradientTape() as tape:
        tape.watch(drawn.relaxed)
        total = latency(drawn.relaxed)
    assert total.shape == (7,)
    gradient = tape.gradient(total, drawn.relaxed)
    name, edge, operation = "reduction/2", 1, 3
    by_hand = tf.einsum(
        "bi,i->b",
        drawn.relaxed[f"{name}/input"][:, edge],
        tf.cast(latency.weights[name][:, operation], tf.float32),
    )
    found = gradient[f"{name}/operation"][:, edge, operation]
    np.testing.assert_allclose(found, by_hand, rtol=1e-5)


def test_five_operations():
    space = CellSpace(**CELLS, num_operations=5)
    assert not any("7x7" in block.key or "average" in block.key for block in space.blocks)
    shapes = {name: (len(rows), len(rows[0])) for name, rows in space.edges.items()}
    assert shapes == {f"{k}/{n}": (n + 2, 5) for k in ("normal", "reduction") for n in range(4)}


def test_what_was_not_measured(blocks):
    with pytest.raises(UserError, match="the table has no block"):
        blocks.latency(LatencyTable({}))
