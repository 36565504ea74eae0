"""What a study of detectors has found so far: JSON, Markdown tables, and a picture."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from tfgen.errors import ConfigError
from tfgen.files.json_file import read_json, write_json
from tfgen.files.replacing import replace_file

ROBUSTNESS = ("auroc_clean", "auroc", "reject_rate", "accuracy_clean", "accuracy")
_COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple")


class Spread(NamedTuple):
    """A number over seeds.

    Attributes:
        mean: float.
        sd: float, between trainings (of a sample), NaN where there is one.
        count: integer, trainings.
    """

    mean: float
    sd: float
    count: int


@dataclasses.dataclass
class Study:
    """Rows by name, and what they have in common.

    Attributes:
        folder: path where it is written.
        settings: dict of what all rows have in common.
        rows: dict by name of "mode", "seed", "served", "scores" (numbers by score and set) and, of
            classifiers, "accuracy"; "robustness" where it was measured.
    """

    folder: Path
    settings: dict[str, Any]
    rows: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, folder: Path, settings: Mapping[str, Any]) -> Study:
        """The study of a folder, begun if there is none.

        Raises:
            ConfigError: the folder holds one of other settings, or something else.
        """
        path = folder / "study.json"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            return cls(folder, dict(settings), {})
        mend = "choose another --output, or move it away"
        found = read_json(path, ConfigError, mend)
        if found.get("settings") != dict(settings) or not isinstance(found.get("rows"), dict):
            raise ConfigError(
                f"{path} holds a study of other settings, {found.get('settings')}; {mend}"
            )
        return cls(folder, dict(settings), found["rows"])

    def add(self, name: str, row: Mapping[str, Any]) -> None:
        """Keeps a row, on the disk as well."""
        self.rows[name] = dict(row)
        write_json(self.folder / "study.json", {"settings": self.settings, "rows": self.rows})

    def write(self) -> list[Path]:
        """Writes the tables and the picture; returns all paths."""
        paths = [self.folder / f"study.{kind}" for kind in ("json", "md", "png")]
        with replace_file(paths[1]) as temporary:
            Path(temporary).write_text(text(self) + "\n", encoding="utf-8")
        figure = Figure(figsize=(7.5, 1.2 + 0.24 * len(areas(self))), layout="constrained")
        draw(figure.subplots(), self)
        with replace_file(paths[2]) as temporary:
            figure.savefig(temporary, dpi=120, format="png")
        return paths


def line(row: Mapping[str, Any]) -> str:
    """One row on one line: the score that is served."""
    served = row["scores"].get(row["served"]) or next(iter(row["scores"].values()))
    told = ", ".join(f"{name} {100 * found['auroc']:.2f}" for name, found in served.items())
    accuracy = f", accuracy {row['accuracy']:.2%}" if "accuracy" in row else ""
    return f"AUROC in % of {row['served']!r}: {told}{accuracy}"


def spread(values) -> Spread:
    """Of numbers, one for each seed."""
    values = np.asarray(list(values), float)
    sd = values.std(ddof=1) if len(values) > 1 else float("nan")
    return Spread(float(values.mean()), float(sd), len(values))


def areas(study: Study) -> dict[tuple[str, str], dict[str, Spread]]:
    """AUROC over seeds by mode and score: of every set, and of the "mean" over them."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in study.rows.values():
        for score, by_set in row["scores"].items():
            cells = {name: numbers["auroc"] for name, numbers in by_set.items()}
            cells["mean"] = float(np.mean(list(cells.values())))
            kept = found.setdefault((row["mode"], score), {})
            for name, value in cells.items():
                kept.setdefault(name, []).append(value)
    return {key: {k: spread(v) for k, v in cells.items()} for key, cells in found.items()}


def text(study: Study) -> str:
    """All tables in Markdown."""
    settings = study.settings
    sets = ", ".join(f"{name} ({count:,})" for name, count in settings["others"].items())
    parts = [f"In-distribution: {settings['in']}; others: {sets}.", "", *auroc_table(study)]
    for mode, found in accuracies(study).items():
        parts += ["", f"Accuracy of {mode}: {percent(found)}, {seeds(found)}."]
    if any("robustness" in row for row in study.rows.values()):
        parts += ["", *robustness_table(study)]
    return "\n".join(parts)


def auroc_table(study: Study) -> list[str]:
    """AUROC in percent, a row for each mode and score; the served one is marked."""
    served = {(row["mode"], row["served"]) for row in study.rows.values()}
    columns = [*study.settings["others"], "mean"]
    rows = [f"| mode | score | {' | '.join(columns)} |", "|---" * (2 + len(columns)) + "|"]
    for key, cells in areas(study).items():
        mark = " (served)" if key in served else ""
        told = " | ".join(percent(cells[name]) for name in columns)
        rows.append(f"| {key[0]} | {key[1]}{mark} | {told} |")
    return rows


def accuracies(study: Study) -> dict[str, Spread]:
    """Over seeds by mode."""
    modes = dict.fromkeys(row["mode"] for row in study.rows.values() if "accuracy" in row)
    return {
        mode: spread(r["accuracy"] for r in study.rows.values() if r["mode"] == mode)
        for mode in modes
    }


def robustness_table(study: Study) -> list[str]:
    """Means over corruptions, severities and sets, in percent."""
    rows = [
        f"With {study.settings['corrupted']} in-distribution images corrupted:",
        "",
        "| mode | score | AUROC clean | corrupted | rejected | accuracy clean | corrupted |",
        "|---" * 7 + "|",
    ]
    found: dict[tuple[str, str], list[dict]] = {}
    for row in study.rows.values():
        for score, numbers in row.get("robustness", {}).items():
            found.setdefault((row["mode"], score), []).append(numbers)
    for (mode, score), all_seeds in found.items():
        cells = []
        for name in ROBUSTNESS:
            known = [numbers[name] for numbers in all_seeds if numbers[name] is not None]
            cells.append(percent(spread(known)) if known else "-")
        rows.append(f"| {mode} | {score} | {' | '.join(cells)} |")
    return rows


def percent(found: Spread) -> str:
    """Mean and standard deviation."""
    sd = "" if found.count < 2 else f" ± {100 * found.sd:.1f}"
    return f"{100 * found.mean:.1f}{sd}"


def seeds(found: Spread) -> str:
    """How many trainings, in words."""
    return f"{found.count} training{'s' * (found.count > 1)}"


def draw(axis, study: Study) -> None:
    """A line for each mode and score, a point for each set."""
    rows = areas(study)
    for colour, name in zip(itertools.cycle(_COLOURS), study.settings["others"]):
        cells = [row[name] for row in rows.values()]
        axis.errorbar(
            [100 * cell.mean for cell in cells],
            range(len(cells)),
            xerr=[0.0 if cell.count < 2 else 100 * cell.sd for cell in cells],
            fmt="o",
            color=colour,
            ms=4,
            lw=1,
            label=name,
        )
    axis.set_yticks(range(len(rows)), [": ".join(key) for key in rows], fontsize="small")
    axis.invert_yaxis()
    axis.axvline(50.0, color="0.6", lw=0.8)
    axis.set(xlabel="AUROC in %", xlim=(None, 100.5))
    axis.grid(True, axis="x", color="0.9")
    axis.set_axisbelow(True)
    axis.legend(fontsize="small")
