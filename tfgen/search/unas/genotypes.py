"""Architectures by name: what a search finds, and what has been published.

A cell has two inputs, the outputs of the last cell but one (0) and of the last (1), and nodes (2
and on), each of which adds the results of two operations on earlier ones. A network of blocks has
one inverted bottleneck, or nothing, at every place.
"""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from tfgen.errors import ConfigError
from tfgen.ops.checks import one_of, whole_number

CELL_OPERATIONS = (
    "skip",
    "separable_3x3",
    "max_pool_3x3",
    "dilated_3x3",
    "separable_5x5",
    "average_pool_3x3",
    "separable_7x7",
)
NUM_NODES = 4  # of the paper's cells


class Edge(NamedTuple):
    """An operation on an input of a cell.

    Attributes:
        operation: string, one of `CELL_OPERATIONS`.
        source: integer: 0 the last cell but one, 1 the last cell, 2 and on the nodes before.
    """

    operation: str
    source: int


class Bottleneck(NamedTuple):
    """An inverted bottleneck.

    Attributes:
        kernel: integer, size of the depthwise kernel: 3, 5 or 7.
        expansion: integer, channels inside in multiples of those that come in: 3 or 6.
    """

    kernel: int
    expansion: int


BLOCK_OPERATIONS = tuple(Bottleneck(k, e) for k in (3, 5, 7) for e in (3, 6))


@dataclasses.dataclass(frozen=True)
class CellGenotype:
    """A normal cell and a reduction cell.

    Attributes:
        normal: tuple of nodes, each a pair of `Edge`.
        reduction: tuple of the nodes of the cells that halve the grid.

    Raises:
        ConfigError: a node does not have two edges, or an edge names what is not there.
    """

    normal: tuple[tuple[Edge, Edge], ...]
    reduction: tuple[tuple[Edge, Edge], ...]

    def __post_init__(self):
        for kind in ("normal", "reduction"):
            nodes = tuple(tuple(Edge(*edge) for edge in node) for node in getattr(self, kind))
            object.__setattr__(self, kind, nodes)
            for number, node in enumerate(nodes):
                if len(node) != 2:
                    raise ConfigError(
                        f"node {number} of the {kind} cell has {len(node)} edges; expected 2"
                    )
                for operation, source in node:
                    one_of(f"an operation of the {kind} cell", operation, CELL_OPERATIONS)
                    whole_number(f"a source of node {number}", source, 0, number + 1)

    @classmethod
    def of_choices(cls, choices: Mapping[str, np.ndarray]) -> "CellGenotype":
        """That of choices in the groups `"<cell>/<node>/input"` and `"<cell>/<node>/operation"`.

        Args:
            choices: `{group: [2]}` integers, as `ArchitectureDistribution.most_probable` gives
                them.
        """

        def cell(kind):
            count = sum(key.startswith(f"{kind}/") for key in choices) // 2
            return tuple(
                tuple(
                    Edge(CELL_OPERATIONS[int(operation)], int(source))
                    for operation, source in zip(
                        choices[f"{kind}/{node}/operation"], choices[f"{kind}/{node}/input"]
                    )
                )
                for node in range(count)
            )

        return cls(cell("normal"), cell("reduction"))

    def to_config(self) -> dict:
        """Plain lists by cell, for JSON; `from_config` reads them."""
        return {
            kind: [[list(edge) for edge in node] for node in getattr(self, kind)]
            for kind in ("normal", "reduction")
        }

    @classmethod
    def from_config(cls, config: Mapping) -> "CellGenotype":
        """The inverse of `to_config`."""
        return cls(**{kind: tuple(map(tuple, nodes)) for kind, nodes in config.items()})


