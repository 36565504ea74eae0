"""What a study has found so far, kept on the disk: JSON, Markdown tables, and a picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from matplotlib.figure import Figure

from tfgen.errors import ConfigError
from tfgen.files.json_file import read_json, write_json
from tfgen.files.replacing import replace_file


@dataclasses.dataclass
class Study:
    """Rows by name, and what they have in common.

    Attributes:
        folder: path where it is written.
        settings: dict of what all rows have in common.
        rows: dict of rows by name.
    """

    folder: Path
    settings: dict[str, Any]
    rows: dict[str, dict[str, Any]]

    stem: ClassVar[str] = "study"  # of its files

    @classmethod
    def of(cls, folder: Path, settings: Mapping[str, Any]) -> Self:
        """The study of a folder, begun if there is none.

        Raises:
            ConfigError: the folder holds one of other settings, or something else.
        """
        path = folder / f"{cls.stem}.json"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            return cls(folder, dict(settings), {})
        mend = "choose another --output, or move it away"
        found = read_json(path, ConfigError, mend)
        old, rows = found.get("settings"), found.get("rows")
        if old != dict(settings):
            raise ConfigError(f"{path} holds a study of other settings, {old}; {mend}")
        if not isinstance(rows, dict) or not all(map(cls.is_row, rows.values())):
            raise ConfigError(f"{path} holds rows that this program did not write; {mend}")
        return cls(folder, dict(settings), rows)

    def add(self, name: str, row: Mapping[str, Any]) -> None:
        """Keeps a row, on the disk as well."""
        self.rows[name] = dict(row)
        write_json(self._path("json"), {"settings": self.settings, "rows": self.rows})

    def write(self) -> list[Path]:
        """Writes the tables and the picture; returns all paths."""
        paths = [self._path(kind) for kind in ("json", "md", "png")]
        with replace_file(paths[1]) as temporary:
            Path(temporary).write_text(self.text() + "\n", encoding="utf-8")
        with replace_file(paths[2]) as temporary:
            self.picture().savefig(temporary, dpi=120, format="png")
        return paths

    @staticmethod
    def is_row(row: Any) -> bool:
        """Whether a row may be one of this study."""
        return isinstance(row, dict)

    def text(self) -> str:
        """The tables in Markdown."""
        raise NotImplementedError

    def picture(self) -> Figure:
        """The picture."""
        raise NotImplementedError

    def _path(self, kind):
        return self.folder / f"{self.stem}.{kind}"
