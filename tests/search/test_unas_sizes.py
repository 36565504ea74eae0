"""Sizes that are counted are those of networks that are built."""

import pytest

from tfgen.search.unas.block_supernet import BlockSupernet
from tfgen.search.unas.cell_supernet import CellSupernet
from tfgen.search.unas.genotypes import CELL_OPERATIONS, GENOTYPES, CellGenotype
from tfgen.search.unas.networks import block_network, cell_network, num_macs, num_parameters
from tfgen.search.unas.published import NETWORKS
from tfgen.search.unas.sizes import (
    block_network_size,
    block_supernet_size,
    cell_network_size,
    cell_supernet_size,
)

# Every operation at both strides, of nodes and of both inputs, which no published cell has.
ALL = CellGenotype(
    *(
        tuple(
            ((CELL_OPERATIONS[(2 * k + shift) % 7], k), (CELL_OPERATIONS[(2 * k + 1) % 7], k + 1))
            for k in range(4)
        )
        for shift in (0, 5)
    )
)


def same(size, model):
    assert (size.parameters, size.macs) == (num_parameters(model), num_macs(model))


@pytest.mark.parametrize(
    "sizes",
    [
        dict(image_shape=(16, 8, 3), num_channels=4, num_cells=3),
        dict(image_shape=(64, 96, 1), num_channels=6, num_cells=4, stem="large", num_classes=7),
    ],
)
def test_networks_of_cells(sizes):
    same(cell_network_size(ALL, **sizes), cell_network(ALL, **sizes))


def test_networks_of_blocks():
    sizes = dict(image_shape=(33, 47, 2), num_classes=5, width=0.13)
    genotype = GENOTYPES["unas_proxyless"]
    same(block_network_size(genotype, **sizes), block_network(genotype, **sizes))


def test_a_network_of_all_cells():
    sizes = dict(num_channels=2, num_cells=3, num_operations=4, num_nodes=2)
    assert cell_supernet_size(**sizes).parameters == num_parameters(CellSupernet(**sizes))


@pytest.mark.slow
def test_a_network_of_all_blocks():
    sizes = dict(image_shape=(32, 32, 3), num_classes=10, width=0.05)
    assert block_supernet_size(**sizes).parameters == num_parameters(BlockSupernet(**sizes))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_full_size(name):
    model, size = NETWORKS[name].built(), NETWORKS[name].size()
    assert size["parameters"] == num_parameters(model)
    assert size["macs"] == (None if name.startswith("supernet") else num_macs(model))
