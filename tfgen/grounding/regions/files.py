"""Published features of regions: the authors' HDF5, MAF's, and the TSV of bottom-up attention.

All answer alike: which images there are, and the `Regions` of one.
"""

import base64
import binascii
import csv
import io
import json
import os
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfgen.errors import DataError
from tfgen.files.names import shown
from tfgen.files.regular import regular_file


class Regions(NamedTuple):
    """Regions of one image, the surest first where their detector says so.

    Attributes:
        features: float32 `[M, D]`.
        boxes: float32 `[M, 4]`, x1, y1, x2, y2 in pixels of the original image.
        scores: float32 `[M]`, how sure the detector is, or None.
        image_size: pair of integers, height and width in pixels, or None.
    """

    features: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray | None = None
    image_size: tuple[int, int] | None = None


def stacked(regions: Sequence[Regions], num_regions: int = 30) -> dict[str, np.ndarray]:
    """Regions of several images as arrays of one shape.

    Args:
        regions: sequence of `Regions`.
        num_regions: integer M; the first M of an image are kept, and fewer are filled up with
            zeros. Defaults to `30`.

    Returns:
        `regions` `[N, M, D]`, `boxes` `[N, M, 4]` and `region_mask` `[N, M]`, float32, in a dict.

    Raises:
        DataError: there are none, or their features have several widths.
    """
    widths = sorted({found.features.shape[1] for found in regions})
    if len(widths) != 1:
        raise DataError(f"features of regions have widths {widths}; expected one width")
    features = np.zeros((len(regions), num_regions, widths[0]), np.float32)
    boxes = np.zeros((len(regions), num_regions, 4), np.float32)
    mask = np.zeros((len(regions), num_regions), np.float32)
    for row, found in enumerate(regions):
        count = min(num_regions, len(found.features))
        features[row, :count] = found.features[:count]
        boxes[row, :count] = found.boxes[:count]
        mask[row, :count] = 1.0
    return {"regions": features, "boxes": boxes, "region_mask": mask}


