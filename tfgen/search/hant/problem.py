"""An operation for every layer: what each loses, what it costs, and what may be left out."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfgen.errors import ConfigError
from tfgen.ops.checks import in_range
from tfgen.search.hant.segments import Runs

# One 1-D array a layer, or a run of layers, as long as it has operations.
Rows = Sequence[np.ndarray]
Choices = Sequence[int | None]  # one a layer, or a run; None where it is not taken


@dataclasses.dataclass(frozen=True)
class Limit:
    """A sum over the chosen operations that may not grow too large.

    Attributes:
        name: string, what it is of, for messages: "latency on a phone".
        costs: sequence of arrays, one a layer, the cost of each operation, at least 0; infinity is
            one that cannot be used.
        most: float, the largest sum allowed, itself included.
        unit: string, of `costs` and `most`, for messages. Defaults to `""`.
    """

    name: str
    costs: Rows
    most: float
    unit: str = ""

    def shown(self, value: float) -> str:
        """A sum with its unit."""
        return f"{value:.6g} {self.unit}".rstrip()


class Problem:
    """The choice of an operation for every layer, or for runs that have every layer once.

    Args:
        scores: sequence of arrays, one a layer, what each operation loses; infinity is one that
            cannot be used.
        limits: sequence of `Limit`.
        runs: `Runs` of as many rows; None is every layer by itself.

    Attributes:
        scores: list of float64 arrays.
        limits: tuple of `Limit` whose costs are lists of float64 arrays.
        usable: list of arrays of booleans.
        runs: the `Runs`.

    Raises:
        ConfigError: there is no layer, a layer has no operation, two rows do not fit, or a number
            is none.
    """

    def __init__(self, scores: Rows, limits: Sequence[Limit], runs: Runs | None = None):
        self.scores = _rows("scores", scores)
        if not self.scores:
            raise ConfigError("there is no layer; expected scores of at least one")
        self.runs = Runs.single(len(self.scores)) if runs is None else runs
        if len(self.runs.pairs) != len(self.scores):
            raise ConfigError(
                f"there are {len(self.runs.pairs)} runs, and scores of {len(self.scores)}; "
                "expected as many"
            )
        self.limits = tuple(self._checked(limit) for limit in limits)
        names = [limit.name for limit in self.limits]
        if len({*names}) < len(names):
            raise ConfigError(f"limits are called {', '.join(names)}; expected different names")
        self.usable = [
            np.all([np.isfinite(row), *(np.isfinite(x.costs[k]) for x in self.limits)], axis=0)
            for k, row in enumerate(self.scores)
        ]
        for layer, row in enumerate(self.scores):
            if np.isnan(row).any() or np.isneginf(row).any():
                place = int(np.flatnonzero(np.isnan(row) | np.isneginf(row))[0])
                raise ConfigError(
                    f"the score of operation {place} of layer {layer} is {row[place]}; expected a "
                    "number, or infinity for one that cannot be used"
                )
        self._check_usable()

    def _check_usable(self):
        there = np.array([usable.any() for usable in self.usable])
        if np.isfinite(self.runs.least(np.where(there, 0.0, np.inf))):
            return
        left_out = np.flatnonzero(~self.runs.covers[:, there].any(1))
        if len(left_out):
            raise ConfigError(f"layer {left_out[0]} has no operation that can be used; add one")
        raise ConfigError("operations that can be used do not stand for all layers; add some")

    def _checked(self, limit):
        costs = _rows(limit.name, limit.costs)
        shapes, wanted = ([len(row) for row in rows] for rows in (costs, self.scores))
        if shapes != wanted:
            layer = next((k for k, pair in enumerate(zip(shapes, wanted)) if len({*pair}) > 1), -1)
            raise ConfigError(
                f"{limit.name} has {shapes[layer]} operations in layer {layer}, and scores has "
                f"{wanted[layer]}; expected as many"
                if len(shapes) == len(wanted)
                else f"{limit.name} has {len(shapes)} layers, and scores has {len(wanted)}; "
                "expected as many"
            )
        for layer, row in enumerate(costs):
            in_range(f"{limit.name} of layer {layer}", np.where(np.isposinf(row), 0.0, row), 0.0)
        if np.isnan(limit.most) or np.isneginf(limit.most):
            raise ConfigError(f"the most of {limit.name} is {limit.most}; expected a number")
        return dataclasses.replace(limit, costs=costs, most=float(limit.most))

    @property
    def num_layers(self) -> int:
        """Layers, each of which gets one operation or is in a run that does."""
        return self.runs.num_layers

    def sum(self, rows: Rows, choices: Choices) -> float:
        """The sum of chosen entries.

        Args:
            rows: sequence of arrays, one a layer.
            choices: sequence of integers, one a layer; None where nothing is chosen.
        """
        return chosen_sum(rows, choices)

    def least(self, limit: Limit) -> float:
        """The smallest sum of a limit's costs that there is.

        Args:
            limit: a `Limit`, one of `limits`.
        """
        costs = zip(limit.costs, self.usable)
        return self.runs.least([row[use].min() if use.any() else np.inf for row, use in costs])

    def worthwhile(self, used: Sequence[Choices] = (), near: Choices | None = None) -> list:
        """Operations that an optimum may need, indices by layer.

        One that is no better in anything than another one of its layer can be replaced by it. Where
        plans have to differ from earlier ones, this holds if no earlier plan has the other one.

        Args:
            used: sequence of earlier plans' choices. Defaults to `()`.
            near: sequence of integers, choices of which some have to stay, so that all may; None
                has none.
        """
        found = []
        for layer, usable in enumerate(self.usable):
            places = np.flatnonzero(usable)
            columns = [self.scores[layer], *(limit.costs[layer] for limit in self.limits)]
            values = np.stack([column[places] for column in columns], axis=1)
            before = [plan[layer] for plan in used if plan[layer] is not None]
            taken = np.isin(places, before)
            dominated = _dominated(values, taken)
            if near is not None:
                dominated &= places != near[layer]
            found.append(places[~dominated])
        return found


def chosen_sum(rows: Rows, choices: Choices) -> float:
    """The sum of chosen entries.

    Args:
        rows: sequence of arrays, one a layer.
        choices: sequence of integers, one a layer; None where nothing is chosen.
    """
    return float(sum(row[choice] for row, choice in zip(rows, choices) if choice is not None))


def _rows(name, rows):
    found = []
    for layer, row in enumerate(rows):
        try:
            array = np.asarray(row, np.float64)
        except (TypeError, ValueError):
            raise ConfigError(f"{name} of layer {layer} is no row of numbers") from None
        if array.ndim != 1 or not len(array):
            raise ConfigError(
                f"{name} of layer {layer} has the shape {array.shape}; expected [operations]"
            )
        found.append(array)
    return found


def _dominated(values, taken):
    """Which rows of `[M, columns]` another one, not taken, is at least as good as everywhere."""
    no_worse = (values[:, None] <= values[None]).all(-1)  # [M, M]: first no worse than second
    equal = no_worse & no_worse.T
    number = np.arange(len(values))
    # Of several that are equal the first that is not taken stays.
    rank = number + len(values) * taken
    before = rank[:, None] < rank[None]
    better = no_worse & (~equal | before) & ~taken[:, None]
    return better.any(0)
