"""Pictures with captions that need no download: scenes of handwritten digits, and what names them.

Four different digits of scikit-learn's stand in four of nine cells of a noisy canvas; a sentence
names three of them. Where a word's digit is, is known, and told only to whoever evaluates.
"""

import functools
from collections.abc import Sequence

import numpy as np
from PIL import Image

from tfgen.errors import DataError

NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VOCABULARY = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "and", "beside", "."),
    *NUMERALS,
)
# Types of phrases, those of Flickr30K Entities (Plummer et al., 2015).
PHRASE_KINDS = (
    *("people", "clothing", "bodyparts", "animals"),
    *("vehicles", "instruments", "scene", "other"),
)
CELLS, CELL = 3, 32  # along each side of the canvas; pixels of a cell
LENGTH = 11  # tokens: [CLS] a seven beside a two and a nine . [SEP]
NOUNS = (2, 5, 8)  # where they stand
_SIZES = {"train": 3000, "validation": 500, "test": 500}
_DIGITS = {"train": (0, 1200), "validation": (1200, 1400), "test": (1400, 1797)}
_NOISE = 0.1


def digit_scenes(split: str) -> dict[str, np.ndarray]:
    """Arrays of a split; no digit's picture is in two of them.

    Args:
        split: string, "train", "validation" or "test".

    Returns:
        A dict of

        - `images`, uint8 `[N, 96, 96, 1]`;
        - `token_ids`, int32 `[N, 11]`, numbers in `VOCABULARY`, and `word_positions`, int32
          `[N, 3]`, where the nouns stand;
        - `noun_position`, int32 `[N]`, and `negative_ids`, int32 `[N, 7]`: the noun there and the
          six that the caption does not have;
        - `phrase_words`, float32 `[N, 3, 11]`, 1 at the noun of each phrase, and `phrase_boxes`,
          float32 `[N, 3, 1, 4]`, where it is: x1, y1, x2, y2 in pixels, both ends included.

    Raises:
        DataError: there is no such split.
    """
    if split not in _SIZES:
        raise DataError(f"digit_scenes has no split {split!r}; it has {', '.join(_SIZES)}")
    images, digits = _digits(*_DIGITS[split])
    rng = np.random.default_rng([96, list(_SIZES).index(split)])
    scenes = [_scene(rng, images, digits) for _ in range(_SIZES[split])]
    return {name: np.stack([scene[name] for scene in scenes]) for name in scenes[0]}


@functools.cache
def _digits(first, last):
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.images))[first:last]
    return found.images[order] / 16.0, found.target[order]


def _scene(rng, images, digits) -> dict[str, np.ndarray]:
    canvas = np.zeros((CELLS * CELL, CELLS * CELL), np.float32)
    present = rng.choice(10, 4, replace=False)
    cells, boxes = rng.choice(CELLS**2, 4, replace=False), []
    for digit, cell in zip(present, cells):
        size = int(rng.integers(18, 29))
        top, left = rng.integers(0, CELL - size + 1, 2) + CELL * np.array(divmod(cell, CELLS))
        choice = rng.choice(np.flatnonzero(digits == digit))
        picture = Image.fromarray((255 * images[choice]).astype(np.uint8))
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
        canvas[top : top + size, left : left + size] = np.asarray(picture, np.float32) / 255.0
        boxes.append((left, top, left + size - 1, top + size - 1))
    canvas += _NOISE * rng.standard_normal(canvas.shape, np.float32)
    named = rng.permutation(4)[: len(NOUNS)]
    return {
        "images": np.round(255.0 * np.clip(canvas, 0.0, 1.0)).astype(np.uint8)[..., None],
        **_caption(rng, [int(digit) for digit in present[named]]),
        "phrase_boxes": np.asarray(boxes, np.float32)[named][:, None],
    }


def _caption(rng, named) -> dict[str, np.ndarray]:
    first, second, third = (NUMERALS[digit] for digit in named)
    words = f"[CLS] a {first} beside a {second} and a {third} . [SEP]".split()
    unnamed = [NUMERALS[digit] for digit in range(10) if digit not in named]
    chosen = int(rng.integers(len(NOUNS)))
    return caption_arrays(words, chosen, rng.permutation(unnamed)[:6], VOCABULARY)


def caption_arrays(
    words: Sequence[str], chosen: int, others: Sequence[str], vocabulary: Sequence[str]
) -> dict[str, np.ndarray]:
    """A sentence with nouns at `NOUNS`, as arrays of a scene.

    Args:
        words: sequence of `LENGTH` strings.
        chosen: integer, which of the nouns has negatives.
        others: sequence of strings, its negatives.
        vocabulary: sequence of strings, all words in the order of their numbers.

    Returns:
        The arrays of one scene that `digit_scenes` lists, but for its picture and boxes.
    """

    def numbers(some):
        return np.asarray([vocabulary.index(word) for word in some], np.int32)

    phrase_words = np.zeros((len(NOUNS), LENGTH), np.float32)
    phrase_words[np.arange(len(NOUNS)), NOUNS] = 1.0
    return {
        "token_ids": numbers(words),
        "word_positions": np.asarray(NOUNS, np.int32),
        "noun_position": np.int32(NOUNS[chosen]),
        "negative_ids": numbers([words[NOUNS[chosen]], *others]),
        "phrase_words": phrase_words,
    }
