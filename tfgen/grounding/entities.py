"""Flickr30K Entities as it is published: captions with marked phrases, and where those are.

Sentences/1000092795.txt    Two [/EN#1/people young guys] in [/EN#2/scene the yard] .
Annotations/1000092795.xml  objects with names (the numbers above) and boxes, from 1 on
train.txt, val.txt, test.txt    numbers of the images of a split
"""

import dataclasses
import os
import re
import xml.etree.ElementTree
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from tfgen.errors import DataError
from tfgen.files.names import shown
from tfgen.files.regular import regular_file
from tfgen.grounding.regions.files import MOST_PIXELS

NOT_VISUAL = "0"  # the number of phrases that nothing shows
_MARK = re.compile(r"\[/EN#(\d+)((?:/[^\s\[\]/]+)+)\s+")


@dataclasses.dataclass(frozen=True)
class EntityPhrase:
    """One marked phrase of a caption.

    Attributes:
        text: string, the phrase.
        first_word: integer, its first word, counted from 0 between spaces of the caption.
        entity: string, the number that it shares with other mentions of the same thing.
        kinds: tuple of strings, such as "people"; a phrase may have several.
    """

    text: str
    first_word: int
    entity: str
    kinds: tuple[str, ...]

    @property
    def num_words(self) -> int:
        return len(self.text.split())


@dataclasses.dataclass(frozen=True)
class EntityCaption:
    """A caption without its marks, and its phrases in order.

    Attributes:
        text: string, the caption.
        phrases: tuple of `EntityPhrase`.
    """

    text: str
    phrases: tuple[EntityPhrase, ...]


@dataclasses.dataclass(frozen=True)
class EntityBoxes:
    """Where the things of one image are.

    Attributes:
        boxes: dict, number of a thing -> float32 `[G, 4]` x1, y1, x2, y2 from 0 on, ends included;
            things without any are missing.
        scenes: set of the numbers of things that are all of the image.
        without_box: set of the numbers of things that are there but have no box.
        image_size: pair of integers, height and width in pixels.
    """

    boxes: Mapping[str, np.ndarray]
    scenes: frozenset[str]
    without_box: frozenset[str]
    image_size: tuple[int, int]


def parse_caption(line: str, where: str = "the caption") -> EntityCaption:
    """A line of a file of sentences.

    Args:
        line: string, the caption with its marks.
        where: string, what it is, for the message. Defaults to `"the caption"`.

    Raises:
        DataError: a mark is not closed, or is empty.
    """
    words, phrases, rest = [], [], line.strip()
    begins = repr(rest[:80])
    while mark := _MARK.search(rest):
        words += rest[: mark.start()].split()
        end = rest.find("]", mark.end())
        text = " ".join(rest[mark.end() : end].split())
        if end < 0 or not text or "[/EN#" in text:
            raise DataError(f"{where} {begins} has a mark that is not closed, or empty")
        kinds = tuple(mark[2].strip("/").split("/"))
        phrases.append(EntityPhrase(text, len(words), mark[1], kinds))
        words += text.split()
        rest = rest[end + 1 :]
    if "[/EN#" in rest:
        raise DataError(f"{where} {begins} has a mark that cannot be read")
    return EntityCaption(" ".join(words + rest.split()), tuple(phrases))


def parse_boxes(text: str | bytes, where: str = "the annotation") -> EntityBoxes:
    """The content of a file of annotations.

    Args:
        text: string or bytes, the XML.
        where: string, its name, for the message. Defaults to `"the annotation"`.

    Raises:
        DataError: it is no XML of this form.
    """
    try:
        root = xml.etree.ElementTree.fromstring(text)
        size = [float(root.findtext(f"size/{name}", "0")) for name in ("height", "width")]
        if not all(0 <= length < MOST_PIXELS for length in size):
            raise ValueError(f"an image of {size[1]:g} by {size[0]:g} pixels")
        boxes, flags = {}, {"scene": set(), "nobndbox": set()}
        for thing in root.iter("object"):
            names = [name.text.strip() for name in thing.iter("name") if name.text]
            for flag, found in flags.items():
                if thing.findtext(flag, "0").strip() == "1":
                    found |= set(names)
            for box in thing.iter("bndbox"):
                ends = [float(box.findtext(end)) - 1.0 for end in ("xmin", "ymin", "xmax", "ymax")]
                if not all(abs(end) < MOST_PIXELS for end in ends):
                    raise ValueError(f"a box {ends}")
                for name in names:
                    boxes.setdefault(name, []).append(ends)
    except (xml.etree.ElementTree.ParseError, TypeError, ValueError) as error:
        raise DataError(
            f"{where} is no annotation of Flickr30K Entities ({str(error)[:200]}); fetch it again"
        ) from error
    arrays = {name: np.asarray(found, np.float32) for name, found in boxes.items()}
    scenes, without = (frozenset(found) for found in flags.values())
    return EntityBoxes(arrays, scenes, without, (int(size[0]), int(size[1])))


class Entities:
    """A folder of Flickr30K Entities.

    Args:
        folder: path of the folder with `Sentences/`, `Annotations/` and the lists of splits.

    Raises:
        DataError: there is no such folder, or it has no sentences.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder).expanduser()
        if not (self.folder / "Sentences").is_dir():
            raise DataError(
                f"{shown(self.folder)} has no folder Sentences; put what Flickr30K Entities' "
                "annotations.zip holds there (github.com/BryanPlummer/flickr30k_entities)"
            )

    def image_ids(self, split: str | None = None) -> list[str]:
        """Numbers of the images whose captions are here, of a split or of all.

        Args:
            split: string, "train", "val" or "test"; None: all.

        Raises:
            DataError: the list of the split is missing.
        """
        present = {path.stem for path in (self.folder / "Sentences").glob("*.txt")}
        if split is None:
            return sorted(present)
        lines = _read(self.folder / f"{split}.txt").split()
        return [line for line in lines if line in present]

    def captions(self, image_id: str) -> list[EntityCaption]:
        """The captions of an image, in their order.

        Raises:
            DataError: they are missing or damaged.
        """
        path = self.folder / "Sentences" / f"{image_id}.txt"
        where = f"{shown(path)}: the caption"
        # Not `splitlines`, which also ends lines at signs that may stand within one.
        return [parse_caption(line, where) for line in _read(path).split("\n") if line.strip()]

    def boxes(self, image_id: str) -> EntityBoxes:
        """Where the things of an image are.

        Raises:
            DataError: the file is missing or damaged.
        """
        path = self.folder / "Annotations" / f"{image_id}.xml"
        return parse_boxes(_read(path), shown(path))


def scored_phrases(
    captions: list[EntityCaption], boxes: EntityBoxes
) -> Iterator[tuple[int, EntityPhrase, np.ndarray]]:
    """Phrases that can be scored: those whose thing has a box.

    A thing that is called a scene somewhere and has a box elsewhere counts.

    Yields:
        The number of the caption, the `EntityPhrase`, and `[G, 4]` boxes.
    """
    for number, caption in enumerate(captions):
        for phrase in caption.phrases:
            if phrase.entity != NOT_VISUAL and phrase.entity in boxes.boxes:
                yield number, phrase, boxes.boxes[phrase.entity]


def _read(path: Path) -> str:
    try:
        return regular_file(path, DataError).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{shown(path)} cannot be read ({error}); fetch it again") from error
