"""Lists of image files with labels, as benchmarks of out-of-distribution detection publish them."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfgen.data.arrays import MissingSplitError, Split, readable
from tfgen.data.folder_splits import Listing
from tfgen.data.folders import read_listing
from tfgen.data.labels import Labels, as_labels
from tfgen.errors import DataError
from tfgen.files.names import shown

_PLACE = "{split}"


def list_path(name: str, split: str) -> str:
    """The path of the list of one split.

    Raises:
        MissingSplitError: the name has no place for a split, and images to train on are asked for:
            the same list would serve to test.
    """
    if _PLACE in name:
        return name.replace(_PLACE, split)
    if split in ("train", "validation"):
        raise MissingSplitError(
            f"imglist:{name} is one list, which does not say what its {split!r} split is; put "
            f"{_PLACE} where its files differ, as in imglist:lists/{_PLACE}.txt"
        )
    return name


def read_image_list(
    path: Path,
    roots: Sequence[Path],
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
) -> Split:
    """The images that a text file lists, in its order.

    A line is a path and a label, a whole number or a word, or a path alone on all lines. Where
    every label is -1, which says "none of the classes", there are no labels.

    Args:
        path: of the list, UTF-8.
        roots: sequence of the folders that paths may start from, of which the first is taken that
            has the first file.
        image_size: pair `(height, width)` that every image is brought to; None: all must have one.
        channels: integer, 1 (grey) or 3 (RGB); None: 1 when all of them are grey.

    Raises:
        DataError: an empty list, a line that is none, a file that is missing or no image.
    """
    with readable(path, "a list of images"):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    names, words = _columns(path, lines)
    root = next((root for root in roots if os.path.exists(root / names[0])), None)
    if root is None:
        tried = " nor in ".join(shown(root) for root in dict.fromkeys(roots))
        raise DataError(
            f"{shown(path)} lists {shown(names[0])}, which is neither in {tried}; name the folder "
            "that its paths start from with --data_dir"
        )
    missing = next((name for name in names if not os.path.exists(root / name)), None)
    if missing is not None:
        raise DataError(
            f"{shown(path)} lists {shown(missing)}, which is not in {shown(root)}; fetch it, or "
            "take its line out"
        )
    found = read_listing(Listing(root, [root / name for name in names]), image_size, channels)
    return found._replace(labels=_labels(words, len(names), path))


def _columns(path, lines) -> tuple[list[str], list[str] | None]:
    """Paths and labels; None where no line has one."""
    rows = [(number, line.strip().rsplit(maxsplit=1)) for number, line in enumerate(lines, 1)]
    rows = [(number, row) for number, row in rows if row]
    if not rows:
        raise DataError(f"{shown(path)} lists no images; expected a line 'path label' for each")
    width = len(rows[0][1])
    for number, row in rows:
        if len(row) != width:
            raise DataError(
                f"{shown(path)} has {len(row) - 1} labels in line {number} and {width - 1} in line "
                f"{rows[0][0]}; expected 'path label' on all lines, or a path on all"
            )
    names = [row[0] for _, row in rows]
    return names, [row[1] for _, row in rows] if width == 2 else None


def _labels(words, count, path) -> Labels | None:
    if words is None or set(words) == {"-1"}:
        return None
    try:
        numbers = np.array([int(word) for word in words])
    except (ValueError, OverflowError):
        numbers = np.array(words)
    return as_labels(numbers, count, shown(path))
