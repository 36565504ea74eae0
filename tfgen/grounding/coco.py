"""COCO's captions: the JSON file of a split, gzipped or not."""

import gzip
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfgen.errors import DataError
from tfgen.files.expansion import check_expansion
from tfgen.files.names import shown
from tfgen.files.regular import regular_file


class Captions(NamedTuple):
    """Captions with the images that they are of, in the order of the file.

    Attributes:
        texts: tuple of strings.
        image_ids: tuple of strings, several captions share one.
        caption_ids: tuple of strings, all different.
    """

    texts: tuple[str, ...]
    image_ids: tuple[str, ...]
    caption_ids: tuple[str, ...]


class CocoImage(NamedTuple):
    """One image with captions, and with boxes where the file has them.

    Attributes:
        file_name: string, of the picture.
        image_id: string, its number.
        image_size: pair of integers, height and width in pixels.
        captions: tuple of strings.
        boxes: dict, number of a thing as a string -> float32 `[4]` x1, y1, x2, y2, ends included.
        phrases: tuple of triples: the number of a caption, a phrase of it, and the numbers of its
            boxes, a tuple of strings.
    """

    file_name: str
    image_id: str
    image_size: tuple[int, int]
    captions: tuple[str, ...]
    boxes: Mapping[str, np.ndarray]
    phrases: tuple[tuple[int, str, tuple[str, ...]], ...]


def read_captions(path: str | os.PathLike) -> Captions:
    """The captions of a file such as `captions_val2014.json`.

    Args:
        path: of the file; `.gz` is unpacked.

    Returns:
        `Captions`; spaces and line ends within a caption become single spaces, and empty captions
        are left out.

    Raises:
        DataError: the file is missing, damaged, or of another form.
    """
    found = _json(Path(path))
    entries = found.get("annotations") if isinstance(found, Mapping) else found
    try:
        rows = [
            (" ".join(entry["caption"].split()), str(entry["image_id"]), str(entry["id"]))
            for entry in entries
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{shown(path)} is no file of COCO captions; expected 'annotations' with 'caption', "
            "'image_id' and 'id'"
        ) from error
    rows = [row for row in rows if row[0]]
    if not rows:
        raise DataError(f"{shown(path)} has no captions; fetch it again")
    return Captions(*(tuple(column) for column in zip(*rows)))


def read_images(path: str | os.PathLike) -> list[CocoImage]:
    """Images with captions, phrases and boxes of one JSON file, such as that of COCO's miniature.

    Args:
        path: of the file: `images`, each with `file_name`, `image_id`, `width`, `height`,
            `captions` (with `caption` and `phrases`, each with `text` and `box_ids`) and `boxes`
            (with `id` and `bbox_xyxy`, edges in pixels).

    Raises:
        DataError: the file is missing, damaged, or of another form.
    """
    found = _json(Path(path))
    try:
        return [_image(entry) for entry in found["images"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{shown(path)} is no file of images with captions and boxes ({error!r}); expected "
            "'images' with 'captions' and 'boxes'"
        ) from error


def _image(entry) -> CocoImage:
    # Edges become pixels, the last one included.
    boxes = {
        str(box["id"]): np.asarray(box["bbox_xyxy"], np.float32) - np.float32([0, 0, 1, 1])
        for box in entry["boxes"]
    }
    phrases = [
        (number, phrase["text"], tuple(str(box) for box in phrase["box_ids"]))
        for number, caption in enumerate(entry["captions"])
        for phrase in caption.get("phrases", ())
    ]
    return CocoImage(
        entry["file_name"],
        str(entry["image_id"]),
        (int(entry["height"]), int(entry["width"])),
        tuple(caption["caption"] for caption in entry["captions"]),
        boxes,
        tuple(phrases),
    )


def _json(path: Path) -> Any:
    try:
        data = regular_file(path, DataError).read_bytes()
        if data[:2] == b"\x1f\x8b":
            # The last four bytes of a gzip file are its length.
            check_expansion(path, len(data), int.from_bytes(data[-4:], "little"))
            data = gzip.decompress(data)
        return json.loads(data)
    except FileNotFoundError as error:
        raise DataError(
            f"there is no file {shown(path)}; put COCO's captions there (cocodataset.org)"
        ) from error
    except (OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
        raise DataError(
            f"{shown(path)} cannot be read as JSON ({error}); fetch it again"
        ) from error
