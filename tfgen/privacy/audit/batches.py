"""Batches of a client, and the other batches that might have been drawn in their place.

A batch depends on a seed and on nothing drawn before. Other batches are drawn by the same
procedure from the same images: to a reconstruction that knows nothing of the client's batch, they
are all alike, which is what `chance` tests.
"""

import dataclasses
import math

import numpy as np

from tfgen.errors import UserError

# So many different batches with the classes of the client's make it worth while to keep to them.
_ENOUGH = 200
_ROWS = 2_000  # label counts drawn at once
_NUMBERS = 1 << 22  # random numbers drawn at once


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """One batch of a client.

    Attributes:
        number: integer, which of the batches of its size.
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


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How batches are drawn from the audited images.

    Attributes:
        unique_labels: whether no class repeats, where there are as many classes; else labels follow
            the frequencies of the data.
        seed: integer, the audit's seed.
    """

    unique_labels: bool
    seed: int

    def draw(self, images: np.ndarray, labels: np.ndarray, batch_size: int, number: int) -> Batch:
        """One batch, and as many unrelated images.

        Args:
            images: `[N, H, W, C]` in [0, 1].
            labels: int `[N]`.
            batch_size: integer K.
            number: which of the batches of its size.

        Raises:
            UserError: fewer than 2 K images.
        """
        if len(images) < 2 * batch_size:
            raise UserError(
                f"{len(images)} images are too few for batches of {batch_size} and as many "
                "unrelated images; give more images or smaller batches"
            )
        rng = self._rng(batch_size, number)
        classes = np.unique(labels)
        if self._distinct(labels, batch_size):
            drawn = rng.permutation(classes)[:batch_size]
            indices = np.array([rng.choice(np.flatnonzero(labels == c)) for c in drawn])
        else:
            indices = rng.permutation(len(images))[:batch_size]
        indices = indices[np.argsort(labels[indices], kind="stable")]
        others = rng.permutation(np.setdiff1d(np.arange(len(images)), indices))[:batch_size]
        return Batch(number, indices, images[indices], labels[indices], images[others])

    def other_batches(self, labels: np.ndarray, batch: Batch, count: int) -> np.ndarray:
        """Batches that might have been drawn as well.

        They have the client's labels, so that what shows the class alone does not count as showing
        the image, unless there are too few such batches for a test.

        Args:
            labels: int `[N]`, of all audited images.
            batch: the client's `Batch`.
            count: integer, how many.

        Returns:
            int64 `[count, K]`, indices into the audited images.
        """
        size = len(batch.indices)
        rng = self._rng(size, batch.number, 1)
        if self.keeps_labels(labels, size):
            parts = [
                _choose(rng, np.flatnonzero(labels == c), number, count)
                for c, number in zip(*np.unique(batch.labels, return_counts=True))
            ]
            return np.concatenate(parts, axis=1)
        if not self._distinct(labels, size):
            return _choose(rng, np.arange(len(labels)), size, count)
        classes = np.unique(labels)
        drawn = _choose(rng, np.arange(len(classes)), size, count)
        position = rng.random(drawn.shape)
        chosen = np.empty_like(drawn)
        for place, c in enumerate(classes):
            members, here = np.flatnonzero(labels == c), drawn == place
            chosen[here] = members[np.int64(position[here] * len(members))]
        return chosen

    def other_label_overlaps(
        self, labels: np.ndarray, batch: Batch, restored: np.ndarray, count: int
    ) -> np.ndarray:
        """How many of the restored labels other batches have, `[count]`, counting repetitions.

        Args:
            labels: int `[N]`, of all audited images.
            batch: the client's `Batch`.
            restored: integer array, what an attack restored.
            count: how many other batches.
        """
        size = len(batch.indices)
        rng = self._rng(size, batch.number, 2)
        classes, frequency = np.unique(labels, return_counts=True)
        found = np.array([np.sum(restored == c) for c in classes])
        overlaps = []
        for start in range(0, count, _ROWS):
            rows = min(_ROWS, count - start)
            if self._distinct(labels, size):
                drawn = np.zeros((rows, len(classes)), np.int64)
                chosen = _choose(rng, np.arange(len(classes)), size, rows)
                np.put_along_axis(drawn, chosen, 1, axis=1)
            else:
                drawn = rng.multivariate_hypergeometric(frequency, size, rows)
            overlaps.append(np.minimum(drawn, found).sum(axis=1))
        return np.concatenate(overlaps)

    def keeps_labels(self, labels: np.ndarray, batch_size: int) -> bool:
        """Whether the other batches have the labels of the client's.

        Decided by the data and never by the batch that was drawn, or the test would not be exact.
        """
        frequency = np.unique(labels, return_counts=True)[1]
        different = min(batch_size, len(frequency)) * math.log(frequency.min())
        return different >= math.log(_ENOUGH)

    def _distinct(self, labels, batch_size):
        return self.unique_labels and batch_size <= len(np.unique(labels))

    def _rng(self, batch_size, number, *stream):
        return np.random.default_rng([self.seed, batch_size, number, *stream])


def _choose(rng, items, number, count):
    """`count` draws of `number` different items each, `[count, number]`."""
    chosen, rows = [], max(1, _NUMBERS // len(items))
    for start in range(0, count, rows):
        keys = rng.random((min(rows, count - start), len(items)), np.float32)
        chosen.append(np.argpartition(keys, number - 1, axis=1)[:, :number])
    return items[np.concatenate(chosen)]
