"""The programme solved again around a plan, where scores taken around its network hold."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfgen.search.hant.library import Library
from tfgen.search.hant.plans import nearby_plan
from tfgen.search.hant.problem import Rows
from tfgen.search.hant.scores import mean_loss, score_swaps


def refined(
    library: Library,
    latencies_ms: Rows,
    budget_ms: float,
    choices: Sequence[int],
    images: np.ndarray,
    labels: np.ndarray | None,
    *,
    num_changes: int,
    rounds: int,
    **options: Any,
) -> tuple[int, ...]:
    """The choices, changed a few at a time as long as the whole network gains.

    Args:
        library: the `Library`.
        latencies_ms: sequence of arrays, one a layer, milliseconds.
        budget_ms: float, the most that all layers together may take.
        choices: sequence of integers, one a layer, within the budget.
        images: array `[N, H, W, C]` on which is scored.
        labels: `[N]` integers; None where the measure needs none.
        num_changes: integer, layers that a round may change; halved where it does not help.
        rounds: integer, rounds at most.
        **options: further keyword arguments of `score_swaps` and `mean_loss`.
    """
    operations, choices = list(library.operations), tuple(choices)

    def names(places):
        return [operations[place] for place in places]

    def loss_of(places):
        return mean_loss(library, names(places), images, labels, **options)

    loss = loss_of(choices)
    for _ in range(rounds):
        scores = score_swaps(library, images, labels, around=names(choices), **options)
        start = choices
        while num_changes and choices == start:
            found = nearby_plan(scores, latencies_ms, budget_ms, start, num_changes).choices
            if found == start:
                break
            reached = loss_of(found)
            if reached < loss:
                choices, loss = found, reached
            else:
                num_changes //= 2
        if choices == start:
            break
    return choices
