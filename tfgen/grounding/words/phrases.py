"""Nouns and noun phrases of a caption, by the tags of its words."""

from typing import NamedTuple

from tfgen.errors import DataError
from tfgen.grounding.words.tagging import Tagger, words_of
from tfgen.grounding.words.tokens import Tokens

NOUN_TAGS = ("NN", "NNS", "NNP", "NNPS")
ADJECTIVE_TAGS = ("JJ", "JJR", "JJS")
# Taggers like to call these nouns or adjectives; the published code leaves them out as well.
EXCLUDED = ("is", "has", "have", "had", "be")

_BEFORE = (*ADJECTIVE_TAGS, "DT", "PRP$", "CD", "VBN", "VBG", "POS")


class Phrase(NamedTuple):
    """Words of a caption that stand together.

    Attributes:
        text: string, as it stands in the caption.
        first_word: integer, counted from 0 between spaces.
        words: tuple of strings.
    """

    text: str
    first_word: int
    words: tuple[str, ...]


def noun_words(caption: str, tagger: Tagger, adjectives: bool = False) -> list[int]:
    """Numbers of the words of a caption, from 0 on between spaces, that are nouns: a list.

    Args:
        caption: string, a sentence.
        tagger: a `Tagger`.
        adjectives: whether adjectives count as well. Defaults to `False`.
    """
    tags = NOUN_TAGS + (ADJECTIVE_TAGS if adjectives else ())
    words = words_of(caption)
    tagged = zip(words, tagger([word.lower() for word in words]), strict=True)
    return [i for i, (word, tag) in enumerate(tagged) if _counts(word, tag, tags)]


def noun_phrases(caption: str, tagger: Tagger) -> list[Phrase]:
    """Runs of determiners, adjectives and nouns that end in a noun, such as "a black dog".

    A number that nothing follows is one as well: "the three beside a seven".

    Args:
        caption: string, a sentence.
        tagger: a `Tagger`.

    Returns:
        A list of `Phrase` in the order of the caption.
    """
    written, words = caption.split(), words_of(caption)
    tags = tagger([word.lower() for word in words])
    found, start = [], None
    for index, (word, tag) in enumerate(zip(words, tags, strict=True)):
        following = tags[index + 1] if index + 1 < len(tags) else ""
        ends = written[index][-1] in ",.;:!?"
        is_noun = _counts(word, tag, NOUN_TAGS)
        if tag == "CD" and (ends or following not in (*NOUN_TAGS, *_BEFORE)):
            is_noun = True
        if not is_noun and tag not in _BEFORE:
            start = None
            continue
        # A determiner opens a phrase of its own: "a man a horse" are two.
        if start is None or (tag in ("DT", "PRP$") and index > start):
            start = index
        if is_noun and (ends or following not in NOUN_TAGS):
            found.append(_phrase(written, start, index + 1))
            start = None
        elif ends:
            start = None
    return found


def located(phrase: str, caption: str) -> Phrase:
    """Where a phrase stands in a caption, word by word, whatever the case and the punctuation.

    Args:
        phrase: string, some words of the caption.
        caption: string, a sentence.

    Raises:
        DataError: it does not occur there.
    """
    words, wanted = caption.split(), _plain(phrase)
    plain = _plain(caption)
    for first in range(len(words) - len(wanted) + 1):
        if wanted and plain[first : first + len(wanted)] == wanted:
            return Phrase(phrase, first, tuple(words[first : first + len(wanted)]))
    raise DataError(f"the phrase {phrase!r} does not occur in the caption {caption!r}")


def counted_positions(tokens: Tokens, words: list[int]) -> list[int]:
    """Positions in a caption's pieces of all pieces of some of its words, in order.

    Args:
        tokens: `Tokens` of the caption.
        words: list of integers, numbers of words between spaces.
    """
    return [piece for word in words for piece in tokens.word_pieces[word]]


def _plain(text: str) -> list[str]:
    """Words without case, the punctuation around them, and the mark of the possessive."""
    stripped = [word.lower().strip(".,;:!?\"'()") for word in text.split()]
    return [word.removesuffix("'s") for word in stripped]


def _phrase(written, start, end) -> Phrase:
    text = " ".join(written[start:end]).strip(",.;:!?\"'()")
    return Phrase(text, start, tuple(written[start:end]))


def _counts(word, tag, tags) -> bool:
    return tag in tags and word.lower() not in EXCLUDED
