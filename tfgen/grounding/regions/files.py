"""Published features of regions: the authors' HDF5 and the TSV of bottom-up attention."""

import base64
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfgen.data.arrays import readable
from tfgen.errors import DataError
from tfgen.files.names import shown
from tfgen.grounding.regions.hdf5 import Hdf5Arrays


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


MOST_PIXELS = 2.0**31  # no image is as wide
_TSV = "a TSV of bottom-up attention"


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
        return self._file("features").names()

    def __getitem__(self, image_id: str) -> Regions:
        features, boxes = (self._read(name, image_id) for name in ("features", "boxes"))
        scores = None
        if (self.folder / "scores.hdf5").exists():
            scores = self._read("scores", image_id)
        return checked_regions(Regions(features, boxes, scores), image_id, self.folder)

    def close(self) -> None:
        """Closes the files; the next question opens them again."""
        for _, file in self._open.values():
            file.close()
        self._open = {}

    def _file(self, name) -> Hdf5Arrays:
        process, file = self._open.get(name, (None, None))
        if process != os.getpid():  # a handle does not survive a fork
            file = Hdf5Arrays(self.folder / f"{name}.hdf5")
            self._open[name] = (os.getpid(), file)
        return file

    def _read(self, name, image_id) -> np.ndarray:
        if not isinstance(image_id, str):
            raise DataError(f"the name of an image is {image_id!r}; expected a text")
        file = self._file(name)
        if image_id not in file:
            raise DataError(f"{shown(self.folder)}: {name}.hdf5 has no image {image_id!r}")
        return file.read(image_id)


def read_tsv(path: str | os.PathLike) -> Iterator[tuple[str, Regions]]:
    """Images of a file of bottom-up attention, in its order.

    Args:
        path: of the file, six columns between tabs, boxes and features as base64 of float32.

    Yields:
        The image's number and its `Regions`.

    Raises:
        DataError: a line is damaged; the message says which.
    """
    path = Path(path)
    with readable(path, _TSV), path.open(encoding="ascii") as text:
        for number, line in enumerate(text, 1):
            if line.strip():
                image_id, regions = _row(
                    line.rstrip("\n").split("\t"), f"{shown(path)}, line {number}"
                )
                yield image_id, checked_regions(regions, image_id, path)


def _row(columns, where) -> tuple[str, Regions]:
    try:
        if len(columns) != 6:
            raise ValueError(f"{len(columns)} columns between tabs, expected 6")
        image_id, width, height, count, *packed = columns
        boxes, features = (np.frombuffer(base64.b64decode(c, validate=True), "<f4") for c in packed)
        size = int(height), int(width)
        if not all(0 < length < MOST_PIXELS for length in size):
            raise ValueError(f"an image of {size[1]} by {size[0]} pixels")
        found = Regions(
            features.reshape(int(count), -1).copy(), boxes.reshape(int(count), 4).copy(), None, size
        )
    except ValueError as error:
        raise DataError(
            f"{where} is no line of bottom-up attention ({str(error)[:200]}); fetch the file again"
        ) from error
    return image_id, found


def checked_regions(regions: Regions, image_id: str, where: str | os.PathLike) -> Regions:
    """The regions of an image, once their numbers are finite and of shapes that fit.

    Args:
        regions: the `Regions` as they were read.
        image_id: string, of the image, for the message.
        where: path they came from, for the message.

    Raises:
        DataError: they are not.
    """
    features, boxes, scores = regions[:3]
    count = len(features)
    if features.ndim != 2 or boxes.shape != (count, 4) or not features.size:
        raise DataError(
            f"{shown(where)}: image {image_id!r} has features of shape {features.shape} and boxes "
            f"of shape {boxes.shape}; expected [M, D] and [M, 4]"
        )
    if scores is not None and scores.shape != (count,):
        raise DataError(
            f"{shown(where)}: image {image_id!r} has scores of shape {scores.shape}; expected one "
            f"for each of {count} regions"
        )
    if not all(found is None or np.isfinite(found).all() for found in regions[:3]):
        raise DataError(f"{shown(where)}: image {image_id!r} has numbers that are not finite")
    return regions
