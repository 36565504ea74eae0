"""From captions and regions to a folder of arrays that `tfgen-train` reads as `arrays:FOLDER`."""

import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tfgen import stopping
from tfgen.data.named_arrays import ROWS, save_arrays
from tfgen.data.scenes import PHRASE_KINDS
from tfgen.errors import DataError
from tfgen.grounding.entities import EntityPhrase
from tfgen.grounding.negatives.proposals import WordNegatives
from tfgen.grounding.negatives.ranking import substituted
from tfgen.grounding.regions.files import Regions, stacked
from tfgen.grounding.words.phrases import counted_positions, noun_words
from tfgen.grounding.words.tagging import Tagger
from tfgen.grounding.words.tokens import Tokens

Encoder = Callable[[Sequence[Tokens]], Sequence[np.ndarray]]


def prepare_captions(
    folder: str | os.PathLike,
    split: str,
    captions: Sequence[tuple[str, Tokens]],
    regions: Mapping[str, Regions],
    encode: Encoder,
    tagger: Tagger,
    negatives: WordNegatives | None = None,
    num_regions: int = 30,
    num_words: int = 6,
    pieces_of: Sequence[str] | None = None,
    seed: int = 0,
) -> int:
    """Writes the arrays of one split for training: features of regions and words, and negatives.

    Args:
        folder: path of the folder of the data set.
        split: string, such as "train".
        captions: sequence of pairs of an image's number and the `Tokens` of a caption of it.
        regions: mapping from an image's number to its `Regions`, such as `OfficialRegions`.
        encode: function from a sequence of `Tokens` to features `[L, D]` of each one's pieces, such
            as `BertWords.features`.
        tagger: function that finds nouns and adjectives, see `tfgen.grounding.words`.
        negatives: `WordNegatives` of these captions in this order; None leaves them out.
        num_regions: integer, regions of an image at most. Defaults to `30`.
        num_words: integer, pieces of nouns and adjectives of a caption at most, the first of them.
            Defaults to `6`.
        pieces_of: sequence of strings, the vocabulary that the negatives are numbers of; needed
            with them, else None.
        seed: integer, seed of which noun of a caption has the negatives. Defaults to `0`.

    Returns:
        How many captions there are.

    Raises:
        DataError: there are no captions, an image has no regions, or negatives come without a
            vocabulary.
    """
    if not captions:
        raise DataError("there are no captions to prepare")
    if negatives is not None and pieces_of is None:
        raise DataError("negatives are given without pieces_of, the vocabulary they are numbers of")
    arrays = _regions([image for image, _ in captions], regions, num_regions)
    tokens = [found for _, found in captions]
    arrays |= _words(tokens, encode, tagger, num_words)
    if negatives is not None:
        arrays |= _negatives(tokens, encode, negatives, pieces_of, seed)
    save_arrays(folder, split, arrays)
    return len(captions)


def prepare_phrases(
    folder: str | os.PathLike,
    split: str,
    captions: Sequence[tuple[str, Tokens]],
    phrases: Sequence[Sequence[tuple[EntityPhrase, np.ndarray]]],
    regions: Mapping[str, Regions],
    encode: Encoder,
    num_regions: int = 30,
    image_sizes: Mapping[str, tuple[int, int]] | None = None,
) -> int:
    """Writes the arrays of one split that is scored: all pieces, and where each phrase is.

    Args:
        folder: path of the folder of the data set.
        split: string, such as "test".
        captions: sequence of pairs of an image's number and the `Tokens` of a caption of it.
        phrases: for each caption a sequence of pairs of an `EntityPhrase` and its `[G, 4]` boxes,
            as `scored_phrases` finds them. Captions without any are left out.
        regions: mapping from an image's number to its `Regions`.
        encode: function from a sequence of `Tokens` to features `[L, D]` of each one's pieces.
        num_regions: integer, regions of an image at most. Defaults to `30`.
        image_sizes: mapping from an image's number to its height and width in pixels, such as
            `EntityBoxes.image_size`, which protocols that leave out small things need; None: those
            of the regions, where they say.

    Returns:
        How many phrases there are; those none of whose words has a piece are left out.

    Raises:
        DataError: there are none, or an image has no regions.
    """
    found = [
        (image, tokens, kept)
        for (image, tokens), own in zip(captions, phrases, strict=True)
        if (kept := [pair for pair in own if _pieces(pair[0], tokens)])
    ]
    if not found:
        raise DataError("no caption has a phrase with a box; expected at least one to be scored")
    arrays = _regions([image for image, _, _ in found], regions, num_regions, image_sizes or {})
    tokens = [each for _, each, _ in found]
    arrays |= _all_words(encode(tokens)) | _truth(tokens, [kept for _, _, kept in found])
    save_arrays(folder, split, arrays)
    return sum(len(kept) for _, _, kept in found)


