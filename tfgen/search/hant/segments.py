"""Operations that may stand for several layers in a row.

What replaces a run of layers may be narrower inside than any of them, and is one operation instead
of several. A plan takes each layer in exactly one run; runs of a single layer are its own
operations.
"""

from collections.abc import Sequence

import numpy as np

from tfgen.errors import ConfigError
from tfgen.ops.checks import whole_number


class Runs:
    """The layers that each row of operations stands for.

    Args:
        pairs: sequence of pairs `(first, last)`, numbers of layers, both included; layers count
            from 0.

    Attributes:
        pairs: list of these pairs.
        num_layers: integer, how many layers there are.
        lengths: integers `[runs]`, layers of each.
        covers: float64 `[layers, runs]`, 1 where a run has a layer and 0 elsewhere.

    Raises:
        ConfigError: a pair is none, or runs cannot be put together to all layers.
    """

    def __init__(self, pairs: Sequence[tuple[int, int]]):
        for first, last in pairs:
            whole_number("the first layer of a run", first, 0)
            whole_number("the last layer of a run", last, first)
        self.pairs = [(int(first), int(last)) for first, last in pairs]
        self.num_layers = 1 + max(last for _, last in self.pairs)
        layers = np.arange(self.num_layers)[:, None]
        first, last = np.array(self.pairs).T
        self.lengths = last - first + 1
        self.covers = ((layers >= first) & (layers <= last)).astype(np.float64)
        missing = np.flatnonzero(~self.covers.any(1))
        if len(missing):
            raise ConfigError(f"no run has layer {missing[0]}; add one")
        if np.isinf(self.least(np.zeros(len(self.pairs)))):
            raise ConfigError(f"runs {self.pairs} cannot be put together to all layers; add some")

    @classmethod
    def single(cls, num_layers: int) -> "Runs":
        """Every layer by itself.

        Args:
            num_layers: integer, how many there are.
        """
        return cls([(layer, layer) for layer in range(num_layers)])

    def ending(self, layer: int) -> list[int]:
        """Places of the runs whose last layer is a given one.

        Args:
            layer: integer, the layer's number.
        """
        return [place for place, (_, last) in enumerate(self.pairs) if last == layer]

    def least(self, values: Sequence[float]) -> float:
        """The smallest sum of the values of runs that have every layer once.

        Args:
            values: sequence of floats, one a run; infinity is one that is not there.
        """
        behind = [0.0]
        for layer in range(self.num_layers):
            sums = [behind[self.pairs[k][0]] + float(values[k]) for k in self.ending(layer)]
            behind.append(min(sums, default=np.inf))
        return behind[-1]

    def in_order(self, choices: Sequence[int | None]) -> list[int]:
        """Places of the runs that a plan takes, in the order of layers.

        Args:
            choices: sequence of an operation's place for every run, None for one that is not taken.
        """
        taken = [place for place, choice in enumerate(choices) if choice is not None]
        return sorted(taken, key=self.pairs.__getitem__)
