"""What a study of solvers has found so far: JSON, a Markdown table, and a curve."""

from __future__ import annotations

import re
from collections.abc import Mapping

import study
from matplotlib.figure import Figure

from tfgen.runs.numbers import misfit

REFERENCE = "RK45 1e-5"
_ROW = {"num_evaluations": float, "seconds_per_1000": float, "frechet_distance": float}
_COLOURS = {
    "RK45": "black",
    "DDIM": "tab:orange",
    "DPM-Solver++ 2M": "tab:blue",
    "DPM-Solver++ 3M": "tab:green",
    "Heun": "tab:red",
}
_MARKERS = ("o", "s", "^", "D", "v", "P")
_NAME = re.compile(r"(?P<solver>.+?) (?P<size>[0-9][-+.e0-9]*)(?P<variant>(, .*)?)")


class Study(study.Study):
    """Rows by the name of the solver."""

    stem = "solvers"

    @staticmethod
    def is_row(row):
        return isinstance(row, dict) and misfit(row, _ROW) is None

    def text(self):
        return table(self)

    def picture(self):
        figure = Figure(figsize=(7.5, 4.6), layout="constrained")
        draw(figure.subplots(), self)
        return figure


def ratio(name: str, rows: Mapping[str, Mapping[str, float]]) -> float | None:
    """A row's distance over that of the reference; None without one."""
    if REFERENCE not in rows:
        return None
    return rows[name]["frechet_distance"] / rows[REFERENCE]["frechet_distance"]


def line(name: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    """One row on one line."""
    row, times = rows[name], ratio(name, rows)
    beside = "" if times is None else f", {times:.3f} of {REFERENCE}"
    return (
        f"{name}: {row['num_evaluations']:.1f} evaluations, {row['seconds_per_1000']:.1f} s per "
        f"1,000 images, Fréchet distance {row['frechet_distance']:.4f}{beside}"
    )


def table(found: Study) -> str:
    """All rows in Markdown."""
    settings = found.settings
    lines = [
        f"{settings['model']}: {settings['num_samples']:,} samples of the same noise, against "
        f"{settings['real']}; features of {settings['extractor']}",
        "",
        "| solver | steps or tolerance | NFE | s per 1,000 images | Fréchet distance "
        f"| of {REFERENCE} |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in found.rows.items():
        solver, size, variant = parts(name)
        times = ratio(name, found.rows)
        cells = (
            solver + variant,
            size,
            f"{row['num_evaluations']:.1f}",
            f"{row['seconds_per_1000']:.1f}",
            f"{row['frechet_distance']:.4f}",
            "" if times is None else f"{times:.3f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def parts(name: str) -> tuple[str, str, str]:
    """Solver, steps or tolerance, and variant of a row's name."""
    found = _NAME.fullmatch(name)
    return (found["solver"], found["size"], found["variant"]) if found else (name, "", "")


def draw(axis, found: Study) -> None:
    """Distance over evaluations, a line for each solver and variant."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for name, row in found.rows.items():
        solver, _, variant = parts(name)
        point = row["num_evaluations"], row["frechet_distance"]
        lines.setdefault(solver + variant, []).append(point)
    for index, (label, points) in enumerate(lines.items()):
        colour = _COLOURS.get(label.split(",")[0], "tab:purple")
        style = "--" if "," in label else "-"
        marker = _MARKERS[index % len(_MARKERS)]
        axis.plot(*zip(*sorted(points)), style, color=colour, marker=marker, ms=5, label=label)
    if REFERENCE in found.rows:
        level = found.rows[REFERENCE]["frechet_distance"]
        axis.axhspan(0.98 * level, 1.02 * level, color="0.88", label=f"within 2 % of {REFERENCE}")
    axis.set(xscale="log", yscale="log")
    axis.set(xlabel="network evaluations of an image", ylabel="Fréchet distance")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_major_locator(_ticks((1, 2, 5)))
    axis.xaxis.set_minor_locator(_ticks(()))
    for which in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
        which("{x:g}")
    axis.grid(True, which="major", color="0.9")
    axis.set_axisbelow(True)
    axis.legend(fontsize="small")


def _ticks(multiples):
    from matplotlib import ticker

    return ticker.LogLocator(subs=multiples) if multiples else ticker.NullLocator()
