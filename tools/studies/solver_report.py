"""What a study of solvers has found so far: JSON, a Markdown table, and a curve."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tfgen.errors import ConfigError
from tfgen.files.json_file import read_json, write_json
from tfgen.files.replacing import replace_file
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


@dataclasses.dataclass
class Study:
    """Rows by name, and what they have in common.

    Attributes:
        folder: path where it is written.
        settings: dict of what all rows have in common.
        rows: dict of rows by the name of the solver.
    """

    folder: Path
    settings: dict[str, Any]
    rows: dict[str, dict[str, float]]

    @classmethod
    def of(cls, folder: Path, settings: Mapping[str, Any]) -> Study:
        """The study of a folder, begun if there is none.

        Raises:
            ConfigError: the folder holds one of other settings, or something else.
        """
        path = folder / "solvers.json"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            return cls(folder, dict(settings), {})
        mend = "choose another --output, or move it away"
        found = read_json(path, ConfigError, mend)
        old, rows = found.get("settings"), found.get("rows")
        if old != dict(settings):
            raise ConfigError(f"{path} holds a study of other settings, {old}; {mend}")
        if not isinstance(rows, dict) or not all(map(_is_row, rows.values())):
            raise ConfigError(f"{path} holds rows that this program did not write; {mend}")
        return cls(folder, dict(settings), rows)

    def add(self, name: str, row: Mapping[str, float]) -> None:
        """Keeps a row, on the disk as well."""
        self.rows[name] = dict(row)
        write_json(self.folder / "solvers.json", {"settings": self.settings, "rows": self.rows})

    def write(self) -> list[Path]:
        """Writes the table and the curve; returns all paths."""
        paths = [self.folder / f"solvers.{kind}" for kind in ("json", "md", "png")]
        with replace_file(paths[1]) as temporary:
            Path(temporary).write_text(table(self) + "\n", encoding="utf-8")
        figure = Figure(figsize=(7.5, 4.6), layout="constrained")
        draw(figure.subplots(), self)
        with replace_file(paths[2]) as temporary:
            figure.savefig(temporary, dpi=120, format="png")
        return paths


def _is_row(row) -> bool:
    return isinstance(row, dict) and misfit(row, _ROW) is None


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


def table(study: Study) -> str:
    """All rows in Markdown."""
    settings = study.settings
    lines = [
        f"{settings['model']}: {settings['num_samples']:,} samples of the same noise, against "
        f"{settings['real']}; features of {settings['extractor']}",
        "",
        "| solver | steps or tolerance | NFE | s per 1,000 images | Fréchet distance "
        f"| of {REFERENCE} |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in study.rows.items():
        solver, size, variant = parts(name)
        times = ratio(name, study.rows)
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


def draw(axis, study: Study) -> None:
    """Distance over evaluations, a line for each solver and variant."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for name, row in study.rows.items():
        solver, _, variant = parts(name)
        point = row["num_evaluations"], row["frechet_distance"]
        lines.setdefault(solver + variant, []).append(point)
    for index, (label, points) in enumerate(lines.items()):
        colour = _COLOURS.get(label.split(",")[0], "tab:purple")
        style = "--" if "," in label else "-"
        marker = _MARKERS[index % len(_MARKERS)]
        axis.plot(*zip(*sorted(points)), style, color=colour, marker=marker, ms=5, label=label)
    if REFERENCE in study.rows:
        level = study.rows[REFERENCE]["frechet_distance"]
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
