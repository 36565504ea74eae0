"""Batches of a client, drawn so that each depends on a seed and on nothing drawn before."""

import dataclasses

import numpy as np

from tfgen.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """One batch of a client.

    Attributes:
        number: which of the batches of its size.
        indices: int64 `[K]` into the audited images, sorted by label.
        images: `[K, H, W, C]` in [0, 1].
        labels: int64 `[K]`.
        unrelated: `[K, H, W, C]`, other images of the pool.
    """

    number: int
    indices: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    unrelated: np.ndarray


def draw_batch(
    images: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    number: int,
    unique_labels: bool,
    seed: int,
) -> Batch:
    """One batch, and as many unrelated images.

    Args:
        images: `[N, H, W, C]` in [0, 1].
        labels: int `[N]`.
        batch_size: K.
        number: which of the batches of its size.
        unique_labels: whether no class repeats, where there are as many classes; else labels follow
            the frequencies of the data.
        seed: of the audit.

    Raises:
        UserError: fewer than 2 K images.
    """
    rng = np.random.default_rng([seed, batch_size, number])
    classes = np.unique(labels)
    if unique_labels and batch_size <= len(classes):
        drawn = rng.permutation(classes)[:batch_size]
        indices = np.array([rng.choice(np.flatnonzero(labels == c)) for c in drawn])
    else:
        indices = rng.permutation(len(images))[:batch_size]
    if len(images) < 2 * batch_size:
        raise UserError(
            f"{len(images)} images are too few for batches of {batch_size} and as many "
            "unrelated images; give more images or smaller batches"
        )
    indices = indices[np.argsort(labels[indices], kind="stable")]
    others = rng.permutation(np.setdiff1d(np.arange(len(images)), indices))[:batch_size]
    return Batch(number, indices, images[indices], labels[indices], images[others])
