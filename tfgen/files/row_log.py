"""A table of numbers that grows line by line: CSV that is appended to, and repaired when needed."""

import csv
import io
import math
import os
import re
import shutil
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfgen.errors import UserError
from tfgen.files.replacing import replace_file

_COUNT = re.compile(r"\d{1,18}", re.ASCII)


class RowLog:
    """A CSV file with a header; each further row costs the same, however many there are.

    A row is one write at the end of the file. A process that is killed leaves at worst a torn last
    line, which `resume` drops. Rows whose bytes were damaged are left out there as well, and the
    file as it was is kept beside.

    Args:
        path: of the file.
        columns: sequence of names that every row has, in this order. The first counts; a row of the
            same count as the last one takes its place.
    """

    def __init__(self, path: str | os.PathLike, columns: Sequence[str]):
        self.path = Path(path)
        self._always = list(columns)
        self._columns = list(columns)
        self._last: tuple[str, int] | None = None  # its count, and where its line begins
        self._end: int | None = None

    def resume(self, count: int) -> None:
        """Takes up the file, without the rows beyond `count`; the file need not exist.

        Raises:
            UserError: it is not one of these.
            OSError: it cannot be read or written.
        """
        if not os.path.lexists(self.path):
            return
        lines, damaged = self._read()
        kept = [fields for fields in lines if int(fields[0]) <= count]
        if damaged:
            beside = self.path.with_name(self.path.name + ".damaged")
            shutil.copyfile(self.path, beside)
            warnings.warn(
                f"{self.path} holds {damaged} damaged lines, which are left out; the file as it "
                f"was is {beside.name}",
                stacklevel=2,
            )
        self._rewrite(kept)

    def add(self, row: Mapping[str, Any]) -> None:
        """Appends a row; columns it is the first to have begin with it.

        Raises:
            OSError: the file cannot be written. The rows before are kept.
        """
        fresh = [name for name in row if name not in self._columns]
        if fresh or self._end is None:
            lines = [] if self._end is None else self._read()[0]
            self._columns += fresh
            self._rewrite(lines)
        count = str(row[self._columns[0]])
        place = self._end
        if self._last is not None and self._last[0] == count:
            place = self._last[1]
        line = _line([row.get(name, "") for name in self._columns])
        with open(self.path, "r+b", buffering=0) as file:
            end = place
            try:
                file.seek(place)
                while end < place + len(line):  # a nearly full disk takes a part
                    end += file.write(line[end - place :])
                self._last, self._end = (count, place), end
            finally:
                file.truncate(end if end == place + len(line) else place)

    def _rewrite(self, lines: Iterable[list[str]]) -> None:
        header, lines = _line(self._columns), list(lines)
        width = len(self._columns)
        body = [_line(fields + [""] * (width - len(fields))) for fields in lines]
        with replace_file(self.path) as temporary:
            temporary.write_bytes(header + b"".join(body))
        self._end = len(header) + sum(map(len, body))
        self._last = (lines[-1][0], self._end - len(body[-1])) if lines else None

    def _read(self) -> tuple[list[list[str]], int]:
        """The fields of every whole line, and how many are damaged; learns the columns."""
        if not self.path.is_file():
            raise UserError(f"{self.path} is no file; move it away.")
        header, *lines = self.path.read_bytes().decode(errors="replace").split("\n")
        columns, wanted = _fields(header), self._always
        # A flipped quote or comma leaves most of the names.
        if 2 * len({*re.split(r"\W+", header)} & {*wanted}) < len(wanted):
            raise UserError(f"{self.path} is not a log of this library; move it away.")
        repaired = wanted + columns[len(wanted) :]
        damaged = columns[: len(wanted)] != wanted
        self._columns = list(dict.fromkeys(repaired))
        parsed = [_fields(line) for line in lines[:-1]]  # the last is empty, or torn
        whole = [fields for fields in parsed if _is_row(fields, len(repaired))]
        return whole, damaged + len(parsed) - len(whole)


def _line(values) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(values)
    return text.getvalue().encode()


def _fields(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


def _is_row(fields, width) -> bool:
    return len(fields) == width and bool(_COUNT.fullmatch(fields[0])) and all(map(_number, fields))


def _number(text: str) -> bool:
    try:
        return not text or not math.isnan(float(text)) or text == "nan"
    except ValueError:
        return False
