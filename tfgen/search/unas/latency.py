"""What a search space's networks take, from what their parts take: a sum over the choices.

space = CellSpace((32, 32, 3), num_channels=16, num_cells=8)
table = latency.measure(space.blocks, latency.LiteRTBackend(), "table.json")
milliseconds = space.latency(table)
milliseconds.tensor(distribution.sample(5, seed=(0, 1)).discrete)  # [5]
"""

import hashlib
import json
from collections.abc import Callable, Sequence

import keras
import numpy as np

from tfgen.search.latency import Block, LatencyTable, Network
from tfgen.search.unas.block_supernet import CHANGES, block_groups
from tfgen.search.unas.cell_measure import CellMeasure, CellParts, inputs_used, needed
from tfgen.search.unas.cell_supernet import cell_groups
from tfgen.search.unas.genotypes import (
    BLOCK_OPERATIONS,
    CELL_OPERATIONS,
    NUM_NODES,
    BlockGenotype,
    CellGenotype,
)
from tfgen.search.unas.measures import AdditiveMeasure
from tfgen.search.unas.networks import (
    BLOCKS,
    before_blocks,
    behind_blocks,
    block_network,
    cell_network,
    scaled,
    stem_end,
    stem_of,
)
from tfgen.search.unas.operations import (
    bottleneck,
    cell_operation,
    factorized_reduction,
    relu_conv,
)

NOTHING = Block("nothing", None)


class _Collected:
    """Blocks by key, each made when it is timed."""

    def __init__(self):
        self.by_key = {NOTHING.key: NOTHING}

    def add(self, kind: str, shapes: Sequence[tuple], function: Callable) -> str:
        sizes = "+".join("x".join(map(str, shape)) for shape in shapes)
        key = f"{kind}/{sizes}"
        self.by_key.setdefault(key, Block(key, lambda: _model(shapes, function)))
        return key


def _model(shapes, function):
    inputs = [keras.Input(tuple(shape)) for shape in shapes]
    return keras.Model(inputs, function(*inputs))


