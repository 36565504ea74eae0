"""Negatives for a set of captions: computed once, kept in a file, drawn from in every epoch."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tfgen import stopping
from tfgen.data.arrays import read_archive
from tfgen.errors import DataError
from tfgen.files.names import shown
from tfgen.files.replacing import replace_file
from tfgen.grounding.negatives.ranking import RANK, SELECT, noun_probabilities, ranked_words
from tfgen.grounding.words.tokens import MASK, Tokens, WordPieces, padded_ids

Predictor = Callable[[np.ndarray], np.ndarray]
_ARRAYS = ("caption", "position", "length", "words")


@dataclasses.dataclass(frozen=True)
class WordNegatives:
    """Words in the place of nouns of captions, one row for every noun that has any.

    Attributes:
        caption: integers `[K]`, the number of the caption, rising.
        position: integers `[K]`, where the noun begins in its pieces.
        length: integers `[K]`, of how many pieces it is.
        words: integers `[K, N]`, numbers of the words in its place, best first; 0 where there are
            fewer.
    """

    caption: np.ndarray
    position: np.ndarray
    length: np.ndarray
    words: np.ndarray

    def __len__(self) -> int:
        return len(self.caption)

    def save(self, path: str | os.PathLike) -> None:
        """Writes them as a NumPy archive, whole or not at all.

        Args:
            path: of the file, `.npz`.
        """
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        with replace_file(Path(path)) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "WordNegatives":
        """Reads what `save` wrote.

        Raises:
            DataError: the file is missing or damaged.
        """
        arrays = read_archive(Path(path), _ARRAYS)
        shapes = {name: array.shape for name, array in arrays.items()}
        length = shapes["caption"][:1]
        ranks = [len(shape) for shape in shapes.values()]
        if ranks != [1, 1, 1, 2] or any(shape[:1] != length for shape in shapes.values()):
            raise DataError(f"{shown(path)} has arrays of {shapes}; expected one row for each noun")
        for name, array in arrays.items():
            if array.dtype.kind not in "iu" or not np.all((array >= 0) & (array < 2**31)):
                raise DataError(
                    f"{shown(path)}: {name} is of {array.dtype}; expected integers from 0 on"
                )
        return cls(**arrays)

    def arrays(
        self, tokens: Sequence[Tokens], max_nouns: int = 4, seed: int = 0
    ) -> dict[str, np.ndarray]:
        """Arrays for a data set of these captions, from which every step draws a noun anew.

        Only nouns of one piece are taken, since others change where the pieces behind them stand.

        Args:
            tokens: sequence of `Tokens` of all captions, in order.
            max_nouns: integer K, nouns of a caption at most, drawn where there are more; 1 is one
                noun for good, as published. Defaults to `4`.
            seed: integer, seed of those. Defaults to `0`.

        Returns:
            `noun_positions`, int32 `[N, K]`; `noun_negatives`, int32 `[N, K, 1 + words]`, the noun
            itself first; `noun_count`, int32 `[N]`.
        """
        number, width = len(tokens), self.words.shape[1]
        positions = np.zeros((number, max_nouns), np.int32)
        negatives = np.zeros((number, max_nouns, 1 + width), np.int32)
        count = np.zeros(number, np.int32)
        order = np.random.default_rng(seed).permutation(len(self))
        for row in order[self.length[order] == 1]:
            caption, position = self.caption[row], self.position[row]
            slot = count[caption]
            if slot < max_nouns:
                positions[caption, slot] = position
                noun = tokens[caption].ids[position]
                negatives[caption, slot] = [noun, *self.words[row]]
                count[caption] += 1
        return {"noun_positions": positions, "noun_negatives": negatives, "noun_count": count}


def propose_negatives(
    tokens: Sequence[Tokens],
    nouns: Sequence[Sequence[int]],
    predict: Predictor,
    pieces: WordPieces,
    rank: int = RANK,
    select: int = SELECT,
    batch_size: int = 64,
) -> WordNegatives:
    """Words in the place of all nouns of a set of captions, by a masked language model.

    The nouns of these captions that are single pieces are the words there are to choose from.

    Args:
        tokens: sequence of `Tokens`, one caption each.
        nouns: for each caption a sequence of the numbers of its words that are nouns.
        predict: function from token ids `[B, L]` to logits `[B, L, V]`.
        pieces: the `WordPieces` that cut the captions.
        rank: integer, words that are re-ranked. Defaults to `30`.
        select: integer, words that are kept. Defaults to `25`.
        batch_size: integer, captions at a time; changes nothing else. Defaults to `64`.

    Returns:
        `WordNegatives`, the true noun never among its own.
    """
    groups = [
        (caption, list(found.word_pieces[word]))
        for caption, (found, words) in enumerate(zip(tokens, nouns, strict=True))
        for word in words
        if found.word_pieces[word]
    ]
    noun_mask = _noun_mask(tokens, groups, pieces)
    rows = []
    for start in range(0, len(groups), batch_size):
        stopping.check()
        rows += _chosen(
            groups[start : start + batch_size], tokens, predict, pieces, noun_mask, rank, select
        )
    words = np.zeros((len(rows), select), np.int32)
    for row, (_, _, found) in zip(words, rows):
        row[: len(found)] = found
    keep = [len(found) > 0 for _, _, found in rows]
    found = WordNegatives(
        np.asarray([caption for caption, _, _ in rows], np.int32),
        np.asarray([group[0] for _, group, _ in rows], np.int32),
        np.asarray([len(group) for _, group, _ in rows], np.int32),
        words,
    )
    return WordNegatives(*(getattr(found, name)[np.asarray(keep, bool)] for name in _ARRAYS))


def _noun_mask(tokens, groups, pieces) -> np.ndarray:
    """Which words of the vocabulary stand somewhere as a noun of one piece."""
    mask = np.zeros(len(pieces.vocabulary), bool)
    for caption, group in groups:
        if len(group) == 1:
            mask[tokens[caption].ids[group[0]]] = True
    mask[[pieces.number(piece) for piece in ("[PAD]", "[UNK]", "[CLS]", "[SEP]")]] = False
    return mask


def _chosen(groups, tokens, predict, pieces, noun_mask, rank, select):
    plain = padded_ids([tokens[caption] for caption, _ in groups])
    masked = plain.copy()
    for row, (_, group) in zip(masked, groups):
        row[group] = pieces.number(MASK)
    logits = [_at_first(predict(ids), groups) for ids in (masked, plain)]
    p, q = (noun_probabilities(each, noun_mask) for each in logits)
    for row, (caption, group) in enumerate(groups):
        allowed = noun_mask.copy()
        allowed[[tokens[caption].ids[piece] for piece in group]] = False
        # The noun itself is ranked with the others, so that it takes no place from below.
        order = ranked_words(p[row], q[row], noun_mask, rank, rank)
        yield caption, group, order[allowed[order]][:select]


def _at_first(logits, groups) -> np.ndarray:
    """`[B, V]`: the logits at the first piece of each noun."""
    logits = np.asarray(logits)
    return logits[np.arange(len(groups)), [group[0] for _, group in groups]]
