"""Phrases of a batch of named arrays, as evaluators score and draw them."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tfgen.data.scenes import PHRASE_KINDS
from tfgen.errors import DataError
from tfgen.grounding.localisation import phrase_scores

NEEDED, KINDS = ("phrase_words", "phrase_boxes"), "phrase_kinds"
SIZES = "image_sizes"


class PhraseOfBatch(NamedTuple):
    """One phrase of one example, and what the model says of it.

    Attributes:
        row: integer, the example's place in the batch.
        words: booleans `[T]`, which of its words (or tokens) are the phrase.
        scores: `[M]` attention of each region, taken together over the words.
        fit: float, how well the words fit the image, at best.
        boxes: `[M, 4]` of all regions.
        region_mask: booleans `[M]`, which of them there are.
        truth: `[G, 4]` boxes where the phrase is; none where that is not known.
        kinds: tuple of strings, its types, such as "people".
    """

    row: int
    words: np.ndarray
    scores: np.ndarray
    fit: float
    boxes: np.ndarray
    region_mask: np.ndarray
    truth: np.ndarray
    kinds: tuple[str, ...]


def check_arrays(arrays: Mapping[str, Any], split: str) -> None:
    """Raises a DataError unless phrases and their boxes are rightly among the arrays of a split."""
    missing = [name for name in NEEDED if name not in arrays]
    if missing:
        raise DataError(
            f"the {split!r} split has no {' and no '.join(missing)}, which phrases are scored by; "
            f"it has {', '.join(arrays)}"
        )
    if KINDS in arrays and arrays[KINDS].shape[2:] != (len(PHRASE_KINDS),):
        raise DataError(
            f"phrase_kinds of the {split!r} split has shape {arrays[KINDS].shape}; expected "
            f"[N, P, {len(PHRASE_KINDS)}], 1 at each type of {', '.join(PHRASE_KINDS)}"
        )


def check_sizes(arrays: Mapping[str, Any], split: str, protocol: str) -> None:
    """Raises a DataError unless the sizes of the images are known, which a protocol needs."""
    if SIZES not in arrays:
        if "images" not in arrays:
            raise DataError(
                f"the {split!r} split has neither images nor {SIZES}, and the protocol "
                f"{protocol!r} needs to know how large the images are; prepare it with the sizes"
            )
        return
    sizes = np.asarray(arrays[SIZES][np.arange(len(arrays[SIZES]))])
    if sizes.shape[1:] != (2,) or not np.all(sizes > 0):
        raise DataError(
            f"{SIZES} of the {split!r} split has shape {sizes.shape} and a least value of "
            f"{sizes.min(initial=0)}; expected [N, 2], height and width in pixels"
        )


def phrases_of(model, batch: Mapping[str, Any], pool: str = "max") -> Iterator[PhraseOfBatch]:
    """All phrases of a batch, example by example.

    Args:
        model: a `tfgen.PhraseGrounding`.
        batch: dict of arrays, `phrase_words` and `phrase_boxes` among them.
        pool: string, how the words of a phrase are taken together. Defaults to `"max"`.
    """
    # All words are looked at here, not only those that count in training.
    left_out = ("phrase_", "word_positions")
    data = {name: value for name, value in batch.items() if not name.startswith(left_out)}
    mask = model.pairs(data).region_mask.numpy() > 0
    critic = model(data)
    attention, logits = critic.attention.numpy(), critic.logits.numpy()
    if not np.isfinite(attention).all():
        row = int(np.nonzero(~np.isfinite(attention).all((1, 2)))[0][0])
        raise DataError(
            f"the attention of example {row} of a batch is NaN; look for NaN among the features of "
            "its regions and words, or among the weights"
        )
    boxes = data["boxes"].numpy() if "boxes" in data else model.region_features.boxes
    boxes = np.broadcast_to(boxes, (len(attention), *boxes.shape[-2:]))
    words, truths = batch["phrase_words"].numpy() > 0, batch["phrase_boxes"].numpy()
    kinds = batch[KINDS].numpy() if KINDS in batch else np.zeros((*words.shape[:2], 0))
    for row, phrase in zip(*np.nonzero(words.any(-1))):
        chosen, truth = words[row, phrase], truths[row, phrase]
        yield PhraseOfBatch(
            int(row),
            chosen,
            phrase_scores(attention[row][chosen], pool),
            float(logits[row][chosen].max()),
            boxes[row],
            mask[row],
            truth[np.all(truth[:, 2:] >= truth[:, :2], axis=1)],
            tuple(PHRASE_KINDS[kind] for kind in np.flatnonzero(kinds[row, phrase])),
        )
