"""Which words to put in a noun's place: likely in the sentence, and not what the sentence says.

p is the probability of a word where the noun is masked, q where it is not: a masked language model
that sees the noun gives it, its synonyms and its hypernyms high probability there. Words of a high
ratio p / q fit the sentence and change what it says (Gupta et al., arXiv:2006.09920).
"""

import numpy as np

from tfgen.ops.checks import one_of, whole_number

RANK, SELECT = 30, 25  # words that are re-ranked, and kept, in the paper
_FLOOR = 1e-6


def noun_probabilities(logits, noun_mask) -> np.ndarray:
    """Probabilities over the nouns alone, float64 `[..., V]`.

    Args:
        logits: `[..., V]` floats of a masked language model.
        noun_mask: `[V]` booleans or numbers, 1 for words of the vocabulary that are nouns.
    """
    logits = np.asarray(logits, np.float64)
    logits = np.where(np.asarray(noun_mask) > 0, logits, -np.inf)
    largest = logits.max(-1, keepdims=True)
    weights = np.exp(logits - np.where(np.isfinite(largest), largest, 0.0))
    return weights / np.maximum(weights.sum(-1, keepdims=True), np.finfo(np.float64).tiny)


def ranked_words(
    p,
    q,
    noun_mask,
    rank: int = RANK,
    select: int = SELECT,
    rerank: bool = True,
    compat: str | None = None,
) -> np.ndarray:
    """Words in the place of one noun, best first.

    Args:
        p: `[V]` probabilities where the noun is masked.
        q: `[V]` probabilities where it stands.
        noun_mask: `[V]` booleans or numbers, 1 for words that may be chosen.
        rank: integer, how many of the likeliest are re-ranked. Defaults to `30`.
        select: integer, how many are kept. Defaults to `25`.
        rerank: whether p / q decides; otherwise p alone does. Defaults to `True`.
        compat: string, "official" rounds scores to three digits first, so that words of nearly
            equal score stay in the order of p, and fills up with words that are no nouns; None does
            neither.

    Returns:
        Integers, numbers of words, at most `select`; fewer where there are fewer nouns.

    Raises:
        ConfigError: a number is out of range.
    """
    whole_number("rank", rank, 1)
    whole_number("select", select, 1, rank)
    one_of("compat", compat, (None, "official"))
    p, q = np.asarray(p, np.float64), np.asarray(q, np.float64)
    allowed = np.asarray(noun_mask) > 0
    likely = np.argsort(-np.where(allowed, p, -1.0), kind="stable")[:rank]
    if compat is None:
        likely = likely[allowed[likely]]
    scores = p[likely] / (q[likely] + _FLOOR) if rerank else p[likely]
    if compat == "official":
        scores = np.round(scores, 3)
    return likely[np.argsort(-scores, kind="stable")][:select]


def substituted(pieces, group, word) -> list:
    """A caption's pieces with those of a noun replaced by one.

    Args:
        pieces: sequence of strings or integers.
        group: sequence of integers, positions of the noun's pieces, one after the other.
        word: string or integer, the piece that takes their place.

    Returns:
        A list, shorter by all but one of the noun's pieces; the new one stands at the first.
    """
    return [*pieces[: group[0]], word, *pieces[group[-1] + 1 :]]
