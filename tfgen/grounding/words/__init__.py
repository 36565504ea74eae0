"""Captions: their pieces, nouns and phrases, and features of words."""

from tfgen.grounding.words.encoder import WordEncoder
from tfgen.grounding.words.phrases import Phrase, noun_phrases, noun_words
from tfgen.grounding.words.tagging import (
    LexiconTagger,
    nltk_tagger,
    spacy_tagger,
)
from tfgen.grounding.words.tokens import (
    Tokens,
    WordPieces,
    align_words,
    build_vocabulary,
    padded_ids,
)

__all__ = [
    "LexiconTagger",
    "Phrase",
    "Tokens",
    "WordEncoder",
    "WordPieces",
    "align_words",
    "build_vocabulary",
    "nltk_tagger",
    "noun_phrases",
    "noun_words",
    "padded_ids",
    "spacy_tagger",
]