class OfficialRegions:
    """The authors' folder of a subset: `features.hdf5`, `boxes.hdf5` and perhaps `scores.hdf5`.

    Each has one data set for every image, named after it. A file is opened once, when it is first
    asked for; another process opens its own.

    Args:
        folder: path of the folder.

    Raises:
        DataError: a file is missing.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder).expanduser()
        self._open = {}
        for name in ("features", "boxes"):
            if not (self.folder / f"{name}.hdf5").is_file():
                raise DataError(
                    f"{shown(self.folder)} has no {name}.hdf5; expected features.hdf5 and "
                    "boxes.hdf5, one data set for every image in each"
                )

    def ids(self) -> list[str]:
        """Names of the images, in alphabetical order."""
        return sorted(self._file("features"))

    def __getitem__(self, image_id: str) -> Regions:
        features, boxes = (self._read(name, image_id) for name in ("features", "boxes"))
        scores = None
        if (self.folder / "scores.hdf5").is_file():
            scores = self._read("scores", image_id)
        return _checked(Regions(features, boxes, scores), image_id, self.folder)

    def close(self) -> None:
        """Closes the files; the next question opens them again."""
        for _, file in self._open.values():
            file.close()
        self._open = {}

    def _file(self, name):
        process, file = self._open.get(name, (None, None))
        if process != os.getpid():  # a handle does not survive a fork
            file = _hdf5(self.folder / f"{name}.hdf5")
            self._open[name] = (os.getpid(), file)
        return file

    def _read(self, name, image_id) -> np.ndarray:
        file = self._file(name)
        if image_id not in file:
            raise DataError(f"{shown(self.folder)}: {name}.hdf5 has no image {image_id!r}")
        return np.asarray(file[image_id], np.float32)


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
        self._features = _hdf5(self.path)
        missing = {"features", "pos_bboxes"} - set(self._features)
        if missing:
            raise DataError(f"{shown(self.path)} has no {', '.join(sorted(missing))}")
        self._ends = np.asarray(self._features["pos_bboxes"], np.int64)
        self._rows = {str(k): int(v) for k, v in _table(Path(rows)).items()}
        self._boxes = {str(k): v for k, v in _table(Path(detections)).items()}

    def ids(self) -> list[str]:
        """Numbers of the images, in alphabetical order."""
        return sorted(set(self._rows) & set(self._boxes))

    def __getitem__(self, image_id: str) -> Regions:
        if image_id not in self._rows or image_id not in self._boxes:
            raise DataError(f"{shown(self.path)} has no image {image_id!r}")
        start, end = self._ends[self._rows[image_id]]
        features = np.asarray(self._features["features"][start:end], np.float32)
        boxes = np.asarray(self._boxes[image_id]["bboxes"], np.float32)
        return _checked(Regions(features, boxes), image_id, self.path)

    def class_names(self, image_id: str) -> list[str]:
        """What the detector calls the regions of an image."""
        return [str(name) for name in self._boxes[image_id].get("classes", ())]


_COLUMNS = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features")


def read_tsv(path: str | os.PathLike) -> Iterator[tuple[str, Regions]]:
    """Images of a file of bottom-up attention, in its order.

    Args:
        path: of the file, six columns between tabs, boxes and features as base64 of float32.

    Yields:
        The image's number and its `Regions`.

    Raises:
        DataError: a line is damaged; the message says which.
    """
    csv.field_size_limit(2**31 - 1)
    path = Path(path)
    try:
        text = regular_file(path, DataError).open(encoding="ascii", newline="")
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read ({error})") from error
    with text:
        rows = csv.DictReader(text, fieldnames=_COLUMNS, delimiter="\t")
        for number, row in enumerate(rows, 1):
            try:
                count = int(row["num_boxes"])
                boxes, features = (
                    np.frombuffer(base64.b64decode(row[name], validate=True), "<f4")
                    for name in ("boxes", "features")
                )
                size = int(row["image_h"]), int(row["image_w"])
                found = Regions(
                    features.reshape(count, -1).copy(), boxes.reshape(count, 4).copy(), None, size
                )
            except (TypeError, ValueError, binascii.Error) as error:
                raise DataError(
                    f"{shown(path)}, line {number} is no line of bottom-up attention ({error}); "
                    "fetch the file again"
                ) from error
            yield row["image_id"], _checked(found, row["image_id"], path)


def _checked(regions: Regions, image_id, where) -> Regions:
    features, boxes = regions.features, regions.boxes
    if features.ndim != 2 or boxes.shape != (len(features), 4) or not len(features):
        raise DataError(
            f"{shown(where)}: image {image_id!r} has features of shape {features.shape} and boxes "
            f"of shape {boxes.shape}; expected [M, D] and [M, 4]"
        )
    if not (np.isfinite(features).all() and np.isfinite(boxes).all()):
        raise DataError(f"{shown(where)}: image {image_id!r} has numbers that are not finite")
    return regions


def _hdf5(path: Path):
    import h5py

    try:
        # Without a lock, so that several processes read at once and a read-only disk will do.
        return h5py.File(regular_file(path, DataError), "r", locking=False)
    except OSError as error:
        raise DataError(
            f"{shown(path)} cannot be read as HDF5 ({str(error).splitlines()[0]}); fetch it again"
        ) from error


class _PlainUnpickler(pickle.Unpickler):
    """Reads numbers, strings and containers of them, and runs nothing."""

    def find_class(self, module, name):
        raise DataError(f"the table names {module}.{name}; expected plain numbers and strings")


def _table(path: Path) -> dict:
    try:
        data = regular_file(path, DataError).read_bytes()
        try:
            found = json.loads(data)
        except ValueError:
            found = _PlainUnpickler(io.BytesIO(data)).load()
    except DataError:
        raise
    except Exception as error:  # whatever damaged bytes lead the parser to
        raise DataError(f"{shown(path)} cannot be read as a table ({error})") from error
    if not isinstance(found, dict):
        raise DataError(f"{shown(path)} holds a {type(found).__name__}; expected a table")
    return found
