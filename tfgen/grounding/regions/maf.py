"""MAF's features of regions: one array for all images, and tables of what is whose."""

import os
from pathlib import Path

import numpy as np

from tfgen.errors import DataError
from tfgen.files.names import shown
from tfgen.grounding.regions.files import MOST_PIXELS, Regions, checked_regions
from tfgen.grounding.regions.hdf5 import Hdf5Arrays
from tfgen.grounding.regions.tables import read_table


class MAFRegions:
    """MAF's files: all features in one array, with where each image begins and ends.

    Args:
        features: path of the HDF5 file with `features` `[N, D]` and `pos_bboxes` `[images, 2]`.
        rows: path of the table from an image's number to its row, JSON or pickle; of a pickle
            nothing but plain numbers, strings and dicts is accepted.
        detections: path of the JSON of boxes: number -> `{"bboxes": [...], "classes": [...]}`.

    Raises:
        DataError: a file is missing or of another form.
    """

    def __init__(
        self,
        features: str | os.PathLike,
        rows: str | os.PathLike,
        detections: str | os.PathLike,
    ):
        self.path = Path(features).expanduser()
        self._features = Hdf5Arrays(self.path)
        missing = {"features", "pos_bboxes"} - set(self._features.names())
        if missing:
            raise DataError(f"{shown(self.path)} has no {', '.join(sorted(missing))}")
        self._ends = self._features.read("pos_bboxes", dtype=np.int64)
        if self._ends.ndim != 2 or self._ends.shape[1] != 2:
            raise DataError(
                f"{shown(self.path)}: pos_bboxes has shape {self._ends.shape}; expected [images, 2]"
            )
        self._rows, self._detections = read_table(rows), read_table(detections)

    def ids(self) -> list[str]:
        """Numbers of the images, in alphabetical order."""
        return sorted(set(self._rows) & set(self._detections))

    def __getitem__(self, image_id: str) -> Regions:
        detected, row = self._detection(image_id), self._rows[image_id]
        if type(row) is not int or not 0 <= row < len(self._ends):
            raise DataError(
                f"{shown(self.path)}: image {image_id!r} has no row among the {len(self._ends)} of "
                "pos_bboxes; expected a number from 0 on"
            )
        start, end = self._ends[row].tolist()
        total = self._features.length("features")
        if not 0 <= start < end <= total:
            raise DataError(
                f"{shown(self.path)}: image {image_id!r} has the features from {start} to {end}; "
                f"expected some of {total}"
            )
        features = self._features.read("features", slice(start, end))
        boxes = _box_rows(detected.get("bboxes"), f"{shown(self.path)}: image {image_id!r}")
        return checked_regions(Regions(features, boxes), image_id, self.path)

    def class_names(self, image_id: str) -> list[str]:
        """What the detector calls the regions of an image.

        Raises:
            DataError: there is no such image, or no such list of it.
        """
        names = self._detection(image_id).get("classes", [])
        if not isinstance(names, list | tuple) or not all(type(n) in (str, int) for n in names):
            raise DataError(
                f"{shown(self.path)}: the classes of image {image_id!r} are no list of names"
            )
        return [str(name) for name in names]

    def _detection(self, image_id) -> dict:
        if image_id not in self._rows or image_id not in self._detections:
            raise DataError(f"{shown(self.path)} has no image {image_id!r}")
        found = self._detections[image_id]
        if not isinstance(found, dict):
            raise DataError(
                f"{shown(self.path)}: image {image_id!r} has a {type(found).__name__} of "
                "detections; expected a table with 'bboxes'"
            )
        return found


def _box_rows(rows, where) -> np.ndarray:
    """Float32 `[M, 4]` of a list of lists of four numbers."""
    numbers = (int, float)
    good = isinstance(rows, list | tuple) and all(
        isinstance(row, list | tuple)
        and len(row) == 4
        and all(type(end) in numbers and abs(end) < MOST_PIXELS for end in row)
        for row in rows
    )
    if not good:
        raise DataError(f"{where} has 'bboxes' that are no list of four finite numbers each")
    return np.asarray(rows, np.float32).reshape(-1, 4)
