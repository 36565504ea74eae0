"""Plans for people: a table and a picture."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfgen.files.replacing import replace_file


class PlanRow(NamedTuple):
    """What a plan does in a layer, or in several in a row.

    Attributes:
        layer: string, its name, or those of the first and the last.
        operation: string, name of what stands there.
        saved_ms: float, milliseconds that it takes less than the layer itself.
        score: float, what it loses.
        num_layers: integer, layers that it stands for. Defaults to `1`.
    """

    layer: str
    operation: str
    saved_ms: float
    score: float
    num_layers: int = 1


def table_of(rows: Sequence[PlanRow]) -> str:
    """Rows as lines of text under a heading.

    Args:
        rows: sequence of `PlanRow`.
    """
    lines = [("layer", "operation", "saves (ms)", "loses")]
    lines += [(r.layer, r.operation, f"{r.saved_ms:.3f}", f"{r.score:.4g}") for r in rows]
    widths = [max(map(len, column)) for column in zip(*lines)]

    def line(words):
        left = [word.ljust(width) for word, width in zip(words[:2], widths)]
        right = [word.rjust(width) for word, width in zip(words[2:], widths[2:])]
        return "  ".join(left + right)

    return "\n".join(map(line, lines))


def draw(rows: Sequence[PlanRow], path: str | os.PathLike) -> None:
    """Draws rows as two bar charts side by side; a bar is as broad as the layers it stands for.

    Args:
        rows: sequence of `PlanRow`.
        path: path of the picture, written whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    counts = np.array([row.num_layers for row in rows])
    figure = Figure(figsize=(9, 1.2 + 0.25 * counts.sum()), layout="constrained")
    saved, lost = figure.subplots(1, 2, sharey=True)
    places = np.cumsum(counts) - (counts + 1) / 2
    saved.barh(places, [row.saved_ms for row in rows], counts - 0.2, color="C0")
    lost.barh(places, [row.score for row in rows], counts - 0.2, color="C3")
    saved.set_yticks(places, [f"{row.layer}: {row.operation}" for row in rows], fontsize="small")
    saved.invert_yaxis()
    saved.set_xlabel("milliseconds saved")
    lost.set_xlabel("predicted loss")
    for axis in (saved, lost):
        axis.locator_params(axis="x", nbins=5)
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=100)
