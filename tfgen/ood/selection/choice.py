"""What was chosen to learn from, and why, in words and as JSON."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfgen.files.json_file import write_json

_SHOWN = 5  # sets of all that were tried


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