def _drawn(groups, count, seed):
    """Choices of every factor, each as likely as another."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield {name: rng.integers(size, size=num) for name, (num, size) in groups.items()}


def _network(kind, make, genotype, sizes, keys) -> Network:
    told = json.dumps([genotype.to_config(), sizes], sort_keys=True)
    key = f"network_of_{kind}/{hashlib.sha256(told.encode()).hexdigest()[:16]}"
    return Network(key, lambda: make(genotype, **sizes), tuple(keys))


class BlockSpace:
    """The networks of `block_network`, in parts.

    Args:
        image_shape: sequence `(H, W, C)`. Defaults to `(224, 224, 3)`.
        num_classes: integer, classes. Defaults to `1000`.
        width: float, channels in multiples of the published ones. Defaults to `1.0`.

    Attributes:
        blocks: list of `Block` to be timed; a part that occurs twice is one.
        constant: list of the keys of what all networks have.
        choices: list of the keys at each of the 21 places, none first where it is a choice.
    """

    def __init__(
        self, image_shape: Sequence[int] = (224, 224, 3), num_classes: int = 1000, width=1.0
    ):
        found, image_shape = _Collected(), tuple(image_shape)
        self._sizes = dict(image_shape=image_shape, num_classes=num_classes, width=width)
        self.constant = [
            found.add(f"stem_w{width:g}", [image_shape], lambda x: before_blocks(x, width))
        ]
        height, span = (-(-size // 2) for size in image_shape[:2])
        shape, self.choices = (height, span, scaled(24, width)), []
        for number, (channels, stride) in enumerate(BLOCKS):
            channels = scaled(channels, width)
            keys = [self._bottleneck(found, b, shape, channels, stride) for b in BLOCK_OPERATIONS]
            self.choices.append(keys if number in CHANGES else [NOTHING.key, *keys])
            shape = (-(-shape[0] // stride), -(-shape[1] // stride), channels)

        def head(x):
            return behind_blocks(x, width, num_classes)

        self.constant.append(found.add(f"head_w{width:g}_{num_classes}", [shape], head))
        self.blocks = list(found.by_key.values())

    @staticmethod
    def _bottleneck(found, block, shape, channels, stride):
        kind = f"bottleneck_{block.kernel}x{block.kernel}_e{block.expansion}_s{stride}_to{channels}"
        return found.add(
            kind, [shape], lambda x: bottleneck(x, block, channels, stride, name="block")
        )

    def keys(self, genotype: BlockGenotype) -> list[str]:
        """The keys of all parts of one network.

        Args:
            genotype: `BlockGenotype` of 21 blocks.
        """
        found = list(self.constant)
        for number, (block, keys) in enumerate(zip(genotype.blocks, self.choices)):
            known = BLOCK_OPERATIONS if number in CHANGES else (None, *BLOCK_OPERATIONS)
            found.append(keys[known.index(block)])
        return found

    def networks(self, count: int, seed: int = 0) -> list[Network]:
        """Whole networks drawn evenly, to be timed beside their parts.

        Args:
            count: integer, how many.
            seed: integer that draws them. Defaults to `0`.
        """
        drawn = (BlockGenotype.of_choices(c) for c in _drawn(block_groups(), count, seed))
        return [self.network(genotype) for genotype in drawn]

    def network(self, genotype: BlockGenotype) -> Network:
        """A whole network, to be timed beside its parts.

        Args:
            genotype: `BlockGenotype` of 21 blocks.
        """
        return _network("blocks", block_network, genotype, self._sizes, self.keys(genotype))

    def latency(self, table: LatencyTable) -> AdditiveMeasure:
        """Milliseconds of architectures of `block_groups`.

        Args:
            table: `LatencyTable` of `blocks`.

        Raises:
            UserError: a block was not measured, or could not be timed.
        """
        rows = {"same": [], "change": []}
        for number, keys in enumerate(self.choices):
            rows["change" if number in CHANGES else "same"].append(keys)
        weights = {
            name: np.array([table.milliseconds(row) for row in keys]) for name, keys in rows.items()
        }
        return AdditiveMeasure(weights, constant=float(table.milliseconds(self.constant).sum()))


class CellSpace:
    """The networks of `cell_network`, in parts: edges, and what joins them.

    Args:
        image_shape: sequence `(H, W, C)`. Defaults to `(32, 32, 3)`.
        num_classes: integer, classes. Defaults to `10`.
        num_channels: integer, even, channels of the first cells' nodes. Defaults to `36`.
        num_cells: integer, cells in all, at least 3. Defaults to `20`.
        stem: string, "small" or "large", as of `cell_network`. Defaults to `"small"`.
        num_operations: integer, how many of `CELL_OPERATIONS` there are. Defaults to `7`.
        num_nodes: integer, nodes of a cell beside its inputs. Defaults to `4`.

    Attributes:
        blocks: list of `Block` to be timed; a part that occurs twice is one.
        constant: list of the keys of what all networks have.
        stem: string, the key of what makes the stem's second output; few networks lack it.
        cells: list of `CellParts` of keys, for every cell from the first to the last.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (32, 32, 3),
        num_classes: int = 10,
        num_channels: int = 36,
        num_cells: int = 20,
        stem: str = "small",
        num_operations: int = len(CELL_OPERATIONS),
        num_nodes: int = NUM_NODES,
    ):
        self._found, self.cells, self._num_nodes = _Collected(), [], num_nodes
        self._operations = CELL_OPERATIONS[:num_operations]
        image_shape, width = tuple(image_shape), num_channels
        self._sizes = dict(
            image_shape=image_shape,
            num_classes=num_classes,
            num_channels=num_channels,
            num_cells=num_cells,
            stem=stem,
        )
        before, last, halved = stem_of(keras.Input(image_shape), num_channels, stem)
        shapes = (before.shape[1:], last.shape[1:])
        kind = f"stem_{stem}_{num_channels}"
        self.constant = [
            self._found.add(kind, [image_shape], lambda x: stem_of(x, num_channels, stem)[0])
        ]

        def end(x):
            return stem_end(x, num_channels)

        self.stem = (
            NOTHING.key if last is before else self._found.add(f"{kind}_end", [shapes[0]], end)
        )
        for number in range(num_cells):
            reduces = number in (num_cells // 3, 2 * num_cells // 3)
            width *= 2 if reduces else 1
            shapes, halved = self._cell(shapes, width, reduces, halved), reduces

        def head(x):
            x = keras.layers.GlobalAveragePooling2D()(x)
            return keras.layers.Dense(num_classes)(x)

        self.constant.append(self._found.add(f"head_{num_classes}", [shapes[1]], head))
        self.blocks = list(self._found.by_key.values())

    def _cell(self, shapes, width, reduces, halved):
        inputs = [
            self._found.add(
                f"{fit.__name__}_to{width}", [shape], lambda x, fit=fit: fit(x, width, name="input")
            )
            for shape, fit in zip(
                shapes, (factorized_reduction if halved else relu_conv, relu_conv)
            )
        ]
        here = (*shapes[1][:2], width)
        grid = (here[0] // 2, here[1] // 2, width) if reduces else here
        nodes = [
            [
                [
                    self._edge(o, here if k < 2 else grid, 2 if reduces and k < 2 else 1)
                    for o in self._operations
                ]
                for k in range(node + 2)
            ]
            for node in range(self._num_nodes)
        ]
        joined = self._num_nodes * [
            self._found.add("add", [grid, grid], lambda *x: keras.layers.Add()(x))
        ]
        if self._num_nodes > 1:
            each = self._num_nodes * [grid]
            joined.append(
                self._found.add("concatenate", each, lambda *x: keras.layers.Concatenate()(x))
            )
        kind = "reduction" if reduces else "normal"
        self.cells.append(CellParts(kind, tuple(inputs), nodes, joined))
        return shapes[1], (*grid[:2], self._num_nodes * width)

    def _edge(self, operation, shape, stride):
        if operation == "skip" and stride == 1:
            return NOTHING.key

        def edge(x):
            return cell_operation(x, operation, shape[-1], stride, name="edge")

        return self._found.add(f"{operation}_s{stride}", [shape], edge)

    def keys(self, genotype: CellGenotype) -> list[str]:
        """The keys of all parts of one network; what nothing reads is none of them.

        Args:
            genotype: `CellGenotype` of these operations.
        """
        used = inputs_used(genotype)
        stem, *present = needed(used, [cell.kind for cell in self.cells])
        found = [*self.constant, *([self.stem] if stem else [])]
        for cell in (cell for cell, here in zip(self.cells, present) if here):
            found += [key for key, here in zip(cell.inputs, used[cell.kind]) if here]
            for edges, keys in zip(getattr(genotype, cell.kind), cell.nodes):
                found += [keys[k][self._operations.index(operation)] for operation, k in edges]
            found += cell.joined
        return found

    def networks(self, count: int, seed: int = 0) -> list[Network]:
        """Whole networks drawn evenly, to be timed beside their parts.

        Args:
            count: integer, how many.
            seed: integer that draws them. Defaults to `0`.
        """
        groups = cell_groups(len(self._operations), self._num_nodes)
        drawn = (CellGenotype.of_choices(choices) for choices in _drawn(groups, count, seed))
        return [self.network(genotype) for genotype in drawn]

    def network(self, genotype: CellGenotype) -> Network:
        """A whole network, to be timed beside its parts.

        Args:
            genotype: `CellGenotype` of these operations.
        """
        return _network("cells", cell_network, genotype, self._sizes, self.keys(genotype))

    def latency(self, table: LatencyTable) -> CellMeasure:
        """Milliseconds of architectures of `cell_groups`.

        Args:
            table: `LatencyTable` of `blocks`.

        Raises:
            UserError: a block was not measured, or could not be timed.
        """
        cells = [
            {
                "kind": cell.kind,
                "inputs": table.milliseconds(cell.inputs),
                "nodes": [[table.milliseconds(keys) for keys in rows] for rows in cell.nodes],
                "joined": table.milliseconds(cell.joined).sum(),
            }
            for cell in self.cells
        ]
        constant, stem = (table.milliseconds(keys).sum() for keys in (self.constant, [self.stem]))
        return CellMeasure(cells, constant, stem)
