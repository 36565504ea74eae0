"""The rows of `unas_search.py`, their figures and their picture."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from tfgen import stopping
from tfgen.errors import UserError
from tfgen.files.json_file import read_json, write_json
from tfgen.files.replacing import replace_file


class Rows:
    """Results by name in a file that is whole at any moment.

    Args:
        path: path of the file, JSON.
        settings: dict of what the results depend on, plain values by name.
        say: function that is told a line.

    Raises:
        UserError: the file holds results of other settings.
    """

    def __init__(self, path: Path, settings: Mapping, say: Callable[[str], None]):
        self.path, self.settings, self._say = path, dict(settings), say
        path.parent.mkdir(parents=True, exist_ok=True)
        held = read_json(path) if path.is_file() else {"settings": self.settings, "rows": {}}
        if held["settings"] != self.settings:
            raise UserError(
                f"{path} holds results of {held['settings']}, and {self.settings} are asked for; "
                "name another --folder"
            )
        self.all = held["rows"]

    def __getitem__(self, name):
        return self.all[name]

    def add(self, name: str, make: Callable[[], dict]) -> None:
        """Makes a row that is not there."""
        if name not in self.all:
            stopping.check()
            begun = time.monotonic()
            self.put(name, make())
            shown = {k: round(v, 4) for k, v in self[name].items() if isinstance(v, float)}
            self._say(f"{name}: {shown}, {time.monotonic() - begun:.0f} s")

    def put(self, name: str, row: dict) -> None:
        """Keeps a row in the file."""
        self.all[name] = row
        write_json(self.path, {"settings": self.settings, "rows": self.all})


def accuracies(rows: Mapping[str, Mapping], kind: str, of: str = "test") -> np.ndarray:
    """Accuracies of the rows "<kind> <number>" in order.

    Args:
        rows: mapping of names to rows of `results.json`.
        kind: string, "found" or "random".
        of: string, "test" or "validation". Defaults to `"test"`.
    """
    names = [name for name in rows if name.startswith(f"{kind} ") and name[-1].isdigit()]
    return np.array([rows[name][f"{of}_accuracy"] for name in names])


def summary(rows: Mapping[str, Mapping]) -> str:
    """What came out, as far as it is there."""
    found, random = accuracies(rows, "found"), accuracies(rows, "random")
    if not len(found) or len(random) < 2:
        return "too few trainings for a comparison"
    spread = random.std(ddof=1)
    better = int((found > random.mean() + spread).sum())
    lines = [
        f"random cells: {_all(random)}; mean {random.mean():.1%}, standard deviation {spread:.1%}",
        f"found cells: {_all(found)}; mean {found.mean():.1%}",
        f"the mean of what was found is {(found.mean() - random.mean()) / spread:+.2f} "
        "standard deviations of the random cells from their mean",
        f"{better} of {len(found)} found cells are more than one above it",
    ]
    if len(found) > 1:
        least, most = welch(found, random) / spread
        lines[2] += f" (95 % by Welch's t: {least:+.2f} to {most:+.2f})"
    lines.append(f"the random cell that is best on validation images: {chosen(rows):.1%}")
    again = rows.get("timed again")
    if again is not None:
        lines.append(
            f"latency: {again['latency']:.4f} ms measured again, when the random cells took "
            f"{1 / again['speed']:.2f} times what they did before: {again['share_of_target']:.1%} "
            f"of the target {rows['parts']['target']:.4f} ms; accuracy {_accuracy(rows):.1%}"
        )
    return "\n".join(lines)


def welch(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Ends of the 95 % interval of the difference of two means, by Welch's t.

    Args:
        first: `[N]` float, independent results.
        second: `[M]` float, others of another variance.

    Returns:
        `[2]` float.
    """
    test = stats.ttest_ind(first, second, equal_var=False)
    return np.array(test.confidence_interval(0.95))


def chosen(rows: Mapping[str, Mapping]) -> float:
    """Test accuracy of what a search at random finds: of all random cells the one that is best on
    validation images."""
    best = int(np.argmax(accuracies(rows, "random", "validation")))
    return float(accuracies(rows, "random")[best])


def _all(values):
    return ", ".join(f"{value:.1%}" for value in values)


def _accuracy(rows):
    return rows["found for latency"]["test_accuracy"]


def draw(rows: Mapping[str, Mapping], path: str | os.PathLike) -> None:
    """Draws accuracy against latency, as far as networks were timed.

    Args:
        rows: mapping of names to rows of `results.json`.
        path: path of the picture.
    """
    again = rows.get("timed again")
    if again is None:
        return
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    axis = figure.subplots()
    kinds = (
        ("random", "drawn at random", "0.5"),
        ("found ", "found by the loss", "C0"),
        ("found for latency", "found for the latency", "C3"),
    )
    points = {}
    for name, milliseconds in again["measured"].items():
        kind = max((k for k, *_ in kinds if name.startswith(k)), key=len)
        point = (milliseconds * again["speed"], 100.0 * rows[name]["test_accuracy"])
        points.setdefault(kind, []).append(point)
    for kind, label, colour in kinds:
        if kind in points:
            axis.scatter(*zip(*points[kind]), color=colour, label=label)
    front = pareto([point for group in points.values() for point in group])
    axis.step(*zip(*front), where="post", color="0.8", lw=1, zorder=0)
    axis.axvline(rows["parts"]["target"], color="C3", ls=":", lw=1, label="target")
    axis.set(xlabel="latency (ms)", ylabel="accuracy on test images (%)")
    axis.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=100, bbox_inches="tight")


def pareto(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points of which none is both quicker and better, quickest first."""
    front = []
    for point in sorted(points, key=lambda p: (p[0], -p[1])):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front
