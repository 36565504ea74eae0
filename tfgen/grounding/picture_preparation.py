"""From pictures with captions to a folder of arrays: for models that make their own features."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfgen import stopping
from tfgen.data.named_arrays import ROWS, save_arrays
from tfgen.errors import DataError
from tfgen.grounding.coco import CocoImage
from tfgen.grounding.pictures import as_pixels
from tfgen.grounding.words.phrases import counted_positions, located, noun_words
from tfgen.grounding.words.tagging import Tagger
from tfgen.grounding.words.tokens import UNKNOWN, Tokens, WordPieces, padded_ids


def prepare_pictures(
    folder: str | os.PathLike,
    split: str,
    images: Sequence[CocoImage],
    pictures: str | os.PathLike,
    image_shape: tuple[int, int, int],
    pieces: WordPieces,
    tagger: Tagger,
    num_words: int = 8,
    length: int = 24,
) -> int:
    """Writes the arrays of one split: pictures, token ids, nouns, and where phrases are.

    Pictures without a caption are left out. Boxes are for `tfgen-evaluate` alone; training does not
    look at them. Where no image has any, none are written.

    Args:
        folder: path of the folder of the data set.
        split: string, such as "train".
        images: sequence of `CocoImage`, such as `read_images` finds.
        pictures: path of the folder with their files.
        image_shape: tuple `(H, W, C)`, what pictures are brought to, without regard to their
            proportions.
        pieces: the `WordPieces` of the model's encoder.
        tagger: function that finds nouns and adjectives, see `tfgen.grounding.words`.
        num_words: integer, pieces of nouns and adjectives of a caption at most. Defaults to `8`.
        length: integer, tokens of a caption and one of padding, at most. Defaults to `24`.

    Returns:
        How many captions there are.

    Raises:
        DataError: there are none, a picture is missing, or a phrase is not in its caption.
    """
    rows, tokens, truths, levels = [], [], [], []
    for image in images:
        stopping.check()
        if not image.captions:
            continue
        pixels, size = as_pixels(Path(pictures) / image.file_name, image_shape)
        for number, caption in enumerate(image.captions):
            rows.append(len(levels))
            tokens.append(pieces(caption))
            truths.append(_phrases(image, number, tokens[-1], length - 1, size, image_shape))
        levels.append(np.round(255.0 * pixels).astype(np.uint8))
    if not tokens:
        raise DataError("there are no captions to prepare")
    arrays = {
        "images": np.stack(levels),
        ROWS: np.asarray(rows, np.int64),
        "token_ids": np.pad(padded_ids(tokens, length - 1), ((0, 0), (0, 1))),
        "word_positions": _nouns(tokens, tagger, num_words, length - 1, pieces),
    }
    save_arrays(folder, split, arrays | _truth(truths, length))
    return len(tokens)


def _nouns(tokens: Sequence[Tokens], tagger, num_words, length, pieces) -> np.ndarray:
    """Where nouns and adjectives stand that the encoder knows; else the last place, padding."""
    positions = np.full((len(tokens), num_words), length, np.int32)
    unknown = pieces.number(UNKNOWN)
    for row, found in enumerate(tokens):
        words = noun_words(" ".join(found.words), tagger, adjectives=True)
        places = [p for p in counted_positions(found, words) if p < length]
        places = [place for place in places if found.ids[place] != unknown][:num_words]
        positions[row, : len(places)] = places
    return positions


def _phrases(image, number, tokens, length, size, image_shape) -> list:
    """Pieces and boxes, in pixels of the resized picture, of the phrases of one caption."""
    scale = np.float32([*image_shape[1::-1]] * 2) / np.float32([size[1], size[0]] * 2)
    edge, found = np.float32([0, 0, 1, 1]), []
    for caption, text, numbers in image.phrases:
        if caption == number:
            phrase = located(text, image.captions[number])
            words = range(phrase.first_word, phrase.first_word + len(phrase.words))
            places = [p for p in counted_positions(tokens, words) if p < length]
            boxes = [(image.boxes[n] + edge) * scale - edge for n in numbers if n in image.boxes]
            if places and boxes:
                found.append((places, np.asarray(boxes)))
    return found


def _truth(truths, length) -> dict[str, np.ndarray]:
    most = max(map(len, truths))
    if not most:
        return {}
    boxes = max(len(boxes) for found in truths for _, boxes in found)
    words = np.zeros((len(truths), most, length), np.float32)
    truth = np.tile(np.float32([0, 0, -1, -1]), (len(truths), most, boxes, 1))
    for row, found in enumerate(truths):
        for slot, (places, where) in enumerate(found):
            words[row, slot, places] = 1.0
            truth[row, slot, : len(where)] = where
    return {"phrase_words": words, "phrase_boxes": truth}
