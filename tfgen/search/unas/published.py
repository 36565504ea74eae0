"""The networks of the paper and its peers, and the networks of all networks, by name."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import keras

from tfgen.search.unas.block_supernet import BlockSupernet
from tfgen.search.unas.cell_supernet import CellSupernet
from tfgen.search.unas.genotypes import GENOTYPES
from tfgen.search.unas.networks import block_network, cell_network
from tfgen.search.unas.sizes import (
    block_network_size,
    block_supernet_size,
    cell_network_size,
    cell_supernet_size,
)

_SIZES = {
    cell_network: cell_network_size,
    block_network: block_network_size,
    CellSupernet: cell_supernet_size,
    BlockSupernet: block_supernet_size,
}
_IMAGENET = dict(image_shape=(224, 224, 3), num_classes=1000)
_LARGE = dict(num_cells=14, stem="large", **_IMAGENET)


class Network(NamedTuple):
    """A network by what describes it.

    Attributes:
        function: function that builds it.
        arguments: dict of the function's keyword arguments.
    """

    function: Callable[..., keras.Model]
    arguments: dict

    def built(self) -> keras.Model:
        """The network itself."""
        return self.function(**self.arguments)

    def size(self) -> dict[str, int | None]:
        """Its `parameters` and `macs`, counted; `macs` is None where all operations stand."""
        found = _SIZES[self.function](**self.arguments)
        holds_all = self.function in (CellSupernet, BlockSupernet)
        return {"parameters": found.parameters, "macs": None if holds_all else found.macs}


def _cells(genotype: str, **sizes) -> Network:
    return Network(cell_network, dict(genotype=GENOTYPES[genotype], **sizes))


def _blocks(genotype: str) -> Network:
    return Network(block_network, dict(genotype=GENOTYPES[genotype]))


NETWORKS: dict[str, Network] = {
    "unas_cifar10": _cells("unas_cifar10"),
    "unas_cifar100": _cells("unas_cifar100", num_classes=100),
    "unas_imagenet_46": _cells("unas_imagenet", num_channels=46, **_LARGE),
    "unas_imagenet_48": _cells("unas_imagenet", num_channels=48, **_LARGE),
    "unas_proxyless": _blocks("unas_proxyless"),
    "darts_v2_cifar10": _cells("darts_v2"),
    "darts_v2_imagenet": _cells("darts_v2", num_channels=48, **_LARGE),
    "proxyless_gpu": _blocks("proxyless_gpu"),
    "supernet_cifar10": Network(CellSupernet, {}),
    "supernet_cifar100": Network(CellSupernet, dict(num_classes=100)),
    "supernet_imagenet": Network(CellSupernet, dict(num_channels=48, num_operations=5, **_LARGE)),
    "supernet_proxyless": Network(BlockSupernet, {}),
}


def sizes() -> Iterator[tuple[str, dict[str, int | None]]]:
    """Every network's name, `parameters` and `macs`."""
    for name, network in NETWORKS.items():
        yield name, network.size()