@dataclasses.dataclass(frozen=True)
class BlockGenotype:
    """The blocks of a network, in order.

    Attributes:
        blocks: tuple of `Bottleneck`, or None where there is none.

    Raises:
        ConfigError: a block is no known one.
    """

    blocks: tuple[Bottleneck | None, ...]

    def __post_init__(self):
        known = (None, *BLOCK_OPERATIONS)
        blocks = tuple(None if b is None else Bottleneck(*b) for b in self.blocks)
        object.__setattr__(self, "blocks", blocks)
        for number, block in enumerate(blocks):
            one_of(f"block {number}", block, known)

    @classmethod
    def of_choices(cls, choices: Mapping[str, np.ndarray]) -> "BlockGenotype":
        """That of choices in the groups `"same"`, whose first is none, and `"change"`.

        Args:
            choices: `{group: [factors]}` integers, as `ArchitectureDistribution.most_probable`
                gives them.
        """
        same = [(None, *BLOCK_OPERATIONS)[int(k)] for k in choices["same"]]
        change = [BLOCK_OPERATIONS[int(k)] for k in choices["change"]]
        count = len(same) + len(change)
        rest, first = iter(same), iter(change)
        return cls(tuple(next(first) if k % 4 == 0 else next(rest) for k in range(count)))

    def to_config(self) -> dict:
        """Plain lists, for JSON; `from_config` reads them."""
        return {"blocks": [None if b is None else list(b) for b in self.blocks]}

    @classmethod
    def from_config(cls, config: Mapping) -> "BlockGenotype":
        """The inverse of `to_config`."""
        return cls(tuple(None if b is None else tuple(b) for b in config["blocks"]))


def _cell(text: str) -> tuple[tuple[Edge, Edge], ...]:
    """A cell from words such as `sep5(0)`, two for each node."""
    names = dict(
        sep3="separable_3x3",
        sep5="separable_5x5",
        sep7="separable_7x7",
        dil3="dilated_3x3",
        max="max_pool_3x3",
        avg="average_pool_3x3",
        skip="skip",
    )
    edges = [
        Edge(names[name], int(source))
        for name, source in (word.rstrip(")").split("(") for word in text.split())
    ]
    return tuple(zip(edges[::2], edges[1::2]))


def _blocks(text: str) -> tuple[Bottleneck | None, ...]:
    """Blocks from words such as `5,3`; `-` is none."""
    return tuple(
        None if word == "-" else Bottleneck(*map(int, word.split(","))) for word in text.split()
    )


GENOTYPES = {
    "unas_cifar10": CellGenotype(
        _cell("sep5(0) skip(0) skip(0) dil3(1) sep3(0) dil3(1) sep3(1) dil3(0)"),
        _cell("sep3(0) sep5(0) skip(1) sep3(0) avg(1) skip(0) sep5(3) avg(1)"),
    ),
    "unas_cifar100": CellGenotype(
        _cell("sep3(0) dil3(0) dil3(1) sep3(0) skip(0) sep3(1) sep5(1) sep3(0)"),
        _cell("sep7(0) sep3(0) sep3(1) sep5(0) sep7(1) dil3(0) dil3(0) sep3(3)"),
    ),
    "unas_imagenet": CellGenotype(
        _cell("sep3(0) skip(0) sep3(0) skip(1) sep3(1) sep5(0) sep3(0) dil3(1)"),
        _cell("sep5(0) sep3(1) sep5(0) sep3(1) sep5(1) dil3(0) dil3(3) sep3(1)"),
    ),
    "darts_v2": CellGenotype(
        _cell("sep3(0) sep3(1) sep3(0) sep3(1) sep3(1) skip(0) skip(0) dil3(2)"),
        _cell("max(0) max(1) skip(2) max(1) max(0) skip(2) skip(2) max(1)"),
    ),
    "unas_proxyless": BlockGenotype(
        _blocks("5,3 3,3 - - 7,3 - - - 7,3 3,3 3,3 3,3 5,3 3,3 3,3 3,3 7,6 7,3 7,3 7,3 7,6")
    ),
    "proxyless_gpu": BlockGenotype(
        _blocks("5,3 - - - 7,3 - - 3,3 7,6 - - 5,3 5,6 - 3,3 5,3 7,6 7,6 7,6 5,6 7,6")
    ),
}
