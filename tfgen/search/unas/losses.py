"""What a search minimises: the loss of an architecture on data, and what else counts.

Weights of architectures are those of `Architectures`: one-hot or relaxed, `{group: [B, factors,
choices]}`.
"""

from collections.abc import Mapping

import tensorflow as tf


def with_generalization_gap(train, validation, coefficient: float = 0.5) -> tf.Tensor:
    """The training loss and its distance from the validation loss, pair by pair.

    A network that only fits what it has seen pays for it. Validation images enter by the distance
    alone, so that a search cannot fit them either (UNAS, arXiv:1912.07651).

    Args:
        train: `[N]` losses of training images.
        validation: `[N]` losses of as many validation images, paired by position.
        coefficient: float lambda. Defaults to `0.5`.

    Returns:
        `[N]`.
    """
    return train + coefficient * tf.abs(validation - train)


def duplicate_edges(weights: Mapping[str, tf.Tensor], operation: str = "operation") -> tf.Tensor:
    """How often both edges of a node are the same operation on the same input, `[B]`.

    Args:
        weights: dict of group name -> `[B, 2, choices]` floats, of the groups
            `"<cell>/<node>/input"` and `"<cell>/<node>/<operation>"`: the node's two edges.
        operation: string, last part of the names of groups of operations. Defaults to
            `"operation"`.
    """
    nodes = sorted({name.rpartition("/")[0] for name in weights})
    return tf.add_n(
        [
            _agreement(weights[f"{node}/input"]) * _agreement(weights[f"{node}/{operation}"])
            for node in nodes
        ]
    )


def _agreement(pair):
    """Product of two factors' weights, choice by choice, of `[B, 2, choices]`: `[B]`."""
    return tf.reduce_sum(pair[:, 0] * pair[:, 1], axis=-1)
