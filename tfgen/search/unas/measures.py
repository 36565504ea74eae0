"""What can be measured of an architecture, as numbers: costs that add up, and tables of results.

A measure is any function of an architecture, `{group: [factors] integers}`, to a float: a network's
size, its peak memory, milliseconds on a device, an error that was looked up. Those here also take
architectures as tensors, and know the smallest value there is.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.files.json_file import read_json
from tfgen.ops.checks import one_of
from tfgen.search.unas.cell_measure import CellMeasure

Architecture = Mapping[str, np.ndarray]
Measure = Callable[[Architecture], float]


@keras.saving.register_keras_serializable(package="tfgen")
class AdditiveMeasure:
    """A constant and what every choice adds: parameters, multiplications, latencies of blocks.

    Args:
        factors: mapping of group name -> `[factors, choices]` array, what every choice of every
            factor adds; None where there is none.
        edges: mapping of a node `"<cell>/<node>"` -> `[inputs, operations]` array, what an
            operation on an input adds, for each of the node's two edges; None where there is none.
        constant: float, what all architectures have. Defaults to `0.0`.

    Raises:
        ConfigError: an entry is not finite, or a table has no two dimensions.
    """

    def __init__(
        self,
        factors: Mapping[str, np.ndarray] | None = None,
        edges: Mapping[str, np.ndarray] | None = None,
        constant: float = 0.0,
    ):
        self.factors, self.edges = _tables(factors), _tables(edges)
        self.constant = float(constant)

    def __call__(self, architecture: Architecture) -> float:
        total = self.constant
        for key, table in self.factors.items():
            chosen = np.asarray(architecture[key])
            total += table[np.arange(len(chosen)), chosen].sum()
        for node, table in self.edges.items():
            inputs, operations = (np.asarray(architecture[name]) for name in _groups(node))
            total += table[inputs, operations].sum()
        return float(total)

    def tensor(self, architectures: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The measure of architectures as tensors, `[B]`.

        Args:
            architectures: dict of group name -> `[B, factors, choices]`, one-hot or relaxed.
        """
        parts = []
        for key, table in self.factors.items():
            value = architectures[key]
            parts.append(tf.einsum("bfk,fk->b", value, tf.cast(table, value.dtype)))
        for node, table in self.edges.items():
            inputs, operations = (architectures[name] for name in _groups(node))
            table = tf.cast(table, inputs.dtype)
            parts.append(tf.einsum("bei,beo,io->b", inputs, operations, table))
        return tf.add_n(parts) + tf.cast(self.constant, parts[0].dtype)

    def smallest(self) -> float:
        """The least value of any architecture, exactly."""
        least = sum(table.min(axis=1).sum() for table in self.factors.values())
        return self.constant + float(least + sum(2.0 * t.min() for t in self.edges.values()))

    def times(self, factor: float) -> "AdditiveMeasure":
        """The same in another unit.

        Args:
            factor: float, what every value is multiplied by.
        """
        return AdditiveMeasure(
            {key: table * factor for key, table in self.factors.items()},
            {key: table * factor for key, table in self.edges.items()},
            self.constant * factor,
        )

    def get_config(self):
        return {
            "factors": {key: table.tolist() for key, table in self.factors.items()},
            "edges": {key: table.tolist() for key, table in self.edges.items()},
            "constant": self.constant,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable(package="tfgen")
class TableMeasure:
    """A number for every architecture of a small space, as tabular benchmarks keep them.

    Args:
        groups: mapping of group name -> pair of integers, factors and choices of each.
        values: array, one dimension for every factor in the order of the groups.

    Raises:
        ConfigError: the array does not fit the groups, or is not finite.
    """

    def __init__(self, groups: Mapping[str, tuple[int, int]], values: np.ndarray):
        self.groups = {str(key): tuple(map(int, shape)) for key, shape in groups.items()}
        self.values = np.asarray(values, np.float64)
        expected = tuple(k for count, k in self.groups.values() for _ in range(count))
        if self.values.shape != expected or not np.isfinite(self.values).all():
            raise ConfigError(
                f"the table has shape {self.values.shape}; expected {expected} by its groups, and "
                "finite numbers"
            )

    def __call__(self, architecture: Architecture) -> float:
        chosen = [int(k) for key in self.groups for k in np.ravel(architecture[key])]
        return float(self.values[tuple(chosen)])

    def tensor(self, architectures: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The measure of one-hot architectures, `[B]`; it has no gradient.

        Args:
            architectures: dict of group name -> `[B, factors, choices]` one-hot.
        """
        chosen = [tf.argmax(architectures[key], axis=-1) for key in self.groups]
        values = tf.gather_nd(self.values, tf.concat(chosen, axis=1))
        return tf.cast(values, architectures[next(iter(self.groups))].dtype)

    def smallest(self) -> float:
        """The least value of any architecture."""
        return float(self.values.min())

    def share_below(self, architecture: Architecture) -> float:
        """Share of all architectures that are better than one, in [0, 1)."""
        return float(np.mean(self.values < self(architecture)))

    def get_config(self):
        groups = {key: list(shape) for key, shape in self.groups.items()}
        return {"groups": groups, "values": self.values.tolist()}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def read_measure(path: str | Path) -> "AdditiveMeasure | CellMeasure | TableMeasure":
    """The measure that a JSON file holds: what the constructor of a class takes, by name.

    Args:
        path: path of the file.

    Raises:
        ConfigError: there is no such file, or it holds something else.
    """
    held = read_json(Path(path), ConfigError)
    try:
        if {"factors", "edges", "cells"} & set(held):
            names = ("factors", "edges", "cells", "constant", "stem")
            return measure_of({name: held[name] for name in names if name in held})
        return TableMeasure(held["groups"], held["values"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} holds no measure of architectures ({error}); expected 'factors', 'edges' or "
            "'cells', or 'groups' and 'values'"
        ) from error


COUNTS = ("parameters", "macs", "bytes")


def count_of(supernet: keras.Model, what: str, bits: int = 8) -> AdditiveMeasure | CellMeasure:
    """A count of the networks that a supernet holds, exact for each of them.

    Args:
        supernet: a `CellSupernet` or a `BlockSupernet`.
        what: string: "parameters", those that are trained; "macs", multiplications of convolutions
            and dense layers for one image; "bytes", what the parameters take.
        bits: integer, bits of a parameter, for "bytes". Defaults to `8`.

    Raises:
        ConfigError: another word.
    """
    one_of("what is counted", what, COUNTS)
    counted = measure_of(supernet.costs(_macs if what == "macs" else _parameters))
    return counted.times(bits / 8.0) if what == "bytes" else counted


def measure_of(costs: Mapping) -> AdditiveMeasure | CellMeasure:
    """The measure of costs by name.

    Args:
        costs: mapping of names to numbers and arrays, what the constructor of either class takes.
    """
    return (CellMeasure if "cells" in costs else AdditiveMeasure)(**costs)


def _parameters(layers) -> int:
    """Trainable numbers of layers, with those that batch norm has only in extracted networks."""
    total = 0
    for layer in layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            total += 2 * layer.moving_mean.shape[0]
        else:
            total += sum(int(np.prod(v.shape)) for v in layer.trainable_variables)
    return total


def _macs(layers) -> int:
    """Multiplications of one image in layers."""
    total = 0
    for layer in layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            _, height, width, _ = layer.output.shape
            total += height * width * int(np.prod(layer.kernel.shape))
        elif isinstance(layer, keras.layers.Dense):
            total += int(np.prod(layer.kernel.shape))
    return total


def _tables(given) -> dict[str, np.ndarray]:
    tables = {str(key): np.asarray(table, np.float64) for key, table in (given or {}).items()}
    for key, table in tables.items():
        if table.ndim != 2 or not np.isfinite(table).all():
            raise ConfigError(
                f"the table of {key!r} has shape {table.shape} and "
                f"{int((~np.isfinite(table)).sum())} entries that are not finite; expected two "
                "dimensions and finite numbers"
            )
    return tables


def _groups(node: str) -> tuple[str, str]:
    return f"{node}/input", f"{node}/operation"
