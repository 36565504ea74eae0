"""Several layers in a row replaced by one operation, beside the layers by themselves.

The same network is cut more coarsely as well, by which runs of layers have candidates, scores and
latencies of their own; the programme then chooses among all of them.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from tfgen.errors import ConfigError
from tfgen.ops.checks import whole_number
from tfgen.search.hant.hant import HANT
from tfgen.search.hant.network import assembled
from tfgen.search.hant.segments import solve_segments


class Choice(NamedTuple):
    """What stands for a run of layers.

    Attributes:
        first: integer, the first of the layers.
        last: integer, the last, itself included.
        operation: string, name of the operation.
        score: float, what it loses.
        latency_ms: float, milliseconds.
    """

    first: int
    last: int
    operation: str
    score: float
    latency_ms: float


def coarser(hant: HANT, size: int, folder: str | os.PathLike | None = None) -> HANT:
    """The same network cut into runs of layers, with the same pool.

    Args:
        hant: the `HANT` of the layers.
        size: integer, layers of a run; the last may be shorter.
        folder: path of the folder of its candidates; None is one within that of the layers.

    Raises:
        ConfigError: there are fewer layers, or they cannot be named.
    """
    library = hant.library
    segments = library.network.segments
    whole_number("the layers of a run", size, 2, len(segments))
    ends = [*range(size - 1, len(segments) - 1, size), len(segments) - 1]
    names = [segments[0].input._keras_history.operation.name]
    names += [segments[end].nodes[-1].operation.name for end in ends]
    if folder is None:
        folder = Path(library.folder, f"runs_of_{size}")
    pool, network = library.operations.values(), library.network.network
    return HANT(network, folder, pool, names, library.activation)


class Grouping:
    """The choice among the operations of layers and those of runs of them.

    Args:
        hant: the `HANT` of the layers, scored and measured.
        others: sequence of `HANT` of coarser cuts, likewise; see `coarser`.

    Raises:
        ConfigError: another one is of another network, or cut elsewhere.
    """

    def __init__(self, hant: HANT, others: Sequence[HANT]):
        self.hant, self.others = hant, list(others)
        segments = hant.library.network.segments
        starts = {id(segment.input): number for number, segment in enumerate(segments)}
        ends = {id(segment.output): number for number, segment in enumerate(segments)}
        self._runs = []  # of which HANT, its layer, first and last
        for each in (hant, *self.others):
            for number, segment in enumerate(each.library.network.segments):
                if id(segment.input) not in starts or id(segment.output) not in ends:
                    raise ConfigError(
                        f"{segment.name} is no run of the layers; make it with coarser(hant, size)"
                    )
                first, last = starts[id(segment.input)], ends[id(segment.output)]
                if each is hant or last > first:  # single layers have candidates already
                    self._runs.append((each, number, first, last))

    def plan(self, budget_ms: float) -> list[Choice]:
        """The operations that lose least within a budget, in the order of layers.

        Args:
            budget_ms: float, milliseconds that the whole network may take.

        Raises:
            InfeasibleError: it cannot be met, with the smallest latency of all layers that can.
            UserError: something was not scored or measured.
        """
        tables = {id(each): each.tables() for each in (self.hant, *self.others)}
        scores, latencies = (
            [tables[id(each)][which][number] for each, number, *_ in self._runs] for which in (0, 1)
        )
        runs = [(first, last) for *_, first, last in self._runs]
        found = []
        for run, place in solve_segments(runs, scores, latencies, budget_ms - self._rest_ms()):
            operation = self._runs[run][0].operations[place]
            lost, took = (float(rows[run][place]) for rows in (scores, latencies))
            found.append(Choice(*runs[run], operation, lost, took))
        return found

    def _rest_ms(self) -> float:
        """Of what is in no layer."""
        name = self.hant.library.teacher_name
        place = self.hant.operations.index(name)
        layers = float(np.sum([row[place] for row in self.hant.tables()[1]]))
        return max(0.0, self.hant.latency_ms - layers)

    def predicted_ms(self, plan: Sequence[Choice]) -> float:
        """What a plan's whole network should take.

        Args:
            plan: sequence of `Choice`.
        """
        return self._rest_ms() + sum(choice.latency_ms for choice in plan)

    def network(self, plan: Sequence[Choice], name: str | None = None) -> keras.Model:
        """The network of a plan, a plain functional model with trained candidates.

        Args:
            plan: sequence of `Choice`, as `plan` returns it.
            name: string, the model's name; None is the network's.
        """
        by_layers = {(first, last): (each, number) for each, number, first, last in self._runs}
        replacements = []
        for choice in plan:
            each, number = by_layers[choice.first, choice.last]
            if choice.operation != each.library.teacher_name:
                segment = each.library.network.segments[number]
                replacements.append((segment, each.deployed(number, choice.operation)))
        return assembled(self.hant.library.network.network, replacements, name)