def _regions(image_of_caption, regions, num_regions, image_sizes=None) -> dict[str, np.ndarray]:
    """What there is of images, in the order in which captions name them, and each one's image."""
    rows, found, sizes = {}, [], []
    for image in image_of_caption:
        if image not in rows:
            rows[image] = len(rows)
            found.append(regions[image])
            if image_sizes is not None:
                sizes.append(image_sizes.get(image, found[-1].image_size))
    arrays = stacked(found, num_regions)
    arrays[ROWS] = np.asarray([rows[image] for image in image_of_caption], np.int64)
    if sizes and all(size is not None and min(size) > 0 for size in sizes):
        arrays["image_sizes"] = np.asarray(sizes, np.int32)
    return arrays


def _pieces(phrase: EntityPhrase, tokens: Tokens) -> list[int]:
    words = tokens.word_pieces[phrase.first_word : phrase.first_word + phrase.num_words]
    return [piece for word in words for piece in word]


def _all_words(features) -> dict[str, np.ndarray]:
    length = max(len(each) for each in features)
    words = np.zeros((len(features), length, features[0].shape[1]), np.float32)
    mask = np.zeros(words.shape[:2], np.float32)
    for row, each in enumerate(features):
        words[row, : len(each)] = each
        mask[row, : len(each)] = 1.0
    return {"words": words, "word_mask": mask}


def _truth(tokens, phrases) -> dict[str, np.ndarray]:
    """Which pieces each phrase is of, its boxes and its types, filled up to the most there are."""
    number, most = len(tokens), max(map(len, phrases))
    length = max(len(each.ids) for each in tokens)
    boxes = max(len(boxes) for own in phrases for _, boxes in own)
    words = np.zeros((number, most, length), np.float32)
    truth = np.tile(np.float32([0, 0, -1, -1]), (number, most, boxes, 1))
    kinds = np.zeros((number, most, len(PHRASE_KINDS)), np.uint8)
    for row, own in enumerate(phrases):
        for slot, (phrase, places) in enumerate(own):
            words[row, slot, _pieces(phrase, tokens[row])] = 1.0
            truth[row, slot, : len(places)] = places
            kinds[row, slot] = [kind in phrase.kinds for kind in PHRASE_KINDS]
    return {"phrase_words": words, "phrase_boxes": truth, "phrase_kinds": kinds}


def _words(tokens, encode, tagger, num_words) -> dict[str, np.ndarray]:
    """The first pieces of nouns and adjectives of every caption."""
    words = mask = None
    for row, (found, features) in enumerate(zip(tokens, encode(tokens), strict=True)):
        if row % 1000 == 0:
            stopping.check()
        if words is None:
            words = np.zeros((len(tokens), num_words, features.shape[1]), np.float32)
            mask = np.zeros((len(tokens), num_words), np.float32)
        counted = noun_words(" ".join(found.words), tagger, adjectives=True)
        places = counted_positions(found, counted)[:num_words]
        words[row, : len(places)] = features[places]
        mask[row, : len(places)] = 1.0
    return {"words": words, "word_mask": mask}


def _negatives(tokens, encode, negatives, vocabulary, seed) -> dict[str, np.ndarray]:
    """Features of one noun of each caption, and of every word in its place, each in its caption."""
    order = np.random.default_rng(seed).permutation(len(negatives))
    chosen = {int(negatives.caption[row]): int(row) for row in order}
    width, arrays = negatives.words.shape[1], None
    for caption, row in sorted(chosen.items()):
        stopping.check()
        position, length = int(negatives.position[row]), int(negatives.length[row])
        words = [int(word) for word in negatives.words[row] if word]
        variants = [tokens[caption]]
        variants += [_with(tokens[caption], position, length, w, vocabulary) for w in words]
        features = [found[position] for found in encode(variants)]
        if arrays is None:
            dims = features[0].shape[0]
            arrays = {
                "negatives": np.zeros((len(tokens), 1 + width, dims), np.float32),
                "negative_mask": np.zeros((len(tokens), 1 + width), np.float32),
            }
        arrays["negatives"][caption, : len(features)] = features
        arrays["negative_mask"][caption, : len(features)] = 1.0
    if arrays is None:
        raise DataError("no caption has a noun with negatives; leave them out")
    return arrays


def _with(tokens: Tokens, position, length, word, vocabulary) -> Tokens:
    """A caption with the pieces of one noun replaced by one word."""
    group = range(position, position + length)
    pieces = substituted(tokens.pieces, group, vocabulary[word])
    ids = substituted(tokens.ids, group, word)
    return Tokens(tokens.words, tuple(pieces), tuple(ids), ())
