"""Corrupted test sets in the layout of CIFAR-10-C (Hendrycks & Dietterich, 2019).

A folder holds `NAME.npy`, uint8 `[5 N, H, W, C]` with the N images at severity 1, then at 2 and so
on, and `labels.npy`, `[5 N]` or `[N]`.
"""

from pathlib import Path

import numpy as np

from tfgen.data.arrays import MissingSplitError, Split, open_npy
from tfgen.data.labels import as_labels
from tfgen.data.mapped import Mapped
from tfgen.data.ranges import as_levels
from tfgen.errors import DataError
from tfgen.files.names import shown

_SEVERITIES = 5


def cifar_c_parts(name: str) -> tuple[str, str, int | None]:
    """Folder, corruption and severity (None: all) of "FOLDER:CORRUPTION:SEVERITY".

    Raises:
        DataError: it is no such name.
    """
    place, _, last = name.rpartition(":")
    severity = None
    if last.isdecimal():
        severity = int(last)
        place, _, last = place.rpartition(":")
    if not place or not last or severity not in (None, *range(1, _SEVERITIES + 1)):
        raise DataError(
            f"cifar_c:{name} names no corrupted set; expected cifar_c:FOLDER:CORRUPTION:SEVERITY, "
            "such as cifar_c:CIFAR-10-C:fog:3, severity 1 to 5"
        )
    return place, last, severity


def read_cifar_c(folder: Path, corruption: str, severity: int | None, split: str) -> Split:
    """The images of one corruption, memory-mapped, at one severity or at all.

    Args:
        folder: path of the folder.
        corruption: string, the file's name without `.npy`.
        severity: integer, 1 to 5; None: all, one after another.
        split: string, "test" or "all": these are test images.

    Raises:
        DataError: a file is missing or damaged, or holds no five equal parts.
    """
    if split not in ("test", "all"):
        raise MissingSplitError(
            f"{shown(folder)} holds corrupted test images and no {split!r} split"
        )
    path, beside = folder / f"{corruption}.npy", folder / "labels.npy"
    if not path.is_file():
        known = sorted(p.stem for p in folder.glob("*.npy") if p.stem != "labels")
        raise DataError(
            f"{shown(folder)} has no file {shown(corruption)}.npy; it has "
            f"{', '.join(map(shown, known)) or 'none of that kind'}"
        )
    images = as_levels(open_npy(path), shown(path))
    size, rest = divmod(len(images), _SEVERITIES)
    if rest:
        raise DataError(
            f"{shown(path)} holds {len(images)} images; expected as many of each of five severities"
        )
    labels = _labels(beside, len(images)) if beside.is_file() else None
    if severity is None:
        return Split(images, labels)
    rows = np.arange((severity - 1) * size, severity * size)
    if labels is not None:
        labels = labels._replace(numbers=labels.numbers[rows])
    return Split(Mapped(images, rows=rows), labels)


def _labels(path, count):
    found = open_npy(path)
    if len(found) * _SEVERITIES == count:
        found = np.concatenate([found] * _SEVERITIES)
    return as_labels(found, count, shown(path))
