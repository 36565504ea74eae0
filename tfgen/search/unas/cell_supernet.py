"""A network that is every network of cells at once, weighted by an architecture."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.layers.convolutional import trained_faster
from tfgen.ops.checks import one_of, whole_number
from tfgen.search.unas.genotypes import CELL_OPERATIONS, NUM_NODES, CellGenotype
from tfgen.search.unas.mixing import SKIP_BELOW, mixed, part
from tfgen.search.unas.networks import STEMS, cell_network, stem_of
from tfgen.search.unas.operations import cell_operation, factorized_reduction, relu_conv
from tfgen.search.unas.supernet import Supernet


def cell_groups(
    num_operations: int = len(CELL_OPERATIONS), num_nodes: int = NUM_NODES
) -> dict[str, tuple[int, int]]:
    """The factors of two cells, for `ArchitectureDistribution`.

    Every node has two edges; each has a factor for its input and one for its operation.

    Args:
        num_operations: integer, how many of `CELL_OPERATIONS`, from the first on, there are: 7, or
            5 in UNAS's searches on ImageNet. Defaults to `7`.
        num_nodes: integer, nodes of a cell beside its inputs. Defaults to `4`.
    """
    return {
        f"{kind}/{node}/{what}": (2, node + 2 if what == "input" else num_operations)
        for kind in ("normal", "reduction")
        for node in range(num_nodes)
        for what in ("input", "operation")
    }


@keras.saving.register_keras_serializable(package="tfgen")
class CellSupernet(Supernet):
    """All networks of `cell_network` with shared weights.

    A node is the sum over its inputs and operations of both edges' weights, which are products of
    those of the input and of the operation (UNAS, arXiv:1912.07651). Batch norms of cells have
    neither scale nor offset.

    Args:
        image_shape: sequence `(H, W, C)`. Defaults to `(32, 32, 3)`.
        num_classes: integer, classes. Defaults to `10`.
        num_channels: integer, even, channels of the first cells' nodes. Defaults to `16`.
        num_cells: integer, cells in all, at least 3. Defaults to `8`.
        stem: string, "small" or "large", as of `cell_network`. Defaults to `"small"`.
        num_operations: integer, how many of `CELL_OPERATIONS` there are. Defaults to `7`.
        num_nodes: integer, nodes of a cell beside its inputs. Defaults to `4`.
        skip_below: float, weight below which an operation is not run; 0 runs all. Defaults to
            `0.05`.
        name: string, the model's name. Defaults to `"cell_supernet"`.

    Call arguments:
        images: `[B, H, W, C]`.
        architectures: dict of group name -> `[B or 1, 2, choices]`, one-hot or relaxed; see
            `cell_groups`.
        training: whether batch norm uses the batch's statistics. Defaults to `False`.

    Returns:
        `[B, num_classes]` logits.

    Raises:
        ConfigError: a number is out of range.
    """

    own_options = ("num_channels", "num_cells", "stem", "num_operations", "num_nodes")

    def __init__(
        self,
        image_shape: Sequence[int] = (32, 32, 3),
        num_classes: int = 10,
        num_channels: int = 16,
        num_cells: int = 8,
        stem: str = "small",
        num_operations: int = len(CELL_OPERATIONS),
        num_nodes: int = NUM_NODES,
        skip_below: float = SKIP_BELOW,
        name: str = "cell_supernet",
        **kwargs,
    ):
        whole_number("num_channels", num_channels, 1)
        if num_channels % 2:
            raise ConfigError(f"num_channels is {num_channels}; expected an even number")
        whole_number("num_cells", num_cells, 3)
        whole_number("num_operations", num_operations, 1, len(CELL_OPERATIONS))
        whole_number("num_nodes", num_nodes, 1)
        one_of("stem", stem, STEMS)
        own = (num_channels, num_cells, stem, num_operations, num_nodes)
        options = dict(zip(self.own_options, own))
        super().__init__(image_shape, num_classes, skip_below, **options, name=name, **kwargs)

    def _declare(self):
        options = self._options
        images = keras.Input(self.image_shape)
        with trained_faster():
            before, x, halved = stem_of(images, options["num_channels"], options["stem"])
        self.stem = keras.Model(images, [before, x], name="stem")
        self.inputs_of, self.operations, self.shapes = [], [], []
        shapes = [tuple(tensor.shape[1:]) for tensor in (before, x)]
        width = options["num_channels"]
        for number in range(options["num_cells"]):
            reduces = number in self.reductions
            width *= 2 if reduces else 1
            shapes, halved = self._declare_cell(number, shapes, width, reduces, halved), reduces
        self.head = keras.layers.Dense(options["num_classes"], name="logits")
        self.head.build((None, shapes[-1][-1]))

    @property
    def reductions(self) -> tuple[int, int]:
        """Numbers of the cells that halve the grid."""
        return self._options["num_cells"] // 3, 2 * self._options["num_cells"] // 3

    def _declare_cell(self, number, shapes, width, reduces, halved):
        name, fit = f"cell{number}", factorized_reduction if halved else relu_conv
        self.inputs_of.append(
            [
                part(shape, make, width, False, name=f"{name}_input{k}")
                for k, (shape, make) in enumerate(zip(shapes, (fit, relu_conv)))
            ]
        )
        here = tuple(self.inputs_of[-1][1].output.shape[1:])
        grid = (here[0] // 2, here[1] // 2) if reduces else here[:2]
        nodes = []
        for node in range(self._options["num_nodes"]):
            nodes.append([])
            for source in range(node + 2):
                stride = 2 if reduces and source < 2 else 1
                shape = here if source < 2 else (*grid, width)
                own = f"{name}_node{node}_input{source}"
                nodes[-1].append(
                    [
                        part(shape, cell_operation, o, width, stride, False, name=f"{own}_{o}")
                        for o in CELL_OPERATIONS[: self._options["num_operations"]]
                    ]
                )
        self.operations.append(nodes)
        self.shapes.append((*grid, width))
        return [shapes[1], (*grid, self._options["num_nodes"] * width)]

    def call(self, images, architectures, training=False):
        before, x = self.stem(images, training=training)
        for number in range(self._options["num_cells"]):
            before, x = x, self._cell(number, before, x, architectures, training)
        return tf.cast(self.head(tf.reduce_mean(x, axis=[1, 2])), self.head.kernel.dtype)

    def _cell(self, number, before, last, architectures, training):
        kind = "reduction" if number in self.reductions else "normal"
        fits, nodes = self.inputs_of[number], self.operations[number]
        states = [fit(x, training=training) for fit, x in zip(fits, (before, last))]
        shape, skip_below = self.shapes[number], self._options["skip_below"]
        for node, sources in enumerate(nodes):
            edges = [architectures[f"{kind}/{node}/{what}"] for what in ("input", "operation")]
            weights = tf.einsum("bei,beo->bio", *edges)
            states.append(
                tf.add_n(
                    [
                        mixed(weights[:, k], operations, states[k], shape, training, skip_below)
                        for k, operations in enumerate(sources)
                    ]
                )
            )
        return tf.concat(states[2:], axis=-1)

    @property
    def groups(self) -> dict[str, tuple[int, int]]:
        """The factors of its architectures, see `cell_groups`."""
        return cell_groups(self._options["num_operations"], self._options["num_nodes"])

    def genotype(self, choices) -> CellGenotype:
        """The genotype of choices, `{group: [2]}` integers."""
        return CellGenotype.of_choices(choices)

    def normal_form(self, choices):
        """The choices with the two edges of every node in order, since they are added up.

        Args:
            choices: dict of group name -> `[2]` integers.
        """
        ordered = {}
        for node in {key.rpartition("/")[0] for key in choices}:
            names = [f"{node}/{what}" for what in ("input", "operation")]
            edges = np.array([choices[name] for name in names])
            ordered.update(zip(names, edges[:, np.lexsort(edges)]))
        return ordered

    def costs(self, count: Callable) -> dict:
        """What the parts of its networks count, as `CellMeasure` takes it.

        Args:
            count: function of a list of layers to a number.
        """
        first = keras.Model(self.stem.inputs, self.stem.outputs[0]).layers
        cells = [
            {
                "kind": "reduction" if number in self.reductions else "normal",
                "inputs": [count(fit.layers) for fit in fits],
                "nodes": [
                    [[0 if o is None else count(o.layers) for o in row] for row in sources]
                    for sources in nodes
                ],
                "joined": 0,
            }
            for number, (fits, nodes) in enumerate(zip(self.inputs_of, self.operations))
        ]
        return {
            "cells": cells,
            "constant": count(first) + count([self.head]),
            "stem": count([layer for layer in self.stem.layers if layer not in first]),
        }

    def _network(self, genotype):
        lacking = ("num_operations", "num_nodes", "skip_below")
        sizes = {key: value for key, value in self._options.items() if key not in lacking}
        return cell_network(genotype, **sizes)

    def _own_layer(self, name, genotype):
        """The layer here whose weights a layer of an extracted network has."""
        if name == "logits":
            return self.head
        if name.startswith("stem"):
            return self.stem.get_layer(name)
        cell, _, rest = name.partition("_")
        number = int(cell.removeprefix("cell"))
        if rest.startswith("input"):
            return self.inputs_of[number][int(rest[5])].get_layer(name)
        node, edge = (int(word[4:]) for word in rest.split("_")[:2])
        nodes = genotype.reduction if number in self.reductions else genotype.normal
        operation, source = nodes[node][edge]
        model = self.operations[number][node][source][CELL_OPERATIONS.index(operation)]
        start = f"{cell}_node{node}"
        suffix = name.removeprefix(f"{start}_edge{edge}")
        return model.get_layer(f"{start}_input{source}_{operation}{suffix}")
