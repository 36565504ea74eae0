"""COCO's captions: the JSON file of a split, gzipped or not."""

import collections
import math
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from tfgen.data.arrays import readable
from tfgen.errors import DataError
from tfgen.files.expansion import unpack_gzip
from tfgen.files.json_file import parse_any_json
from tfgen.files.names import shown
from tfgen.grounding.regions.files import MOST_PIXELS


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
            (_text(entry["caption"]), _number(entry["image_id"]), _number(entry["id"]))
            for entry in entries
        ]
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{shown(path)} is no file of COCO captions; expected 'annotations' with 'caption', "
            "'image_id' and 'id'"
        ) from error
    rows = [(" ".join(text.split()), *numbers) for text, *numbers in rows if text.strip()]
    if not rows:
        raise DataError(f"{shown(path)} has no captions; fetch it again")
    texts, images, numbers = zip(*rows)
    if len(set(numbers)) < len(numbers):
        twice = next(n for n, count in collections.Counter(numbers).items() if count > 1)
        raise DataError(f"{shown(path)} has several captions with the id {twice!r}; expected one")
    return Captions(texts, images, numbers)


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
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{shown(path)} is no file of images with captions and boxes ({repr(error)[:200]}); "
            "expected 'images' with 'captions' and 'boxes'"
        ) from error


def _image(entry) -> CocoImage:
    captions = entry["captions"]
    phrases = [
        (number, _text(phrase["text"]), tuple(_number(box) for box in phrase["box_ids"]))
        for number, caption in enumerate(captions)
        for phrase in caption.get("phrases", ())
    ]
    file_name = PurePosixPath(_text(entry["file_name"]))
    if file_name.is_absolute() or ".." in file_name.parts:
        raise ValueError(f"the file_name {str(file_name)!r} leads elsewhere")
    return CocoImage(
        str(file_name),
        _number(entry["image_id"]),
        (_pixels(entry["height"]), _pixels(entry["width"])),
        tuple(_text(caption["caption"]) for caption in captions),
        {_number(box["id"]): _box(box["bbox_xyxy"]) for box in entry["boxes"]},
        tuple(phrases),
    )


def _text(value) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} instead of a text")
    return value


def _number(value) -> str:
    """The number of something, as text."""
    if type(value) not in (int, str):
        raise TypeError(f"a {type(value).__name__} instead of a number")
    return str(value)


def _pixels(value) -> int:
    if not isinstance(value, int | float) or not 1 <= value < MOST_PIXELS or value != int(value):
        raise ValueError(f"an image of {value!r} pixels")
    return int(value)


def _box(ends) -> np.ndarray:
    """Edges become pixels, the last one included."""
    good = len(ends) == 4 and all(type(end) in (int, float) for end in ends)
    if not good or not all(math.isfinite(end) and abs(end) < MOST_PIXELS for end in ends):
        raise ValueError(f"a box {ends!r}")
    return np.asarray(ends, np.float32) - np.float32([0, 0, 1, 1])


def _json(path: Path) -> Any:
    if not os.path.lexists(path):
        raise DataError(
            f"there is no file {shown(path)}; put COCO's captions there (cocodataset.org)"
        )
    with readable(path, "JSON"):
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = unpack_gzip(path, data)
        return parse_any_json(data, shown(path), DataError, "fetch it again")
