"""What a study of detectors has found so far: JSON, Markdown tables, and a picture."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import study
from matplotlib.figure import Figure

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


class Study(study.Study):
    """Rows of "mode", "seed", "served", "scores" (numbers by score and set) and, of classifiers,
    "accuracy"; "robustness" where it was measured."""

    def text(self):
        return text(self)

    def picture(self):
        figure = Figure(figsize=(7.5, 1.2 + 0.24 * len(areas(self))), layout="constrained")
        draw(figure.subplots(), self)
        return figure


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


def areas(kept: Study) -> dict[tuple[str, str], dict[str, Spread]]:
    """AUROC over seeds by mode and score: of every set, and of the "mean" over them.

    Rows of one mode and seed are of several normal classes, and count as one by their mean.
    """
    found: dict[tuple[str, str], dict[str, dict[Any, list[float]]]] = {}
    for row in kept.rows.values():
        for score, by_set in row["scores"].items():
            cells = {name: numbers["auroc"] for name, numbers in by_set.items()}
            cells["mean"] = float(np.mean(list(cells.values())))
            own = found.setdefault((row["mode"], score), {})
            for name, value in cells.items():
                own.setdefault(name, {}).setdefault(row["seed"], []).append(value)
    return {
        key: {name: spread(map(np.mean, by_seed.values())) for name, by_seed in cells.items()}
        for key, cells in found.items()
    }


def text(kept: Study) -> str:
    """All tables in Markdown."""
    settings = kept.settings
    sets = ", ".join(f"{name} ({count:,})" for name, count in settings["others"].items())
    parts = [f"In-distribution: {settings['in']}; others: {sets}.", "", *auroc_table(kept)]
    for mode, found in accuracies(kept).items():
        parts += ["", f"Accuracy of {mode}: {percent(found)}, {seeds(found)}."]
    if any("robustness" in row for row in kept.rows.values()):
        parts += ["", *robustness_table(kept)]
    return "\n".join(parts)


def auroc_table(kept: Study) -> list[str]:
    """AUROC in percent, a row for each mode and score; the served one is marked."""
    served = {(row["mode"], row["served"]) for row in kept.rows.values()}
    columns = [*kept.settings["others"], "mean"]
    rows = [f"| mode | score | {' | '.join(columns)} |", "|---" * (2 + len(columns)) + "|"]
    for key, cells in areas(kept).items():
        mark = " (served)" if key in served else ""
        told = " | ".join(percent(cells[name]) for name in columns)
        rows.append(f"| {key[0]} | {key[1]}{mark} | {told} |")
    return rows


def accuracies(kept: Study) -> dict[str, Spread]:
    """Over seeds by mode."""
    modes = dict.fromkeys(row["mode"] for row in kept.rows.values() if "accuracy" in row)
    return {
        mode: spread(r["accuracy"] for r in kept.rows.values() if r["mode"] == mode)
        for mode in modes
    }


def robustness_table(kept: Study) -> list[str]:
    """Means over corruptions, severities and sets, in percent."""
    rows = [
        f"With {kept.settings['corrupted']} in-distribution images corrupted:",
        "",
        "| mode | score | AUROC clean | corrupted | rejected | accuracy clean | corrupted |",
        "|---" * 7 + "|",
    ]
    found: dict[tuple[str, str], list[dict]] = {}
    for row in kept.rows.values():
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


def draw(axis, kept: Study) -> None:
    """A line for each mode and score, a point for each set."""
    rows = areas(kept)
    for colour, name in zip(itertools.cycle(_COLOURS), kept.settings["others"]):
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
