"""Parameters and multiplications of networks, from what describes them: nothing is built.

They are those of the networks that `cell_network`, `block_network` and both supernets build, to the
last one. Parameters are those that are trained; multiplications those of convolutions and dense
layers for one image, without biases.
"""

from collections.abc import Callable, Sequence

from tfgen.search.unas.genotypes import (
    BLOCK_OPERATIONS,
    CELL_OPERATIONS,
    NUM_NODES,
    BlockGenotype,
    Bottleneck,
    CellGenotype,
)
from tfgen.search.unas.networks import BLOCKS, scaled

Grid = tuple[int, int]


class Size:
    """What layers add up to.

    Attributes:
        parameters: integer, numbers that are trained.
        macs: integer, multiplications for one image.
    """

    def __init__(self):
        self.parameters = self.macs = 0

    def conv(self, grid: Grid, inputs: int, outputs: int, kernel: int = 1) -> None:
        """A convolution without bias, of a grid that comes out."""
        self._kernel(grid, inputs * outputs * kernel**2)

    def depthwise(self, grid: Grid, channels: int, kernel: int) -> None:
        """A depthwise convolution without bias, of a grid that comes out."""
        self._kernel(grid, channels * kernel**2)

    def _kernel(self, grid, number):
        self.parameters += number
        self.macs += grid[0] * grid[1] * number

    def norm(self, channels: int, affine: bool = True) -> None:
        """A batch norm."""
        self.parameters += 2 * channels if affine else 0

    def dense(self, inputs: int, outputs: int) -> None:
        """A dense layer with biases."""
        self.parameters += (inputs + 1) * outputs
        self.macs += inputs * outputs


