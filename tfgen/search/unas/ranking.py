"""The most probable architectures of a distribution, in order."""

import heapq
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfgen.search.unas.distribution import ArchitectureDistribution


class Found(NamedTuple):
    """An architecture that a search ended with.

    Attributes:
        choices: dict of group name -> `[factors]` int64.
        log_prob: float, nats.
        objective: float, what the search minimises, measured of this one; None where it was not.
    """

    choices: dict[str, np.ndarray]
    log_prob: float
    objective: float | None = None


def identity(choices: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """Equal for equal choices only, whatever the order of the groups.

    Args:
        choices: dict of group name -> `[factors]` integers.
    """
    return tuple(int(choice) for key in sorted(choices) for choice in choices[key])


def most_probable(
    distribution: ArchitectureDistribution, count: int, normal_form: Callable | None = None
) -> list[Found]:
    """The most probable architectures, best first, and none twice.

    Args:
        distribution: the `ArchitectureDistribution`.
        count: integer, how many; fewer where there are no more.
        normal_form: function of choices to those that stand for all of the same network, of which
            the most probable are kept; None if no two choices are one network. Defaults to None.
    """
    rows, owners = [], []
    for key, log_p in distribution.log_probabilities().items():
        for row in log_p.numpy():
            rows.append(row.astype(np.float64))
            owners.append(key)

    def in_order():
        seen = set()
        for chosen, log_prob in best_combinations(rows):
            choices = {key: [] for key in distribution.groups}
            for key, choice in zip(owners, chosen):
                choices[key].append(choice)
            choices = {key: np.array(row) for key, row in choices.items()}
            same = identity(normal_form(choices) if normal_form else choices)
            if same not in seen:
                seen.add(same)
                yield Found(choices, log_prob)

    return list(itertools.islice(in_order(), count))


def best_combinations(rows: Sequence[np.ndarray]) -> Iterator[tuple[list[int], float]]:
    """The combinations of one entry of every row with the largest sums, largest first.

    Every combination but the best is a better one with one row's choice moved to its next best;
    moving only the last row that was moved, or a later one, makes each of them once.

    Args:
        rows: sequence of arrays `[choices]` float64.

    Yields:
        Pairs of a list of indices, one for each row, and the float sum.
    """
    orders = [np.argsort(-row, kind="stable") for row in rows]
    start = tuple(0 for _ in rows)
    total = float(sum(row[order[0]] for row, order in zip(rows, orders)))
    heap = [(-total, start, 0)]
    while heap:
        negative, ranks, last = heapq.heappop(heap)
        yield [int(order[rank]) for order, rank in zip(orders, ranks)], -negative
        for place in range(last, len(rows)):
            row, order, rank = rows[place], orders[place], ranks[place]
            if rank + 1 < len(row):
                moved = (*ranks[:place], rank + 1, *ranks[place + 1 :])
                less = negative + float(row[order[rank]] - row[order[rank + 1]])
                heapq.heappush(heap, (less, moved, place))
