"""What scores do when in-distribution images change a little: corruptions and small shifts."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfgen.errors import ConfigError
from tfgen.files.json_file import write_json
from tfgen.metrics import auroc
from tfgen.metrics.separation import smallest_count
from tfgen.ood.corruptions import CORRUPTIONS, SEVERITIES, SHIFTS, corrupt
from tfgen.ood.evaluation.evaluator import Evaluator
from tfgen.ood.evaluation.image_sets import ImageSet, as_image_set
from tfgen.ops.checks import in_range, one_of, whole_number


@dataclasses.dataclass(frozen=True)
class Cell:
    """One score of one model on in-distribution images that were corrupted in one way.

    Attributes:
        model: string, the model's name.
        score: string, the score's name.
        corruption: string, its name; "clean" for the images as they are.
        severity: integer, 1 to 5; 0 where clean.
        auroc: dict of floats, of these images against each set of outliers, which stay clean.
        reject_rate: float, share of these images above the threshold that accepts the stated share
            of the clean ones.
        accuracy: float, of the classes of these images; None where there are none.
        auroc_misclassified: float, of the misclassified among these images against the others; None
            where there is only one kind.
    """

    model: str
    score: str
    corruption: str
    severity: int
    auroc: Mapping[str, float]
    reject_rate: float
    accuracy: float | None
    auroc_misclassified: float | None


@dataclasses.dataclass(frozen=True)
class Robustness:
    """What `measure_robustness` found.

    Attributes:
        cells: tuple of `Cell`, the clean ones among them.
        acceptance: float, share of the clean images that the thresholds accept.
        num_images: integer, in-distribution images that were corrupted.
    """

    cells: tuple[Cell, ...]
    acceptance: float
    num_images: int

    def summary(self) -> list[dict[str, Any]]:
        """A dict for each score of each model: means over corruptions and severities.

        Names are "model", "score", "auroc_clean", "auroc" and "auroc_drop" (means over sets of
        outliers too), "reject_rate", "accuracy_clean", "accuracy", "auroc_misclassified"; what
        cannot be told is None.
        """
        return [self._summary(model, score) for model, score in self._rows()]

    def table(self):
        """The summary as a rich table, in percent."""
        from rich.table import Table

        table = Table(
            title=f"{self.num_images:,} images, corrupted; thresholds accept "
            f"{self.acceptance:.0%} of the clean ones"
        )
        columns = (
            "auroc_clean",
            "auroc",
            "auroc_drop",
            "reject_rate",
            "accuracy",
            "auroc_misclassified",
        )
        for name in ("model", "score"):
            table.add_column(name)
        for name in columns:
            table.add_column(name.replace("_", " "), justify="right")
        for row in self.summary():
            values = [row[name] for name in columns]
            cells = ["-" if value is None else f"{100 * value:.2f}" for value in values]
            table.add_row(row["model"], row["score"], *cells)
        return table

    def lines(self) -> Iterator[str]:
        """The table for a person, as lines of text."""
        from rich.console import Console

        console = Console(width=140)
        with console.capture() as captured:
            console.print(self.table())
        yield from captured.get().rstrip().splitlines()

    def __str__(self):
        return "\n".join(self.lines())

    def to_json(self) -> dict[str, Any]:
        """All numbers, as JSON holds them."""
        return {
            "acceptance": self.acceptance,
            "num_images": self.num_images,
            "summary": self.summary(),
            "cells": [dataclasses.asdict(cell) for cell in self.cells],
        }

    def save(self, path: str | os.PathLike) -> None:
        """Writes `to_json` to a file.

        Args:
            path: path of the file.
        """
        write_json(Path(path), self.to_json())

    def _rows(self):
        return dict.fromkeys((cell.model, cell.score) for cell in self.cells)

    def _summary(self, model, score):
        own = [c for c in self.cells if (c.model, c.score) == (model, score)]
        (clean,), changed = ([c for c in own if (c.severity == 0) == k] for k in (True, False))
        before = float(np.mean([*clean.auroc.values()]))
        after = float(np.mean([value for c in changed for value in c.auroc.values()]))
        return {
            "model": model,
            "score": score,
            "auroc_clean": before,
            "auroc": after,
            "auroc_drop": before - after,
            "reject_rate": _mean(c.reject_rate for c in changed),
            "accuracy_clean": clean.accuracy,
            "accuracy": _mean(c.accuracy for c in changed),
            "auroc_misclassified": _mean(c.auroc_misclassified for c in changed),
        }


def measure_robustness(
    evaluator: Evaluator,
    corruptions: Iterable[str] | None = None,
    severities: Iterable[int] | None = None,
    acceptance: float = 0.95,
    num_images: int | None = 1000,
    seed: int = 0,
    corrupted: Callable[[str, int], Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Robustness:
    """Corrupts in-distribution images in every way and scores them again, as a `Robustness`.

    A good detector keeps apart what is still in-distribution from what is not, and rejects, where
    it must, the images that its network no longer classifies right.

    Args:
        evaluator: the `Evaluator` of the models and sets.
        corruptions: sequence of names, of `tfgen.ood.corruptions.CORRUPTIONS` and `SHIFTS`;
            None: the fifteen corruptions.
        severities: sequence of integers, 1 to 5; None: all five.
        acceptance: float, in (0, 1), share of clean images that the thresholds accept. Defaults to
            `0.95`.
        num_images: integer, how many in-distribution images, drawn at random; None: all. Defaults
            to `1000`.
        seed: integer, of what is drawn. Defaults to `0`.
        corrupted: function of a name and a severity, which gives in-distribution images that were
            corrupted so, in any form that an `Evaluator` takes, such as a published set; names are
            then those that it knows. None: they are made of the evaluator's own.
        progress: function of how many corruptions are done, and of how many; None: nothing is told.

    Raises:
        ConfigError: there is no such corruption or severity, or none is given.
    """
    pairs = _checked_pairs(corruptions, severities, known=corrupted is None)
    in_range("acceptance", acceptance, 0.0, above=True, below=1.0)
    evaluator.fit()
    clean = evaluator.in_set.at_most(num_images, seed)
    known = {name: _Known(evaluator, name, clean, acceptance) for name in evaluator.subjects}
    cells = [cell for each in known.values() for cell in each.cells(clean, "clean", 0)]
    pixels = clean.rows(np.arange(len(clean)))
    for done, (name, severity) in enumerate(pairs, 1):
        if corrupted is None:
            images = corrupt(pixels, name, severity, seed)
            changed = ImageSet(f"{name} {severity}", images, clean.labels)
        else:
            given = corrupted(name, severity)
            changed = as_image_set(given, f"{name} {severity}", clean.image_shape)
            changed = changed.at_most(num_images, seed)
        cells += [cell for each in known.values() for cell in each.cells(changed, name, severity)]
        if progress is not None:
            progress(done, len(pairs))
    return Robustness(tuple(cells), acceptance, len(clean))


class _Known:
    """What stays the same for one model: scores of outliers, and thresholds."""

    def __init__(self, evaluator, model, clean, acceptance):
        self._evaluator, self._model = evaluator, model
        self._outside = {s.name: evaluator.scored(model, s).scores for s in evaluator.out_sets}
        place = smallest_count(acceptance, len(clean)) - 1
        scores = evaluator.scored(model, clean).scores
        self._thresholds = {name: np.sort(values)[place] for name, values in scores.items()}

    def cells(self, images: ImageSet, corruption: str, severity: int) -> Iterator[Cell]:
        """Of every score."""
        found = self._evaluator.scored(self._model, images)
        wrong = None
        if images.labels is not None and found.logits is not None:
            wrong = np.argmax(found.logits, axis=1) != images.labels
        for score, values in found.scores.items():
            yield Cell(
                self._model,
                score,
                corruption,
                severity,
                {name: auroc(values, by_score[score]) for name, by_score in self._outside.items()},
                float(np.mean(values > self._thresholds[score])),
                None if wrong is None else float(1.0 - np.mean(wrong)),
                _auroc_of_mistakes(values, wrong),
            )


def _auroc_of_mistakes(values, wrong) -> float | None:
    if wrong is None or np.all(wrong) or not np.any(wrong):
        return None
    return auroc(values[~wrong], values[wrong])


def _checked_pairs(corruptions, severities, known):
    names = list(CORRUPTIONS if corruptions is None else corruptions)
    levels = list(SEVERITIES if severities is None else severities)
    if not names or not levels:
        raise ConfigError("no corruption is asked for; give at least one name and one severity")
    for name in names if known else ():
        one_of("the corruption", name, (*CORRUPTIONS, *SHIFTS))
    for level in levels:
        whole_number("the severity", level, 1, 5)
    return [(name, level) for name in names for level in levels]


def _mean(values) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
