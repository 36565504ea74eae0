"""What was chosen to learn from, and why, in words and as JSON."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfgen.files.json_file import write_json
from tfgen.ood.selection.subsets import num_trials_of

_SHOWN = 5  # sets of all that were tried


@dataclasses.dataclass(frozen=True)
class Budget:
    """How many short trainings a choice takes at most.

    Attributes:
        tasks: integer, of one task each.
        sets: integer, of sets of tasks.
        again: integer, of the best sets from another seed.
        weights: integer, in which weights are learned.
    """

    tasks: int
    sets: int
    again: int
    weights: int

    @classmethod
    def of(
        cls, num_tasks: int, labelled: bool, num_trials: int, num_best: int, learn: bool
    ) -> "Budget":
        """That of so many tasks, a `Budget`.

        Args:
            num_tasks: integer, transformations to choose from.
            labelled: whether there are classes, by whose loss sets are judged.
            num_trials: integer, sets tried where not all are.
            num_best: integer, sets tried again.
            learn: whether weights are learned.
        """
        sets = num_trials_of(2 * num_tasks, num_trials) if labelled else 0
        return cls(num_tasks, sets, min(num_best, sets), int(learn))

    @property
    def trainings(self) -> int:
        """All of them."""
        return self.tasks + self.sets + self.again + self.weights

    def told(self, steps: int) -> str:
        """In words, of trainings of so many steps."""
        return (
            f"at most {self.trainings} trainings of {steps:,} steps ({self.tasks} of one task "
            f"each, {self.sets} of sets, {self.again} of the best again, {self.weights} for the "
            "weights)"
        )


@dataclasses.dataclass(frozen=True)
class Selection:
    """What was chosen, and why.

    Attributes:
        transformations: list of dicts, as `MultiTaskOOD` takes them.
        ssl_weights: dict of floats by name.
        supervised_weights: dict of floats by name.
        reasons: dict of strings, by transformation or by "ssl NAME" and "supervised NAME".
        difficulties: dict by transformation of "loss", "entropy" and "difficulty".
        trials: list of dicts, the sets that were tried, the best first: "ssl", "supervised",
            "objective", "seeds".
        trajectory: list of dicts, the weights on their way; empty if they were not learned.
        budget: dict of what was stated before it began.
    """

    transformations: list[dict]
    ssl_weights: dict[str, float]
    supervised_weights: dict[str, float]
    reasons: dict[str, str]
    difficulties: dict[str, dict[str, float]]
    trials: list[dict[str, Any]]
    trajectory: list[dict[str, float]]
    budget: dict[str, Any]

    def options(self) -> dict[str, Any]:
        """Keyword arguments of `MultiTaskOOD`, a dict."""
        return {
            "transformations": self.transformations,
            "ssl_weights": self.ssl_weights,
            "supervised_weights": self.supervised_weights,
        }

    def lines(self) -> list[str]:
        """The best sets, the choice and its reasons for a person, a list of lines."""
        found = [
            f"set {rank} of {len(self.trials)}: levels of {told_of(trial['ssl'])}, classes of "
            f"{told_of(trial['supervised'])}: {trial['objective']:.4f} nats "
            f"({trial['seeds']} seed{'s' * (trial['seeds'] > 1)})"
            for rank, trial in enumerate(self.trials[:_SHOWN], 1)
        ]
        found += [f"{name}: {reason}" for name, reason in self.reasons.items()]
        for spec in self.transformations:
            name = spec.get("name") or spec["config"]["name"]
            both = (self.ssl_weights, self.supervised_weights)
            ssl, supervised = (weights.get(name, 0.0) for weights in both)
            found.append(f"chosen: {name}, lambda {ssl:.3f}, lambda' {supervised:.3f}")
        return found

    def table(self) -> str:
        """Difficulties, reasons, weights and sets in Markdown."""
        rows = ["| transformation | difficulty | lambda | lambda' |", "|---" * 4 + "|"]
        for name, found in self.difficulties.items():
            weights = (self.ssl_weights.get(name, 0.0), self.supervised_weights.get(name, 0.0))
            told = " | ".join(f"{weight:.3f}" if weight else "-" for weight in weights)
            rows.append(f"| {name} | {found['difficulty']:.4f} | {told} |")
        rows += ["", *(f"- {name}: {reason}" for name, reason in self.reasons.items())]
        if self.trials:
            rows += ["", "| levels of | classes of | validation loss | seeds |", "|---" * 4 + "|"]
        for trial in self.trials:
            sets = f"{told_of(trial['ssl'])} | {told_of(trial['supervised'])}"
            rows.append(f"| {sets} | {trial['objective']:.4f} | {trial['seeds']} |")
        return "\n".join(rows)

    def save(self, path: str | os.PathLike) -> Path:
        """Writes everything as JSON.

        Args:
            path: path of the file.

        Returns:
            The path.
        """
        write_json(Path(path), dataclasses.asdict(self))
        return Path(path)


def told_of(names: Sequence[str]) -> str:
    """Names in words."""
    return " and ".join(names) or "nothing"
