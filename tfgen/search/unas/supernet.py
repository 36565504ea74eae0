"""What networks of all networks have in common, whatever their space."""

import abc
from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfgen.ops.checks import in_range, whole_number
from tfgen.search.unas.mixing import copy_weights


class Supernet(keras.Model, abc.ABC):
    """All networks of a space with shared weights, weighted by an architecture.

    What it is called with, `(images, architectures, training=False)`, and its options are those of
    the classes made of it.

    Args:
        image_shape: sequence `(H, W, C)`.
        num_classes: integer, classes.
        skip_below: float, weight below which an operation is not run; 0 runs all.
        **options: dict of what else `get_config` names, and then the keyword arguments of
            `keras.Model`.

    Raises:
        ConfigError: a number is out of range.
    """

    own_options: tuple[str, ...] = ()  # beside the three that all have

    def __init__(
        self, image_shape: Sequence[int], num_classes: int, skip_below: float, **options: Any
    ):
        own = {name: options.pop(name) for name in self.own_options}
        super().__init__(**options)
        whole_number("num_classes", num_classes, 1)
        in_range("skip_below", skip_below, 0.0, below=1.0)
        self.image_shape = tuple(image_shape)
        self._options = dict(
            image_shape=list(image_shape), num_classes=num_classes, skip_below=skip_below, **own
        )
        self._declare()
        self.built = True

    @abc.abstractmethod
    def _declare(self) -> None:
        """Makes all layers, from `_options`."""

    @property
    @abc.abstractmethod
    def groups(self) -> dict[str, tuple[int, int]]:
        """The factors of its architectures, for `ArchitectureDistribution`."""

    @property
    def num_classes(self) -> int:
        """Classes."""
        return self._options["num_classes"]

    @abc.abstractmethod
    def genotype(self, choices):
        """The genotype of choices, `{group: [factors]}` integers."""

    def normal_form(self, choices):
        """The choices that stand for all that are the same network; here each for itself.

        Args:
            choices: dict of group name -> `[factors]` integers.
        """
        return choices

    @abc.abstractmethod
    def costs(self, count: Callable) -> dict:
        """What the parts of its networks count, as `measure_of` takes it.

        Args:
            count: function of a list of layers to a number.
        """

    def extract(self, genotype) -> keras.Model:
        """The network of a genotype with the weights that it has here.

        Args:
            genotype: `CellGenotype` or `BlockGenotype` of this network's operations.

        Returns:
            `cell_network` or `block_network` of the genotype: what this network is with one-hot
            weights.
        """
        found = self._network(genotype)
        for layer in found.layers:
            if layer.weights:
                copy_weights(self._own_layer(layer.name, genotype), layer)
        return found

    @abc.abstractmethod
    def _network(self, genotype) -> keras.Model:
        """The network of a genotype, with new weights."""

    @abc.abstractmethod
    def _own_layer(self, name: str, genotype) -> keras.layers.Layer:
        """The layer here whose weights a layer of an extracted network has."""

    def get_config(self):
        return {**super().get_config(), **self._options, "name": self.name}
