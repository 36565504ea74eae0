"""Scenes of real things with captions: clothes of Fashion-MNIST and digits of MNIST, composed.

Four different things of twenty kinds stand anywhere on a noisy canvas without touching, and a
sentence names three of them. Which four stand together is what splits differ by, besides the
pictures themselves: no scene of the test has four kinds that a scene of training has. Where a
thing is, is known, and told only to whoever evaluates.
"""

import itertools
from collections.abc import Callable

import numpy as np
from PIL import Image

from tfgen.data.scenes import NOUNS, NUMERALS, PHRASE_KINDS, caption_arrays
from tfgen.errors import DataError

CLOTHES = (
    *("top", "trousers", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "boot"),
)
KINDS = (*NUMERALS, *CLOTHES)
VOCABULARY = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *("a", "the", "and", "beside", "near", "with", "."),
    *KINDS,
)
SIDE, SIZES = 96, (20, 30)  # pixels of the canvas, and of a thing from smallest to largest
TEMPLATES = ("a {} beside a {} and a {} .", "the {} near the {} with a {} .")
NUM_SCENES = {"train": 8000, "validation": 500, "test": 1000}
NEGATIVES = 6
_NOISE = 0.1
_FRAME = 3  # pixels around a digit of MNIST, which fills its middle 20


def composed_scenes(split: str, things: Callable[[str, str], tuple]) -> dict[str, np.ndarray]:
    """Arrays of a split.

    Args:
        split: string, "train", "validation" or "test".
        things: function of the name of a set ("mnist" or "fashion_mnist") and a split ("train" or
            "test") to its images, uint8 `[N, 28, 28, 1]`, and labels `[N]`.

    Returns:
        A dict of

        - `images`, uint8 `[N, 96, 96, 1]`;
        - `token_ids`, int32 `[N, 11]`, numbers in `VOCABULARY`, and `word_positions`, int32
          `[N, 3]`, where the nouns stand;
        - `noun_position`, int32 `[N]`, and `negative_ids`, int32 `[N, 7]`: the noun there and six
          that the caption does not have;
        - `phrase_words`, float32 `[N, 3, 11]`, 1 at the noun of each phrase, `phrase_boxes`,
          float32 `[N, 3, 1, 4]`, where it is, x1, y1, x2, y2 in pixels with both ends included,
          and `phrase_kinds`, uint8 `[N, 3, 8]`, 1 at its type of `PHRASE_KINDS`: "clothing", or
          "other" for digits.

    Raises:
        DataError: there is no such split.
    """
    if split not in NUM_SCENES:
        raise DataError(f"composed_scenes has no split {split!r}; it has {', '.join(NUM_SCENES)}")
    number, pictures = list(NUM_SCENES).index(split), _pictures(split, things)
    fours, rng = _compositions(number), np.random.default_rng([2020, number])
    scenes = [
        _scene(rng, pictures, rng.permutation(fours[rng.integers(len(fours))]))
        for _ in range(NUM_SCENES[split])
    ]
    return {name: np.stack([scene[name] for scene in scenes]) for name in scenes[0]}


def _compositions(split: int) -> np.ndarray:
    """The fours of kinds of a split, `[K, 4]`: eight tenths of all, one, and one."""
    fours = np.array(list(itertools.combinations(range(len(KINDS)), 4)))
    fours = fours[np.random.default_rng(0).permutation(len(fours))]
    ends = [0, *(len(fours) * np.array([8, 9, 10]) // 10)]
    return fours[ends[split] : ends[split + 1]]


def _pictures(split, things) -> list[np.ndarray]:
    """Pictures of each kind; validation and test each have a half of the test sets."""
    found = []
    for name in ("mnist", "fashion_mnist"):
        images, labels = things(name, "train" if split == "train" else "test")
        images, labels = np.asarray(images)[..., 0], np.asarray(labels)
        if name == "mnist":
            images = images[:, _FRAME:-_FRAME, _FRAME:-_FRAME]
        if split != "train":
            half = slice(0, None, 2) if split == "validation" else slice(1, None, 2)
            images, labels = images[half], labels[half]
        found += [images[labels == label] for label in range(10)]
    empty = [kind for kind, images in zip(KINDS, found) if not len(images)]
    if empty:
        raise DataError(f"there is no picture of {', '.join(empty)} for composed_scenes")
    return found


def _scene(rng, pictures, kinds) -> dict[str, np.ndarray]:
    canvas = np.zeros((SIDE, SIDE), np.float32)
    boxes = _places(rng, len(kinds))
    for kind, (left, top, right, bottom) in zip(kinds, boxes):
        size = right - left + 1
        picture = Image.fromarray(pictures[kind][rng.integers(len(pictures[kind]))])
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
        canvas[top : bottom + 1, left : right + 1] = np.asarray(picture, np.float32) / 255.0
    canvas += _NOISE * rng.standard_normal(canvas.shape, np.float32)
    named = rng.permutation(len(kinds))[: len(NOUNS)]
    return {
        "images": np.round(255.0 * np.clip(canvas, 0.0, 1.0)).astype(np.uint8)[..., None],
        **_caption(rng, kinds[named]),
        "phrase_boxes": np.asarray(boxes, np.float32)[named][:, None],
    }


def _places(rng, number) -> list[tuple[int, int, int, int]]:
    """Squares that do not touch, drawn anew from the first where one finds no place."""
    boxes = []
    while len(boxes) < number:
        for _ in range(50):
            size = int(rng.integers(SIZES[0], SIZES[1] + 1))
            left, top = (int(start) for start in rng.integers(0, SIDE - size + 1, 2))
            box = (left, top, left + size - 1, top + size - 1)
            if all(_apart(box, other) for other in boxes):
                boxes.append(box)
                break
        else:
            boxes = []
    return boxes


def _apart(a, b) -> bool:
    return a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]


def _caption(rng, named) -> dict[str, np.ndarray]:
    template = TEMPLATES[rng.integers(len(TEMPLATES))]
    words = ["[CLS]", *template.format(*(KINDS[kind] for kind in named)).split(), "[SEP]"]
    unnamed = np.setdiff1d(np.arange(len(KINDS)), named)
    chosen = int(rng.integers(len(NOUNS)))
    others = [KINDS[kind] for kind in rng.permutation(unnamed)[:NEGATIVES]]
    arrays = caption_arrays(words, chosen, others, VOCABULARY)
    return arrays | {"phrase_kinds": np.stack([_type_of(kind) for kind in named])}


def _type_of(kind) -> np.ndarray:
    name = "other" if kind < len(NUMERALS) else "clothing"
    return np.asarray([each == name for each in PHRASE_KINDS], np.uint8)
