"""Evaluations of several trainings together: means, and how far the trainings differ."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfgen.errors import UserError
from tfgen.metrics import Separation
from tfgen.ood.evaluation.result import Evaluation


class Spread(NamedTuple):
    """A number over trainings.

    Attributes:
        mean: float, the mean.
        sd: float, the standard deviation between trainings (of a sample: n - 1).
    """

    mean: float
    sd: float


@dataclasses.dataclass(frozen=True)
class SeedRow:
    """One score of one model over trainings.

    Attributes:
        model: string, the model's name.
        score: string, the score's name.
        separation: dict of `Separation` whose entries are `Spread`s, by set of outliers and by
            "mean of GROUP" for the groups "near", "far" and "all" that there are.
    """

    model: str
    score: str
    separation: Mapping[str, Separation]


@dataclasses.dataclass(frozen=True)
class SeedSummary:
    """What `over_seeds` found.

    Attributes:
        rows: tuple of `SeedRow`.
        num_trainings: integer, how many evaluations these are of.
        in_name: string, the in-distribution set.
        accuracy: dict of `Spread` by model that classifies.
    """

    rows: tuple[SeedRow, ...]
    num_trainings: int
    in_name: str
    accuracy: Mapping[str, Spread]

    def table(self):
        """AUROC in percent, mean and standard deviation, a rich table."""
        from rich.table import Table

        names = list(self.rows[0].separation)
        title = f"AUROC in % of {self.in_name} against others, {self.num_trainings} trainings"
        table = Table(title=title)
        for column in ("model", "score"):
            table.add_column(column)
        for column in names:
            table.add_column(column, justify="right")
        for row in self.rows:
            areas = [row.separation[name].auroc for name in names]
            cells = [f"{100 * mean:.2f} ± {100 * sd:.2f}" for mean, sd in areas]
            table.add_row(row.model, row.score, *cells)
        return table

    def lines(self) -> Iterator[str]:
        """The table, and accuracies, for a person, as lines of text."""
        from rich.console import Console

        console = Console(width=60 + 24 * len(self.rows[0].separation))
        with console.capture() as captured:
            console.print(self.table())
        yield from captured.get().rstrip().splitlines()
        for name, (mean, sd) in self.accuracy.items():
            yield f"{name}: accuracy {mean:.2%} ± {sd:.2%}"

    def __str__(self):
        return "\n".join(self.lines())

    def to_json(self) -> dict[str, Any]:
        """All numbers, as JSON holds them: pairs of mean and standard deviation."""
        return {
            "in_distribution": self.in_name,
            "num_trainings": self.num_trainings,
            "accuracy": {name: list(spread) for name, spread in self.accuracy.items()},
            "rows": [
                {
                    "model": row.model,
                    "score": row.score,
                    "sets": {
                        name: {key: list(spread) for key, spread in found._asdict().items()}
                        for name, found in row.separation.items()
                    },
                }
                for row in self.rows
            ],
        }


def over_seeds(evaluations: Sequence[Evaluation]) -> SeedSummary:
    """Means and standard deviations of the numbers of several trainings, as a `SeedSummary`.

    Args:
        evaluations: sequence of `Evaluation`, at least 2, of the same models by name, scores and
            sets; each of another training.

    Raises:
        UserError: there are fewer, or they are of other rows or sets.
    """
    if len(evaluations) < 2:
        raise UserError(
            f"{len(evaluations)} evaluations came; expected at least 2, of trainings that differ"
        )
    tables = [{(r.model, r.score): _numbers(r) for r in each.rows} for each in evaluations]
    for table in tables[1:]:
        for key, numbers in tables[0].items():
            if table.keys() != tables[0].keys() or table[key].keys() != numbers.keys():
                raise UserError(
                    "the evaluations are of other rows or sets; evaluate every training by the "
                    "same scores, against sets of the same names"
                )
    rows = [
        SeedRow(*key, {name: _spread([table[key][name] for table in tables]) for name in numbers})
        for key, numbers in tables[0].items()
    ]
    accuracy = {
        name: _of([each.classification[name]["accuracy"] for each in evaluations])
        for name in evaluations[0].classification
    }
    return SeedSummary(tuple(rows), len(evaluations), evaluations[0].in_name, accuracy)


def _numbers(row) -> dict[str, Separation]:
    means = {f"mean of {group}": found for group, found in row.means.items()}
    return {**row.separation, **means}


def _spread(found: Sequence[Separation]) -> Separation:
    return Separation(*(_of(values) for values in zip(*found)))


def _of(values) -> Spread:
    return Spread(float(np.mean(values)), float(np.std(values, ddof=1)))