def halved(grid: Grid) -> Grid:
    """The grid of every second pixel, from the first on."""
    return -(-grid[0] // 2), -(-grid[1] // 2)


# Networks of cells.


def cell_network_size(genotype: CellGenotype, **sizes) -> Size:
    """The `Size` of `cell_network`, without an auxiliary head.

    Args:
        genotype: `CellGenotype` of the cells.
        **sizes: dict of keyword arguments of `cell_network`.
    """
    cells = {"normal": genotype.normal, "reduction": genotype.reduction}
    return _of_cells(cells, True, **sizes)


def cell_supernet_size(
    num_channels: int = 16,
    num_cells: int = 8,
    num_operations: int = len(CELL_OPERATIONS),
    num_nodes: int = NUM_NODES,
    **sizes,
) -> Size:
    """The `Size` of a `CellSupernet`, all of whose operations count.

    Args:
        num_channels: integer, channels of the first cells' nodes. Defaults to `16`.
        num_cells: integer, cells in all. Defaults to `8`.
        num_operations: integer, how many of `CELL_OPERATIONS` there are. Defaults to `7`.
        num_nodes: integer, nodes of a cell beside its inputs. Defaults to `4`.
        **sizes: dict of its other keyword arguments.
    """
    known = CELL_OPERATIONS[:num_operations]
    nodes = [
        [(operation, source) for source in range(node + 2) for operation in known]
        for node in range(num_nodes)
    ]
    sizes |= {"num_channels": num_channels, "num_cells": num_cells}
    return _of_cells({"normal": nodes, "reduction": nodes}, False, **sizes)


def _of_cells(
    cells,
    affine: bool,
    image_shape: Sequence[int] = (32, 32, 3),
    num_classes: int = 10,
    num_channels: int = 36,
    num_cells: int = 20,
    stem: str = "small",
) -> Size:
    """A stack of cells, given as nodes of edges `(operation, source)`."""
    found, grid, width = Size(), tuple(image_shape[:2]), num_channels
    make = _small_stem if stem == "small" else _large_stem
    before, last, grid = make(found, grid, image_shape[2], num_channels)
    for number in range(num_cells):
        reduces = number in (num_cells // 3, 2 * num_cells // 3)
        width *= 2 if reduces else 1
        nodes = cells["reduction" if reduces else "normal"]
        # A factorised reduction has as many numbers as one convolution.
        for channels in (before, last):
            found.conv(grid, channels, width)
            found.norm(width, affine)
        grid = _cell(found, nodes, grid, width, reduces, affine)
        before, last = last, len(nodes) * width
    found.dense(last, num_classes)
    return found


def _small_stem(found, grid, channels, width):
    found.conv(grid, channels, 3 * width, 3)
    found.norm(3 * width)
    return 3 * width, 3 * width, grid


def _large_stem(found, grid, channels, width):
    for inputs, outputs in ((channels, width // 2), (width // 2, width), (width, width)):
        grid = halved(grid)
        found.conv(grid, inputs, outputs, 3)
        found.norm(outputs)
    return width, width, grid


def _cell(found, nodes, grid, width, reduces, affine) -> Grid:
    """Counts edges; the grid that comes out."""
    outside = halved(grid) if reduces else grid
    for edges in nodes:
        for operation, source in edges:
            strided = reduces and source < 2
            _OPERATIONS[operation](found, outside, width, strided, affine)
    return outside


def _skip(found, grid, width, strided, affine):
    if strided:
        found.conv(grid, width, width)
        found.norm(width, affine)


def _pool(found, grid, width, strided, affine):
    del found, grid, width, strided, affine


def _convolutions(kernel: int, times: int) -> Callable:
    def count(found, grid, width, strided, affine):
        del strided  # only the first halves the grid, which it is given as it comes out
        for _ in range(times):
            found.depthwise(grid, width, kernel)
            found.conv(grid, width, width)
            found.norm(width, affine)

    return count


_OPERATIONS = {
    "skip": _skip,
    "max_pool_3x3": _pool,
    "average_pool_3x3": _pool,
    "dilated_3x3": _convolutions(3, 1),
    **{f"separable_{k}x{k}": _convolutions(k, 2) for k in (3, 5, 7)},
}


# Networks of blocks.


def block_network_size(genotype: BlockGenotype, **sizes) -> Size:
    """The `Size` of `block_network`.

    Args:
        genotype: `BlockGenotype` of 21 blocks.
        **sizes: dict of keyword arguments of `block_network`.
    """
    return _of_blocks([[] if block is None else [block] for block in genotype.blocks], **sizes)


def block_supernet_size(**sizes) -> Size:
    """The `Size` of a `BlockSupernet`, all of whose operations count.

    Args:
        **sizes: dict of its keyword arguments.
    """
    return _of_blocks([BLOCK_OPERATIONS] * len(BLOCKS), **sizes)


def _of_blocks(
    places,
    image_shape: Sequence[int] = (224, 224, 3),
    num_classes: int = 1000,
    width: float = 1.0,
) -> Size:
    """A stack of places, each with the bottlenecks that stand there."""
    found, grid, channels = Size(), halved(image_shape[:2]), scaled(40, width)
    found.conv(grid, image_shape[2], channels, 3)
    found.norm(channels)
    channels = _bottleneck(found, grid, Bottleneck(3, 1), channels, scaled(24, width), 1)
    for blocks, (outputs, stride) in zip(places, BLOCKS):
        outputs = scaled(outputs, width)
        for block in blocks:
            _bottleneck(found, grid, block, channels, outputs, stride)
        grid, channels = halved(grid) if stride == 2 else grid, outputs
    found.conv(grid, channels, scaled(1728, width))
    found.norm(scaled(1728, width))
    found.dense(scaled(1728, width), num_classes)
    return found


def _bottleneck(found, grid, block, inputs, outputs, stride) -> int:
    inside = inputs * block.expansion
    if block.expansion > 1:
        found.conv(grid, inputs, inside)
        found.norm(inside)
    outside = halved(grid) if stride == 2 else grid
    found.depthwise(outside, inside, block.kernel)
    found.norm(inside)
    found.conv(outside, inside, outputs)
    found.norm(outputs)
    return outputs
