"""Phrases, boxes and heat maps of some test images, on one page that needs nothing else."""

import base64
import dataclasses
import html
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tfgen.files.replacing import replace_file
from tfgen.runs.evaluators.base import Evaluator
from tfgen.runs.grounding import phrases_of

SHOWN = 12
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body {{ font-family: sans-serif; margin: 2em; overflow-wrap: anywhere }}
div {{ overflow-x: auto }}</style></head>
<body><h1>{title}</h1>
<p>Each phrase has a colour: its box on the picture, and where it was looked for. Dashed: where it
is.</p>
{pictures}
</body></html>
"""
# Wider than a telephone, a picture is moved sideways: made smaller, its words could not be read.
_PICTURE = """<p><bdi>{caption}</bdi></p>
<div><img alt="{caption}" src="data:image/png;base64,{data}"></div>"""


@dataclasses.dataclass(frozen=True)
class GroundingGallery(Evaluator):
    """Writes `grounding.html`, where the data have pictures.

    Attributes:
        pictures: whether to draw at all. Defaults to `True`.
    """

    pictures: bool = True

    record = "gallery"

    def measure(self, subject, found):
        source = subject.source()
        if not self.pictures or "images" not in source.arrays:
            return {}
        shown = source.take(min(SHOWN, len(source)), subject.seed)
        drawn = []
        with subject.progress("drawing", len(shown)) as advance:
            for batch in subject.pipeline(shown).dataset():
                for pair in pictures_of(subject.model, batch):
                    drawn.append(pair)
                    advance(len(drawn))
        path = Path(subject.folder) / "grounding.html"
        write_page(path, f"{subject.config['data']['name']}, {subject.split}", drawn)
        return {
            "files": [f"{path.parent.name}/{path.name}"]
        }  # whatever becomes of the folder above

    def lines(self, found):
        yield "gallery: " + ", ".join(found["files"])


def write_page(path: Path, title: str, pictures: Sequence[tuple[str, bytes]]) -> None:
    """Writes pictures with captions as one page that loads nothing, whole or not at all.

    Args:
        path: of the file, `.html`.
        title: string, any text.
        pictures: sequence of pairs of a caption and the bytes of a PNG.
    """
    drawn = "\n".join(_on_page(caption, picture) for caption, picture in pictures)
    with replace_file(path) as temporary:
        page = _PAGE.format(title=_text(title), pictures=drawn)
        temporary.write_text(page, encoding="utf-8")


def _on_page(caption, picture) -> str:
    data = base64.b64encode(picture).decode("ascii")
    return _PICTURE.format(caption=_text(caption), data=data)


def _text(text: str) -> str:
    """Any text as HTML shows it, control characters and halves of surrogate pairs as one sign."""
    shown = "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") else c for c in text)
    return html.escape(shown)


def pictures_of(model, batch) -> Iterator[tuple[str, bytes]]:
    """The caption and the picture, PNG bytes, of every example of a batch.

    Args:
        model: a `tfgen.PhraseGrounding`.
        batch: dict of arrays, `images`, `phrase_words` and `phrase_boxes` among them.
    """
    from tfgen.grounding.drawing import picture_of
    from tfgen.grounding.inference import Grounded

    images, phrases = batch["images"].numpy(), list(phrases_of(model, batch))
    for row, image in enumerate(images):
        words, own = _words(model, batch, row), [p for p in phrases if p.row == row]
        found = []
        for phrase in own:
            text = " ".join(words[i] for i in np.flatnonzero(phrase.words))
            scores = np.where(phrase.region_mask, phrase.scores, 0.0)
            box = phrase.boxes[int(np.argmax(scores))]
            found.append(Grounded(text, 0, box, phrase.fit, scores, phrase.boxes))
        caption = " ".join(word for word in words if not word.startswith("["))
        yield caption, picture_of(image, found, truth=[phrase.truth for phrase in own])


def _words(model, batch, row) -> list[str]:
    """Words by their places; numbers where only features of words are known."""
    if model.word_encoder is None or "token_ids" not in batch:
        return [f"word {i}" for i in range(batch["phrase_words"].shape[-1])]
    return [model.word_encoder.vocabulary[number] for number in batch["token_ids"][row].numpy()]
