"""What an evaluation found: numbers by model, score and set, as a table, JSON and pictures."""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfgen.errors import UserError
from tfgen.files.json_file import write_json
from tfgen.files.replacing import replace_file
from tfgen.metrics import AurocDifference, Separation, compare_auroc
from tfgen.ood.evaluation import charts

NUMBERS = Separation._fields


@dataclasses.dataclass(frozen=True)
class Row:
    """One score of one model against every set of outliers.

    Attributes:
        model: string, the model's name.
        score: string, the score's name.
        passes: integer, passes through the network an image; None: not known.
        milliseconds: float, for an image in a batch, on the machine it was measured on.
        separation: dict of `Separation`, floats, by set.
        intervals: dict of `Separation` whose entries are `Interval`s, by set.
        means: dict of the mean `Separation` over sets: "near", "far" and "all", as far as there are
            such.
    """

    model: str
    score: str
    passes: int | None
    milliseconds: float
    separation: Mapping[str, Separation]
    intervals: Mapping[str, Separation]
    means: Mapping[str, Separation]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Numbers of an `Evaluator`; all scores are larger for what is further out of distribution.

    Attributes:
        rows: tuple of `Row`, in the order of the models and their scores.
        in_name: string, the in-distribution set.
        num_images: dict of the number of images of every set, by name.
        level: float, of the confidence intervals.
        classification: dict by model of "accuracy" and "expected_calibration_error", of models that
            classify, where there are labels.
        notes: tuple of sentences about what was left out or divided.
        scores: dict of `[N]` by model, score and set, all in the order of the images.
    """

    rows: tuple[Row, ...]
    in_name: str
    num_images: Mapping[str, int]
    level: float
    classification: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...]
    scores: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]]

    def row(self, score: str, model: str | None = None) -> Row:
        """The row of a score; `model` may be left out where one model has it.

        Args:
            score: string, the score's name.
            model: string, the model's name, or None.

        Raises:
            UserError: there is no such row, or several.
        """
        found = [r for r in self.rows if r.score == score and model in (None, r.model)]
        if len(found) != 1:
            known = ", ".join(f"{r.score} of {r.model}" for r in self.rows)
            raise UserError(
                f"{len(found) or 'no'} rows are of the score {score!r}"
                f"{'' if model is None else f' of {model!r}'}; there are {known}"
            )
        return found[0]

    def compare(self, first: Row, second: Row, out_name: str) -> AurocDifference:
        """Whether one row's AUROC against a set is better than another's, by DeLong's test.

        Args:
            first: a `Row` of this evaluation.
            second: a `Row` of this evaluation.
            out_name: string, the set of outliers.

        Raises:
            UserError: there is no such set.
            DataError: a set has a single image.
        """
        if out_name not in first.separation:
            raise UserError(
                f"there is no set of outliers {out_name!r}; there are "
                f"{', '.join(map(repr, first.separation))}"
            )
        both = [self.scores[row.model][row.score] for row in (first, second)]
        inside, outside = (tuple(s[name] for s in both) for name in (self.in_name, out_name))
        return compare_auroc(inside, outside)

    def to_json(self) -> dict[str, Any]:
        """All numbers, as JSON holds them."""
        return {
            "in_distribution": self.in_name,
            "num_images": dict(self.num_images),
            "confidence_level": self.level,
            "larger_is": "more out-of-distribution",
            "average_precision": "step-wise sum, not the trapezoid",
            "classification": {name: dict(found) for name, found in self.classification.items()},
            "notes": list(self.notes),
            "rows": [_row_as_json(row) for row in self.rows],
        }

    def table(self):
        """The AUROC of every row against every set, in percent with intervals, a rich table."""
        from rich.table import Table

        names = [name for name in self.num_images if name != self.in_name]
        means = list(self.rows[0].means)
        title = f"AUROC in % of {self.in_name} against others ({self.level:.0%} intervals)"
        table = Table(title=title)
        for column in ("model", "score"):
            table.add_column(column)
        for column in (*names, *(f"mean of {name}" for name in means), "passes", "ms an image"):
            table.add_column(column, justify="right")
        for row in self.rows:
            cells = [_with_interval(row, name) for name in names]
            cells += [f"{100 * row.means[name].auroc:.2f}" for name in means]
            passes = "-" if row.passes is None else str(row.passes)
            table.add_row(row.model, row.score, *cells, passes, f"{row.milliseconds:.3g}")
        return table

    def lines(self) -> Iterator[str]:
        """The table and what is beside it, for a person, as lines of text."""
        from rich.console import Console

        console = Console(width=60 + 24 * (len(self.num_images) + len(self.rows[0].means)))
        with console.capture() as captured:
            console.print(self.table())
        yield from captured.get().rstrip().splitlines()
        for name, found in self.classification.items():
            yield (
                f"{name}: accuracy {found['accuracy']:.2%}, expected calibration error "
                f"{found['expected_calibration_error']:.2%}"
            )
        yield from self.notes

    def __str__(self):
        return "\n".join(self.lines())

    def save(self, folder: str | os.PathLike) -> Path:
        """Writes `evaluation.json`, `scores.npz`, `roc.png` and `histograms.png`.

        Args:
            folder: path of the folder, made where it is missing; files of these names are replaced.

        Returns:
            The folder's path.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "evaluation.json", self.to_json())
        with replace_file(folder / "scores.npz") as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **dict(self._flat()))
        charts.save_roc(folder / "roc.png", self)
        charts.save_histograms(folder / "histograms.png", self)
        return folder

    def _flat(self):
        for model, by_score in self.scores.items():
            for score, by_set in by_score.items():
                for name, values in by_set.items():
                    yield f"{model}/{score}/{name}", values


def mean_separation(found: list[Separation]) -> Separation:
    """Of several sets, number by number."""
    return Separation(*(float(np.mean(values)) for values in zip(*found)))


def _with_interval(row, name):
    low, high = row.intervals[name].auroc
    return f"{100 * row.separation[name].auroc:.2f} [{100 * low:.1f}, {100 * high:.1f}]"


def _row_as_json(row):
    return {
        "model": row.model,
        "score": row.score,
        "passes_per_image": row.passes,
        "milliseconds_per_image": row.milliseconds,
        "sets": {
            name: {
                **row.separation[name]._asdict(),
                "intervals": {k: list(row.intervals[name]._asdict()[k]) for k in NUMBERS},
            }
            for name in row.separation
        },
        "means": {name: found._asdict() for name, found in row.means.items()},
    }
