"""What the four networks of the critic make of a batch: keys and values, queries and values."""

from collections.abc import Mapping

import tensorflow as tf

from tfgen.grounding.batch import Negatives, Pairs
from tfgen.grounding.projection import Projection

REGION_SIDE = ("region_key", "region_value")
WORD_SIDE = ("word_query", "word_value")
NETWORKS = REGION_SIDE + WORD_SIDE

Sides = dict[str, tuple[tf.Tensor, tf.Tensor]]


def sides_of(
    networks: Mapping[str, Projection], pairs: Pairs, negatives: Negatives | None = None
) -> Sides:
    """Outputs of the networks by their running statistics.

    Args:
        networks: dict of the four, named as `NETWORKS`.
        pairs: a `Pairs` of features of images and captions.
        negatives: the `Negatives` in a noun's place; None where there are none.

    Returns:
        A dict of `regions`, `words` and, with negatives, `negatives`: two tensors each, `[..., d]`.
    """
    features = {"regions": (pairs.regions, REGION_SIDE), "words": (pairs.words, WORD_SIDE)}
    if negatives is not None:
        features["negatives"] = (negatives.words, WORD_SIDE)
    return {
        side: tuple(networks[name](given) for name in names)
        for side, (given, names) in features.items()
    }


def trained_sides(
    networks: Mapping[str, Projection],
    pairs: Pairs,
    negatives: Negatives | None,
    official: bool = False,
) -> tuple[Sides, list]:
    """Outputs of the networks by the statistics of this batch, and how the running ones move.

    The published code runs all four again for the negatives: the regions move their statistics
    twice by the same batch. What is not padding is the same either way.

    Args:
        networks: dict of the four, named as `NETWORKS`.
        pairs: a `Pairs` of features of images and captions.
        negatives: the `Negatives` in a noun's place; None where there are none.
        official: whether padding enters the statistics, as published. Defaults to `False`.

    Returns:
        The dict of `sides_of`, and pairs of a variable and its next value.
    """
    passes = [("regions", pairs.regions, pairs.region_mask, REGION_SIDE)]
    passes += [("words", pairs.words, pairs.word_mask, WORD_SIDE)]
    if negatives is not None:
        mask = negatives.mask * tf.expand_dims(negatives.valid, 1)
        passes += [("negatives", negatives.words, mask, WORD_SIDE)]
        if official:
            passes += [("regions", pairs.regions, None, REGION_SIDE)]
    sides, statistics = {}, {}
    for side, features, mask, names in passes:
        outputs = []
        for name in names:
            output, statistics[name] = networks[name].train(
                features, None if official else mask, statistics.get(name)
            )
            outputs.append(output)
        sides[side] = tuple(outputs)
    updates = [
        pair
        for name, values in statistics.items()
        for pair in zip(networks[name].statistics(), values)
    ]
    return sides, updates
