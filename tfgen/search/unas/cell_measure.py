"""What networks of cells cost: the parts that are in them, added up.

A cell that no later one reads is in no network, and neither is what brings a cell's input to its
width where no edge starts at it: both are costs of the wiring, not of single choices.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.search.unas.genotypes import CellGenotype

KINDS = ("normal", "reduction")


@dataclasses.dataclass(frozen=True)
class CellParts:
    """The parts of one cell by the keys of what is timed.

    Attributes:
        kind: string, "normal" or "reduction".
        inputs: pair of strings, what brings each of the cell's inputs to its width.
        nodes: list of `[inputs][operations]` lists of strings, the edges; one for every node.
        joined: list of strings, what joins edges and nodes.
    """

    kind: str
    inputs: tuple[str, str]
    nodes: list[list[list[str]]]
    joined: list[str]


def needed(used: Mapping[str, Sequence], kinds: Sequence[str]) -> list:
    """How far cells are in the network, first that which makes their stem's second output.

    Args:
        used: mapping of the kind of a cell to a pair: whether any of its edges starts at its first
            and at its second input, numbers in [0, 1] or tensors `[B]` of such.
        kinds: sequence of the kinds of all cells.

    Returns:
        List of one more than there are cells: 1 where it is needed, 0 where nothing reads it.
    """
    count, later = len(kinds), []  # last first
    for number in range(count - 1, -2, -1):
        read = 1.0 if number == count - 1 else used[kinds[number + 1]][1] * later[-1]
        if number + 2 < count:
            read = 1.0 - (1.0 - read) * (1.0 - used[kinds[number + 2]][0] * later[-2])
        later.append(read)
    return later[::-1]


def inputs_used(genotype: CellGenotype) -> dict[str, list[bool]]:
    """Whether any edge of a kind of cell starts at its first and at its second input.

    Args:
        genotype: the `CellGenotype`.
    """
    found = {}
    for kind in KINDS:
        sources = {source for node in getattr(genotype, kind) for _, source in node}
        found[kind] = [k in sources for k in (0, 1)]
    return found


@keras.saving.register_keras_serializable(package="tfgen")
class CellMeasure:
    """A cost of networks of cells that is the sum of what their parts cost.

    Args:
        cells: sequence of mappings, one for every cell from the first to the last: `kind`, "normal"
            or "reduction"; `inputs`, two numbers; `nodes`, an `[inputs, operations]` array for
            every node; `joined`, a number; see `CellParts`.
        constant: float, what all networks have. Defaults to `0.0`.
        stem: float, what making the stem's second output costs, which few networks lack. Defaults
            to `0.0`.

    Raises:
        ConfigError: cells of one kind differ in their shapes, or a number is not finite.
    """

    def __init__(self, cells: Sequence[Mapping], constant: float = 0.0, stem: float = 0.0):
        self.kinds = [str(cell["kind"]) for cell in cells]
        self.constant, self.stem = float(constant), float(stem)
        self.tables = {
            kind: [cell for cell in cells if cell["kind"] == kind]
            for kind in dict.fromkeys(self.kinds)
        }
        try:
            self.tables = {kind: _stacked(found) for kind, found in self.tables.items()}
        except ValueError as error:
            raise ConfigError(f"the cells of one kind differ in their shapes: {error}") from None
        numbers = keras.tree.flatten([self.tables, self.constant, self.stem])
        if not all(np.isfinite(part).all() for part in numbers):
            raise ConfigError("the costs of cells hold numbers that are not finite")

    def __call__(self, architecture: Mapping[str, np.ndarray]) -> float:
        chosen = {}
        for kind, (_, nodes, _) in self.tables.items():
            for number, table in enumerate(nodes):
                sizes = dict(zip(("input", "operation"), table.shape[1:]))
                for what, size in sizes.items():
                    name = f"{kind}/{number}/{what}"
                    chosen[name] = tf.one_hot(architecture[name], size, dtype=tf.float64)[None]
        return float(self.tensor(chosen)[0])

    def tensor(self, architectures: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The cost of architectures as tensors, `[B]`.

        Relaxed ones have the cost that is expected where every factor is drawn by itself, but for
        what depends on several of them, which is only near that.

        Args:
            architectures: dict of group name -> `[B, 2, choices]`, one-hot or relaxed, as
                `cell_groups` names them.
        """
        used = {
            kind: tf.unstack(_used(architectures, kind, len(nodes)), axis=-1)
            for kind, (_, nodes, _) in self.tables.items()
        }
        dtype = next(iter(used.values()))[0].dtype
        stem, *present = (
            tf.broadcast_to(tf.cast(part, dtype), tf.shape(next(iter(used.values()))[0]))
            for part in needed(used, self.kinds)
        )
        total = tf.constant(self.constant, dtype) + tf.constant(self.stem, dtype) * stem
        for kind, (inputs, nodes, joined) in self.tables.items():
            cost = tf.cast(joined, dtype) + tf.einsum(
                "jb,cj->bc", tf.stack(used[kind]), tf.cast(inputs, dtype)
            )
            for number, table in enumerate(nodes):
                edges = [
                    architectures[f"{kind}/{number}/{what}"] for what in ("input", "operation")
                ]
                cost += tf.einsum("bei,beo,cio->bc", *edges, tf.cast(table, dtype))
            here = [part for part, own in zip(present, self.kinds) if own == kind]
            total += tf.reduce_sum(tf.stack(here, axis=1) * cost, axis=1)
        return total

    def smallest(self) -> float:
        """The least cost of any architecture, exactly."""
        patterns = ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0))
        found = []
        for chosen in itertools.product(patterns, repeat=len(self.tables)):
            used = dict(zip(self.tables, chosen))
            found.append(self._least(used))
        return min(found)

    def _least(self, used) -> float:
        """The least cost where no edge starts at inputs that are not used."""
        stem, *present = needed(used, self.kinds)
        total = self.constant + self.stem * stem
        for kind, (inputs, nodes, joined) in self.tables.items():
            here = np.array([p for p, own in zip(present, self.kinds) if own == kind])
            total += here @ (joined + inputs @ np.array(used[kind]))
            allowed = [k for k in (0, 1) if used[kind][k]]
            for table in nodes:
                edges = np.tensordot(here, table, 1)
                starts = [*allowed, *range(2, len(edges))]
                total += 2.0 * edges[starts].min()
        return float(total)

    def times(self, factor: float) -> CellMeasure:
        """The same in another unit.

        Args:
            factor: float, what every cost is multiplied by.
        """
        return CellMeasure(
            [
                {
                    "kind": cell["kind"],
                    "inputs": np.multiply(cell["inputs"], factor),
                    "nodes": [np.multiply(table, factor) for table in cell["nodes"]],
                    "joined": cell["joined"] * factor,
                }
                for cell in self.get_config()["cells"]
            ],
            self.constant * factor,
            self.stem * factor,
        )

    def get_config(self):
        places = {kind: iter(range(len(self.kinds))) for kind in self.tables}
        cells = []
        for kind in self.kinds:
            inputs, nodes, joined = self.tables[kind]
            k = next(places[kind])
            parts = {"inputs": inputs[k].tolist(), "nodes": [table[k].tolist() for table in nodes]}
            cells.append({"kind": kind, **parts, "joined": float(joined[k])})
        return {"cells": cells, "constant": self.constant, "stem": self.stem}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def _stacked(cells) -> tuple:
    """`[cells, 2]`, a list of `[cells, inputs, operations]`, and `[cells]`."""
    inputs = np.array([cell["inputs"] for cell in cells], np.float64).reshape(-1, 2)
    nodes = [
        np.array(tables, np.float64) for tables in zip(*(c["nodes"] for c in cells), strict=True)
    ]
    return inputs, nodes, np.array([cell["joined"] for cell in cells], np.float64)


def _used(architectures, kind, num_nodes) -> tf.Tensor:
    """How likely any edge starts at either input, `[B, 2]`."""
    starts = [architectures[f"{kind}/{node}/input"][:, :, :2] for node in range(num_nodes)]
    return 1.0 - tf.reduce_prod(1.0 - tf.concat(starts, axis=1), axis=1)
