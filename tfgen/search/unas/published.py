"""The networks of the paper and its peers, and the networks of all networks, by name.

Sizes are counted from the networks themselves: parameters that are trained, and multiplications of
convolutions and dense layers for one image.
"""

from collections.abc import Callable, Iterator

import keras

from tfgen.search.unas.block_supernet import BlockSupernet
from tfgen.search.unas.cell_supernet import CellSupernet
from tfgen.search.unas.genotypes import GENOTYPES
from tfgen.search.unas.networks import block_network, cell_network, num_macs, num_parameters

_IMAGENET = dict(image_shape=(224, 224, 3), num_classes=1000)


def _cifar(genotype: str, num_classes: int = 10):
    return lambda: cell_network(GENOTYPES[genotype], num_classes=num_classes)


def _imagenet(genotype: str, num_channels: int):
    sizes = dict(num_channels=num_channels, num_cells=14, stem="large", **_IMAGENET)
    return lambda: cell_network(GENOTYPES[genotype], **sizes)


def _blocks(genotype: str):
    return lambda: block_network(GENOTYPES[genotype])


NETWORKS: dict[str, Callable[[], keras.Model]] = {
    "unas_cifar10": _cifar("unas_cifar10"),
    "unas_cifar100": _cifar("unas_cifar100", 100),
    "unas_imagenet_46": _imagenet("unas_imagenet", 46),
    "unas_imagenet_48": _imagenet("unas_imagenet", 48),
    "unas_proxyless": _blocks("unas_proxyless"),
    "darts_v2_cifar10": _cifar("darts_v2"),
    "darts_v2_imagenet": _imagenet("darts_v2", 48),
    "proxyless_gpu": _blocks("proxyless_gpu"),
    "supernet_cifar10": lambda: CellSupernet(),
    "supernet_cifar100": lambda: CellSupernet(num_classes=100),
    "supernet_imagenet": lambda: CellSupernet(
        num_channels=48, num_cells=14, stem="large", num_operations=5, **_IMAGENET
    ),
    "supernet_proxyless": lambda: BlockSupernet(),
}


def sizes() -> Iterator[tuple[str, dict[str, int | None]]]:
    """Every network's name, `parameters` and `macs`; `macs` is None where all operations stand."""
    for name, make in NETWORKS.items():
        network = make()
        macs = None if name.startswith("supernet") else num_macs(network)
        yield name, {"parameters": num_parameters(network), "macs": macs}
        keras.backend.clear_session()
