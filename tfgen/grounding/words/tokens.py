"""Captions as word pieces, and which pieces each word of a caption is.

Phrases count words between spaces, as Flickr30K Entities does; networks see pieces of them. Pieces
are BERT's: lower case without accents, punctuation on its own, then the longest beginnings that the
vocabulary has, of which all but the first of a word are marked `##`.
"""

import collections
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tfgen.errors import ConfigError, DataError
from tfgen.ops.checks import whole_number

PAD, UNKNOWN, CLS, SEP, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LONGEST = 100  # characters of a word that is looked up; longer ones are unknown, as for BERT


class Tokens(NamedTuple):
    """One caption in pieces.

    Attributes:
        words: tuple of strings, the caption at its spaces, as it was written.
        pieces: tuple of strings, `[CLS]` first and `[SEP]` last.
        ids: tuple of integers, their numbers in the vocabulary.
        word_pieces: tuple of tuples of integers, positions in `pieces` of each word's; empty for
            words that have none, such as an emoji's variation mark.
    """

    words: tuple[str, ...]
    pieces: tuple[str, ...]
    ids: tuple[int, ...]
    word_pieces: tuple[tuple[int, ...], ...]


class WordPieces:
    """Cuts captions into pieces of a vocabulary.

    Args:
        vocabulary: sequence of strings in the order of their numbers, `[PAD]` first; BERT's files
            have one a line.
        lower: whether words become lower case without accents. Defaults to `True`.

    Raises:
        ConfigError: the vocabulary lacks one of `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]`, or does not
            begin with `[PAD]`.
    """

    def __init__(self, vocabulary: Sequence[str], lower: bool = True):
        self.vocabulary = tuple(vocabulary)
        self.lower = lower
        self._numbers = {piece: number for number, piece in enumerate(self.vocabulary)}
        missing = [piece for piece in (PAD, UNKNOWN, CLS, SEP) if piece not in self._numbers]
        if missing or self.vocabulary[0] != PAD:
            what = f"lacks {', '.join(missing)}" if missing else f"begins {self.vocabulary[0]!r}"
            raise ConfigError(f"the vocabulary {what}; expected {PAD} first, and {UNKNOWN}, {CLS}, "
                              f"{SEP} somewhere")  # fmt: skip

    def __call__(self, caption: str) -> Tokens:
        """A caption in pieces.

        Args:
            caption: string of any characters.

        Raises:
            DataError: it is no text.
        """
        if not isinstance(caption, str):
            raise DataError(f"a caption is {caption!r}; expected a text")
        words, pieces, groups = tuple(caption.split()), [CLS], []
        for word in words:
            found = [piece for part in basic_parts(word, self.lower) for piece in self._cut(part)]
            groups.append(tuple(range(len(pieces), len(pieces) + len(found))))
            pieces += found
        pieces.append(SEP)
        ids = tuple(self.number(piece) for piece in pieces)
        return Tokens(words, tuple(pieces), ids, tuple(groups))

    def number(self, piece: str) -> int:
        """The number of a piece; that of `[UNK]` where the vocabulary does not have it."""
        return self._numbers.get(piece, self._numbers[UNKNOWN])

    def __contains__(self, piece: str) -> bool:
        return piece in self._numbers

    def _cut(self, part: str) -> list[str]:
        """Greedy, longest beginning first; `[UNK]` if any rest is not in the vocabulary."""
        if len(part) > _LONGEST:
            return [UNKNOWN]
        found, start = [], 0
        while start < len(part):
            mark = "##" if start else ""
            for end in range(len(part), start, -1):
                if mark + part[start:end] in self._numbers:
                    found.append(mark + part[start:end])
                    start = end
                    break
            else:
                return [UNKNOWN]
        return found


def build_vocabulary(captions: Iterable[str], size: int = 5_000, least: int = 2) -> list[str]:
    """The vocabulary of whole words that a set of captions uses, the most frequent first.

    Args:
        captions: iterable of strings.
        size: integer, entries at most, special ones included. Defaults to `5_000`.
        least: integer, how often a word has to occur. Defaults to `2`.

    Returns:
        A list that begins with `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]`, `[MASK]`; words of equal
        frequency in the order of the alphabet, so that the order of the captions does not matter.
    """
    whole_number("size", size, len(SPECIAL) + 1)
    counts = collections.Counter(
        part for caption in captions for word in caption.split() for part in basic_parts(word)
    )
    ranked = sorted((-count, word) for word, count in counts.items() if count >= least)
    return [*SPECIAL, *(word for _, word in ranked)][:size]


def padded_ids(tokens: Sequence[Tokens], length: int | None = None) -> np.ndarray:
    """Numbers of several captions, int32 `[N, L]`, 0 where there is none.

    Args:
        tokens: sequence of `Tokens`.
        length: integer L, beyond which captions are cut; None: as long as the longest.
    """
    length = max((len(t.ids) for t in tokens), default=1) if length is None else length
    ids = np.zeros((len(tokens), length), np.int32)
    for row, found in zip(ids, tokens):
        row[: len(found.ids)] = found.ids[:length]
    return ids


def basic_parts(word: str, lower: bool = True) -> list[str]:
    """A word as BERT's first step cuts it: punctuation and CJK signs on their own."""
    word = plain(word, lower)
    parts, open_ = [], False
    for character in word:
        if _is_punctuation(character) or _is_cjk(character):
            parts.append(character)
            open_ = False
        elif open_:
            parts[-1] += character
        else:
            parts.append(character)
            open_ = True
    return parts


def plain(word: str, lower: bool = True) -> str:
    """A word without control characters and, in lower case, without accents."""
    word = "".join(c for c in word if unicodedata.category(c)[0] != "C" and ord(c) != 0xFFFD)
    if not lower:
        return word
    decomposed = unicodedata.normalize("NFD", word.lower())
    return "".join(c for c in decomposed if unicodedata.category(c) != "Mn")


def align_words(words: Sequence[str], pieces: Sequence[str]) -> list[list[int]]:
    """Which pieces each word is, found from left to right by what they spell.

    For pieces that came from elsewhere; `WordPieces` knows without searching.

    Args:
        words: sequence of strings, in the order of the caption.
        pieces: sequence of strings, `##` before those that continue a word.

    Returns:
        Positions in `pieces` of each word's, in order; empty where nothing spells a word, such as
        one that the vocabulary did not know, whose neighbours are found all the same.
    """
    spelled = [p if p in SPECIAL else p.removeprefix("##").lower() for p in pieces]
    found, start = [], 0
    for word in words:
        group = _match(plain(word), spelled, start)
        found.append(group)
        start = group[-1] + 1 if group else start
    return found


def _match(word, spelled, start) -> list[int]:
    """The first run of pieces from `start` on that spells the word."""
    for first in range(start, len(spelled)):
        text, last = "", first
        while last < len(spelled) and word.startswith(text + spelled[last]) and spelled[last]:
            text += spelled[last]
            last += 1
            if text == word:
                return list(range(first, last))
    return []


def _is_punctuation(character):
    code = ord(character)
    ascii_sign = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return ascii_sign or unicodedata.category(character).startswith("P")


def _is_cjk(character):
    code = ord(character)
    return 0x3400 <= code <= 0x9FFF or 0xF900 <= code <= 0xFAFF or 0x20000 <= code <= 0x2FA1F
