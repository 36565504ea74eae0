"""What a search space's networks take, from what their parts take: a sum over the choices.

space = CellSpace((32, 32, 3), num_channels=16, num_cells=8)
table = latency.measure(space.blocks, latency.LiteRTBackend(), "table.json")
milliseconds = space.latency(table)
milliseconds(distribution.sample(5, seed=(0, 1)).discrete)  # [5]
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen.search.latency import Block, LatencyTable
from tfgen.search.unas.block_supernet import CHANGES
from tfgen.search.unas.genotypes import (
    BLOCK_OPERATIONS,
    CELL_OPERATIONS,
    NUM_NODES,
    BlockGenotype,
    CellGenotype,
)
from tfgen.search.unas.networks import BLOCKS, before_blocks, behind_blocks, scaled, stem_of
from tfgen.search.unas.operations import (
    bottleneck,
    cell_operation,
    factorized_reduction,
    relu_conv,
)
from tfgen.search.unas.surrogates import LinearSurrogate

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

    def latency(self, table: LatencyTable) -> LinearSurrogate:
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
        return LinearSurrogate(weights, float(table.milliseconds(self.constant).sum()))


@dataclasses.dataclass(frozen=True)
class CellLatency:
    """Milliseconds of networks of cells.

    Attributes:
        weights: dict of `"<cell>/<node>"` -> `[inputs, operations]` float64, what an edge takes in
            all cells of that kind together.
        constant: float, what all networks have.
    """

    weights: dict
    constant: float

    def __call__(self, architectures: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Milliseconds, `[B]`.

        Args:
            architectures: dict of group name -> `[B, 2, choices]`, one-hot or relaxed, as
                `cell_groups` names them.
        """
        parts = []
        for name, weights in self.weights.items():
            sources, operations = (architectures[f"{name}/{w}"] for w in ("input", "operation"))
            table = tf.cast(weights, sources.dtype)
            parts.append(tf.einsum("bei,beo,io->b", sources, operations, table))
        return tf.add_n(parts) + tf.cast(self.constant, parts[0].dtype)


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
        edges: dict of `"<cell>/<node>"` -> `[inputs][operations]` lists of the keys of an edge, one
            for every cell of that kind.
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
        self._found, self.constant, self._num_nodes = _Collected(), [], num_nodes
        self._operations = CELL_OPERATIONS[:num_operations]
        self.edges = {
            f"{kind}/{node}": [[[] for _ in self._operations] for _ in range(node + 2)]
            for kind in ("normal", "reduction")
            for node in range(num_nodes)
        }
        image_shape = tuple(image_shape)
        before, last, halved = stem_of(keras.Input(image_shape), num_channels, stem)
        shapes, width = (before.shape[1:], last.shape[1:]), num_channels

        def start(x):
            first, second, _ = stem_of(x, num_channels, stem)
            return second if first is second else [first, second]

        self._add(f"stem_{stem}_{num_channels}", [image_shape], start)
        for number in range(num_cells):
            reduces = number in (num_cells // 3, 2 * num_cells // 3)
            width *= 2 if reduces else 1
            shapes, halved = self._cell(shapes, width, reduces, halved), reduces

        def head(x):
            x = keras.layers.GlobalAveragePooling2D()(x)
            return keras.layers.Dense(num_classes)(x)

        self._add(f"head_{num_classes}", [shapes[1]], head)
        self.blocks = list(self._found.by_key.values())

    def _add(self, kind, shapes, function):
        self.constant.append(self._found.add(kind, shapes, function))

    def _cell(self, shapes, width, reduces, halved):
        for shape, fit in zip(shapes, (factorized_reduction if halved else relu_conv, relu_conv)):
            kind = f"{fit.__name__}_to{width}"
            self._add(kind, [shape], lambda x, fit=fit: fit(x, width, name="input"))
        here = (*shapes[1][:2], width)
        grid = (here[0] // 2, here[1] // 2, width) if reduces else here
        for node in range(self._num_nodes):
            rows = self.edges[f"{'reduction' if reduces else 'normal'}/{node}"]
            for source, row in enumerate(rows):
                stride = 2 if reduces and source < 2 else 1
                for operation, keys in zip(self._operations, row):
                    keys.append(self._edge(operation, here if source < 2 else grid, stride))
            self._add("add", [grid, grid], lambda *x: keras.layers.Add()(x))
        if self._num_nodes > 1:
            each = self._num_nodes * [grid]
            self._add("concatenate", each, lambda *x: keras.layers.Concatenate()(x))
        return shapes[1], (*grid[:2], self._num_nodes * width)

    def _edge(self, operation, shape, stride):
        if operation == "skip" and stride == 1:
            return NOTHING.key

        def edge(x):
            return cell_operation(x, operation, shape[-1], stride, name="edge")

        return self._found.add(f"{operation}_s{stride}", [shape], edge)

    def keys(self, genotype: CellGenotype) -> list[str]:
        """The keys of all parts of one network.

        Args:
            genotype: `CellGenotype` of these operations.
        """
        found = list(self.constant)
        for kind in ("normal", "reduction"):
            for node, edges in enumerate(getattr(genotype, kind)):
                for operation, source in edges:
                    row = self.edges[f"{kind}/{node}"][source]
                    found += row[self._operations.index(operation)]
        return found

    def latency(self, table: LatencyTable) -> CellLatency:
        """Milliseconds of architectures of `cell_groups`.

        Args:
            table: `LatencyTable` of `blocks`.

        Raises:
            UserError: a block was not measured, or could not be timed.
        """
        weights = {
            name: np.array([[table.milliseconds(keys).sum() for keys in row] for row in rows])
            for name, rows in self.edges.items()
        }
        return CellLatency(weights, float(table.milliseconds(self.constant).sum()))
