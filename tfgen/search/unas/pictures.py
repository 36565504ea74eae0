"""Pictures of a search: its curves, and cells as graphs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfgen.files.replacing import replace_file
from tfgen.search.unas.genotypes import BlockGenotype, CellGenotype, Edge

_SHORT = {
    "skip": "skip",
    "separable_3x3": "sep 3x3",
    "max_pool_3x3": "max 3x3",
    "dilated_3x3": "dil 3x3",
    "separable_5x5": "sep 5x5",
    "average_pool_3x3": "avg 3x3",
    "separable_7x7": "sep 7x7",
}
_LEFT_OUT = ("step", "epoch", "skipped_steps", "gradient_norm", "share_of_harder_validation")


def draw_genotype(genotype: CellGenotype | BlockGenotype, folder: Path) -> list[Path]:
    """Draws a genotype: both cells as graphs, or the row of blocks.

    Args:
        genotype: `CellGenotype` or `BlockGenotype`.
        folder: path where the pictures go.

    Returns:
        List of the paths, `normal.png` and `reduction.png`, or `blocks.png`.
    """
    if isinstance(genotype, BlockGenotype):
        return [_save(_row_of_blocks(genotype), folder / "blocks.png")]
    kinds = ("normal", "reduction")
    return [_save(draw_cell(getattr(genotype, kind)), folder / f"{kind}.png") for kind in kinds]


def draw_cell(nodes: Sequence[tuple[Edge, Edge]]):
    """A cell as a graph: inputs on the left, nodes from left to right, the output on the right.

    Args:
        nodes: sequence of pairs of `Edge`.

    Returns:
        A matplotlib `Figure`.
    """
    places = _places(nodes)
    figure, axes = _figure(2.0 * (len(nodes) + 2.6), 7.0)
    names = ["cell k-2", "cell k-1", *map(str, range(len(nodes))), "out"]
    for (x, y), name in zip(places, names):
        colour = "#dcebdc" if name.startswith("cell") else "#fbe7c6" if name == "out" else "#cfe2f3"
        box = dict(boxstyle="round,pad=0.4", facecolor=colour, edgecolor="#555555")
        axes.text(x, y, name, ha="center", va="center", bbox=box, zorder=3)
    pairs = [(edge, number + 2) for number, node in enumerate(nodes) for edge in node]
    seen = {}
    for (operation, source), target in pairs:
        twice = seen[source, target] = seen.get((source, target), -1) + 1
        _arrow(axes, places[source], places[target], 0.12 + 0.22 * twice, _SHORT[operation])
    for number in range(len(nodes)):
        _arrow(axes, places[number + 2], places[-1], 0.05, "", "#bbbbbb")
    axes.set_aspect("equal")
    axes.set_xlim(-0.8, len(nodes) + 1.8)
    axes.set_ylim(-1.7, 1.7)
    return figure


def _places(nodes):
    """Where inputs, nodes and output stand: nodes above and below in turns."""
    inner = [(1.0 + k, (-1) ** k * (0.4 + 0.4 * (k % 3))) for k in range(len(nodes))]
    return [(0.0, 0.9), (0.0, -0.9), *inner, (len(nodes) + 1.2, 0.0)]


def _arrow(axes, start, end, bend, label, colour="#444444"):
    style = dict(arrowstyle="->", color=colour, shrinkA=16, shrinkB=16)
    style["connectionstyle"] = f"arc3,rad={bend}"
    axes.annotate("", xy=end, xytext=start, arrowprops=style, zorder=1)
    if label:
        # A third of the way along the curve, which bends towards a point beside its middle.
        (x0, y0), (x1, y1), t = start, end, 0.35
        beside = ((x0 + x1) / 2 + bend * (y1 - y0), (y0 + y1) / 2 - bend * (x1 - x0))
        middle = tuple(
            (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c for a, b, c in zip(start, beside, end)
        )
        box = dict(boxstyle="round,pad=0.1", facecolor="white", edgecolor="none", alpha=0.8)
        axes.text(*middle, label, fontsize=8, ha="center", va="center", bbox=box, zorder=2)


def _row_of_blocks(genotype):
    figure, axes = _figure(0.7 * len(genotype.blocks) + 1, 3.0)
    for number, block in enumerate(genotype.blocks):
        height = 0.1 if block is None else block.kernel
        colour = "#bbbbbb" if block is None else "#cfe2f3" if block.expansion == 3 else "#6fa8dc"
        axes.bar(number, height, color=colour, edgecolor="#555555")
        label = "-" if block is None else f"{block.kernel}x{block.kernel}\ne{block.expansion}"
        axes.text(number, height + 0.1, label, ha="center", va="bottom", fontsize=8)
    axes.set_xlim(-1, len(genotype.blocks))
    axes.set_ylim(0, 9)
    return figure


def draw_curves(rows: Sequence[dict], path: Path) -> Path:
    """Everything a search reported, against its steps.

    Args:
        rows: sequence of dicts of numbers by name, `step` among them; what a row lacks is left out.
        path: path of the picture.

    Returns:
        The path.
    """
    from matplotlib.figure import Figure

    names = [
        name
        for name in dict.fromkeys(key for row in rows for key in row)
        if name not in _LEFT_OUT and not name.startswith("learning_rate")
    ]
    together = {"reinforce_variance": "gradient_variance"}
    panels = [name for name in names if name not in together]
    columns = 3
    figure = Figure(figsize=(4 * columns, 2.6 * -(-len(panels) // columns)), layout="constrained")
    for number, name in enumerate(panels, 1):
        axes = figure.add_subplot(-(-len(panels) // columns), columns, number)
        for other in [name, *(k for k, v in together.items() if v == name and k in names)]:
            found = [(row["step"], row[other]) for row in rows if other in row]
            axes.plot(*np.array(found, np.float64).T, label=other)
        if name in together.values():
            axes.set_yscale("log")
            axes.legend()
        axes.set_title(name)
    return _save(figure, path)


def _figure(width, height):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.axis("off")
    return figure, axes


def _save(figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    return path
