"""Several layers in a row replaced by one operation, beside the layers by themselves.

The same network is cut more coarsely as well, by which runs of layers have candidates, scores and
latencies of their own; the programme then chooses among all of them.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from tfgen.errors import ConfigError
from tfgen.ops.checks import whole_number
from tfgen.search.hant.hant import HANT
from tfgen.search.hant.library import UNTRAINED
from tfgen.search.hant.network import CutNetwork, assembled
from tfgen.search.hant.planner import Planner
from tfgen.search.hant.plans import Plan
from tfgen.search.latency import Block, Calibration, LatencyTable


def coarser(hant: HANT, size: int, folder: str | os.PathLike | None = None) -> HANT:
    """The same network cut into runs of layers, with the same pool.

    Args:
        hant: the `HANT` of the layers.
        size: integer, layers of a run; the last may be shorter. One layer that is left over at the
            end stays as it is.
        folder: path of the folder of its candidates; None is one within that of the layers.

    Raises:
        ConfigError: there are fewer layers, or they cannot be named.
    """
    library = hant.library
    names = run_boundaries(library.network, size)
    if folder is None:
        folder = Path(library.folder, f"runs_of_{size}")
    pool, network = library.operations.values(), library.network.network
    return HANT(network, folder, pool, names, library.activation)


def run_boundaries(network: CutNetwork, size: int) -> list[str]:
    """Names of the Keras layers between which runs of layers lie.

    Args:
        network: the `CutNetwork`.
        size: integer, layers of a run.

    Raises:
        ConfigError: there are fewer layers.
    """
    segments = network.segments
    count = len(segments)
    whole_number("the layers of a run", size, 2, count)
    ends = list(range(size - 1, count, size))
    if count - 1 - ends[-1] > 1:
        ends.append(count - 1)
    names = [segments[0].input._keras_history.operation.name]
    return names + [segments[end].nodes[-1].operation.name for end in ends]


class Grouping(Planner):
    """The choice among the operations of layers and those of runs of them.

    What stays as it is, or is left out, does so layer by layer: runs are there to be replaced.

    Args:
        hant: the `HANT` of the layers.
        others: sequence of `HANT` of coarser cuts; see `coarser`.

    Attributes:
        library: the `Library` of the layers.
        cuts: list of all, the finest first, each of which is to be distilled and scored.

    Raises:
        ConfigError: another one is of another network, cut elsewhere, or of another pool.
    """

    def __init__(self, hant: HANT, others: Sequence[HANT]):
        self.library, self.cuts = hant.library, [hant, *others]
        segments = hant.library.network.segments
        starts = {id(segment.input): number for number, segment in enumerate(segments)}
        ends = {id(segment.output): number for number, segment in enumerate(segments)}
        self._rows: list[tuple[HANT, int]] = []  # whose layer it is, and which of them
        self._runs: list[tuple[int, int]] = []
        for each in self.cuts:
            if each.operations != hant.operations:
                raise ConfigError(
                    f"runs of layers have the pool {', '.join(each.operations)}, and layers "
                    f"{', '.join(hant.operations)}; make them with coarser(hant, size)"
                )
            for number, segment in enumerate(each.library.network.segments):
                if id(segment.input) not in starts or id(segment.output) not in ends:
                    raise ConfigError(
                        f"{segment.name} is no run of the layers; make it with coarser(hant, size)"
                    )
                run = starts[id(segment.input)], ends[id(segment.output)]
                if run not in self._runs:
                    self._runs.append(run)
                    self._rows.append((each, number))

    @property
    def runs(self) -> list[tuple[int, int]]:
        """The first and the last layer of every row of the tables; those of single layers first."""
        return list(self._runs)

    @property
    def latency_ms(self) -> float:
        """Milliseconds of the network as it came, measured."""
        return self.cuts[0].latency_ms

    @property
    def rest_ms(self) -> float:
        """Milliseconds of what is in no layer: stem and head."""
        return self.cuts[0].rest_ms

    def blocks(self) -> list[Block]:
        """What `measure` times, the network among it."""
        found = {block.key: block for each in self.cuts for block in each.blocks()}
        return list(found.values())

    def take_latencies(self, table: LatencyTable, calibrated: Calibration | None = None) -> None:
        """Uses what was measured before.

        Args:
            table: `LatencyTable`, of `blocks` among others.
            calibrated: the `Calibration` of its entries; None takes them as they are.
        """
        for each in self.cuts:
            each.take_latencies(table, calibrated)

    @property
    def calibration(self) -> Calibration | None:
        """How much of what layers save a network saves; None where sums are taken as they are."""
        return self.cuts[0].calibration

    def tables(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Scores and milliseconds, each one array a row of the operations in their order.

        Raises:
            UserError: nothing was scored or measured.
        """
        tables = {id(each): each.tables() for each in self.cuts}
        families = [operation["family"] for operation in self.library.operations.values()]
        replaces, scores, latencies = ~np.isin(families, UNTRAINED), [], []
        for (each, number), (first, last) in zip(self._rows, self._runs):
            row = tables[id(each)][0][number]
            scores.append(row if first == last else np.where(replaces, row, np.inf))
            latencies.append(tables[id(each)][1][number])
        return scores, latencies

    def network(self, plan: Plan, name: str | None = None) -> keras.Model:
        """The network of a plan, a plain functional model with trained candidates.

        Args:
            plan: a `Plan`.
            name: string, the model's name; None is the network's.
        """
        replacements = []
        for (each, number), place in zip(self._rows, plan.choices):
            if place is not None and self.operations[place] != self.library.teacher_name:
                segment = each.library.network.segments[number]
                replacements.append((segment, each.deployed(number, self.operations[place])))
        return assembled(self.library.network.network, replacements, name)
