"""Milliseconds by block, with what they depend on, as JSON."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfgen.errors import UserError
from tfgen.files.json_file import read_json, write_json

FORMAT = 1
_MEND = "delete it to measure again"


@dataclasses.dataclass(frozen=True)
class Entry:
    """What was found out about a block.

    Attributes:
        milliseconds: float, the quantile of its runs that the table is of; None if it failed.
        spread: float, the range of the middle half of its runs in multiples of `milliseconds`.
            Defaults to `0.0`.
        num_runs: integer, runs that were timed; 0 for a block of nothing. Defaults to `0`.
        failure: string, why it could not be timed; None if it could.
    """

    milliseconds: float | None
    spread: float = 0.0
    num_runs: int = 0
    failure: str | None = None

    @classmethod
    def of_runs(cls, milliseconds: np.ndarray, quantile: float = 0.5) -> "Entry":
        """That of some runs.

        Args:
            milliseconds: array `[N]`, of every run.
            quantile: float, the share of the runs that were faster. Defaults to `0.5`.
        """
        found = float(np.quantile(milliseconds, quantile))
        low, high = np.quantile(milliseconds, [0.25, 0.75])
        return cls(found, float((high - low) / found) if found else 0.0, len(milliseconds))


@dataclasses.dataclass(frozen=True)
class Repeat:
    """How well blocks that were measured twice agree.

    Attributes:
        num_blocks: integer, how many.
        mean_difference: float, mean absolute difference in multiples of the two's mean.
        pearson: float, correlation of the two; None for fewer than three blocks.
    """

    num_blocks: int
    mean_difference: float
    pearson: float | None

    @classmethod
    def of(cls, first: np.ndarray, second: np.ndarray) -> "Repeat":
        """That of two measurements of the same blocks.

        Args:
            first: array `[N]`, milliseconds.
            second: array `[N]`, milliseconds.
        """
        difference = np.abs(first - second) / np.maximum((first + second) / 2, 1e-12)
        return cls(len(first), float(np.mean(difference)), pearson(first, second))


def pearson(first: np.ndarray, second: np.ndarray) -> float | None:
    """The correlation of two rows of numbers; None where they have none.

    Args:
        first: array `[N]`.
        second: array `[N]`.
    """
    if len(first) < 3 or np.ptp(first) == 0.0 or np.ptp(second) == 0.0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


class LatencyTable:
    """What blocks take on one device in one setting.

    Args:
        metadata: mapping of what the times depend on beside the block, plain values by name.
        entries: mapping of keys to `Entry`; None is empty.
        repeat: `Repeat` of the last measurement; None if nothing was measured twice.
        path: path of its file; None keeps it in memory.
        networks: mapping of the keys of whole networks to the sequence of their blocks' keys; None
            is empty.
    """

    def __init__(
        self,
        metadata: Mapping[str, Any],
        entries: Mapping[str, Entry] | None = None,
        repeat: Repeat | None = None,
        path: str | os.PathLike | None = None,
        networks: Mapping[str, Sequence[str]] | None = None,
    ):
        self.metadata = dict(metadata)
        self.entries = dict(entries or {})
        self.networks = {key: list(parts) for key, parts in (networks or {}).items()}
        self.repeat = repeat
        self.path = None if path is None else Path(path)

    @classmethod
    def read(cls, path: str | os.PathLike) -> "LatencyTable":
        """The table in a file.

        Args:
            path: path of the file.

        Raises:
            UserError: it is missing, damaged, or something else.
        """
        found = read_json(path, UserError, _MEND)
        try:
            if found["format"] != FORMAT:
                raise ValueError(f"its format is {found['format']!r}; expected {FORMAT}")
            entries = {key: _entry(value) for key, value in found["entries"].items()}
            repeat = found["repeat"] and _repeat(found["repeat"])
            networks = {key: _keys(parts) for key, parts in found.get("networks", {}).items()}
            return cls(dict(found["metadata"]), entries, repeat, path, networks)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{path} is no table of latencies ({error}); {_MEND}") from None

    def write(self, path: str | os.PathLike | None = None) -> None:
        """Writes the file, whole or not at all.

        Args:
            path: path of the file; None is the table's own.

        Raises:
            OSError: the file cannot be written.
        """
        plain = {
            "format": FORMAT,
            "metadata": self.metadata,
            "repeat": self.repeat and dataclasses.asdict(self.repeat),
            "entries": {key: _plain(entry) for key, entry in self.entries.items()},
            "networks": self.networks,
        }
        write_json(self.path if path is None else path, plain, indent=1)

    def milliseconds(self, keys: Iterable[str]) -> np.ndarray:
        """What blocks take, float64 `[N]`.

        Args:
            keys: iterable of N strings.

        Raises:
            UserError: a block was not measured, or could not be timed.
        """
        return np.array([self._milliseconds(key) for key in keys], np.float64)

    def _milliseconds(self, key):
        entry = self.entries.get(key)
        if entry is None:
            raise UserError(
                f"the table has no block {key!r} among its {len(self.entries)}; measure it"
            )
        if entry.milliseconds is None:
            raise UserError(f"{entry.failure}; leave it out of the search")
        return entry.milliseconds

    @property
    def failures(self) -> dict[str, str]:
        """Why blocks could not be timed, by key."""
        return {key: entry.failure for key, entry in self.entries.items() if entry.failure}

    def check(self, metadata: Mapping[str, Any]) -> None:
        """Refuses a table of another device or setting.

        Args:
            metadata: mapping of what is asked for, plain values by name.

        Raises:
            UserError: they differ, with the field and both values.
        """
        here, asked = _flat(self.metadata), _flat(metadata)
        for field in {**asked, **here}:
            if here.get(field) != asked.get(field):
                raise UserError(
                    f"{self.path or 'the table'} was measured with {field} = "
                    f"{here.get(field)!r}, and {asked.get(field)!r} is asked for; name another "
                    "file, or ask for what it holds"
                )


def _flat(metadata, prefix=""):
    found = {}
    for name, value in metadata.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = list(value) if isinstance(value, tuple) else value
    return found


def _plain(entry):
    return {name: value for name, value in dataclasses.asdict(entry).items() if value is not None}


def _keys(parts):
    if not isinstance(parts, list) or not all(isinstance(key, str) for key in parts):
        raise ValueError(f"the parts of a network are {parts!r}")
    return parts


def _entry(plain):
    if ("milliseconds" in plain) == ("failure" in plain):
        raise ValueError("an entry has neither a time nor a failure")
    entry = Entry(**{"milliseconds": None, **plain})
    for value in (entry.milliseconds or 0.0, entry.spread, entry.num_runs):
        _check_number("an entry", value)
    if not isinstance(entry.failure, str | None):
        raise ValueError(f"a failure is {entry.failure!r}")
    return entry


def _repeat(plain):
    repeat = Repeat(**plain)
    correlation = 0.0 if repeat.pearson is None else abs(repeat.pearson)
    for value in (repeat.num_blocks, repeat.mean_difference, correlation):
        _check_number("repeat", value)
    return repeat


def _check_number(where, value):
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError(f"{where} holds {value!r}")
