"""Short trainings on one part of the in-distribution images, judged by the other."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfgen import data
from tfgen.data.labels import as_labels
from tfgen.errors import DataError
from tfgen.ood.multi_task import MultiTaskOOD
from tfgen.optimizers import SGD
from tfgen.training import WarmupCosine

_FEWEST = 10  # images on either side


@dataclasses.dataclass(frozen=True)
class Trainings:
    """Trains `MultiTaskOOD` for a short while on the same images again and again.

    Attributes:
        train: the `Source` that is trained on.
        validation: the `Source` that is not.
        options: dict of keyword arguments of `MultiTaskOOD` that are always the same, "backbone"
            among them.
        epochs: integer, passes over the images.
        batch_size: integer, images a step.
        learning_rate: float, at the start; it falls to 0 along a cosine.
        weight_decay: float, L2 coefficient of kernels.
    """

    train: data.Source
    validation: data.Source
    options: Mapping[str, Any]
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float

    @property
    def steps_per_epoch(self) -> int:
        return max(1, len(self.train) // self.batch_size)

    def model(self, seed: int = 0, **options) -> MultiTaskOOD:
        """A fresh one, compiled."""
        own = {"backbone": _copied(self.options["backbone"], self.train.image_shape)}
        model = MultiTaskOOD(**{**self.options, **own, **options}, seed=seed)
        schedule = WarmupCosine(
            self.learning_rate, 0, self.steps_per_epoch, self.epochs, final=0.0, per_step=True
        )
        model.compile(SGD(schedule, weight_decay=self.weight_decay))
        return model

    def batches(self, seed: int = 0) -> data.Pipeline:
        """Shuffled batches without end."""
        return data.Pipeline(self.train, self.batch_size, seed=seed)

    def trained(self, seed: int = 0, **options) -> MultiTaskOOD:
        """One after its training."""
        model = self.model(seed, **options)
        model.fit(self.batches(seed), epochs=self.epochs, verbose=0, shuffle=False)
        return model

    def judged(self, model: MultiTaskOOD) -> dict[str, float]:
        """Means over the images that were set aside, by name, as `evaluate` gives them."""
        pipeline = data.Pipeline(self.validation, 256, training=False)
        found = model.evaluate(pipeline, verbose=0, return_dict=True)
        return {name: float(value) for name, value in found.items()}


def _copied(backbone, image_shape):
    """A live model as a copy with its weights: every training begins where the user left it."""
    if not isinstance(backbone, keras.Model):
        return backbone
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(backbone))
    copy(np.zeros((1, *image_shape), np.float32))
    copy.set_weights(backbone.get_weights())
    return copy


def parted(images, labels, share: float, seed: int) -> tuple[data.Source, data.Source]:
    """Images to train on and images to judge by: drawn at random, of every class alike.

    Args:
        images: `[N, H, W, C]` in [0, 1] or 8-bit.
        labels: `[N]` integers, or None.
        share: float, part of the images to judge by.
        seed: integer, seed of the choice.

    Returns:
        A pair of `Source`.

    Raises:
        DataError: too few images for either side.
    """
    arrays = {"images": np.asarray(images)}
    if labels is not None:
        arrays["labels"] = as_labels(np.asarray(labels), len(arrays["images"]), "the labels")[0]
    source = data.Source("the in-distribution images", "train", arrays)
    held_out = _held_out(len(source), source.labels, share, np.random.default_rng(seed))
    if not _FEWEST <= held_out.sum() <= len(source) - _FEWEST:
        raise DataError(
            f"{len(source)} images with a share of {share:g} to judge by leave {held_out.sum()} to "
            f"judge by; expected at least {_FEWEST} on either side"
        )
    return tuple(
        dataclasses.replace(
            source,
            subset=f"{rows.sum()} of {len(source)} images (seed {seed})",
            arrays={name: array[rows] for name, array in source.arrays.items()},
        )
        for rows in (~held_out, held_out)
    )


def _held_out(count, labels, share, rng):
    """Boolean `[N]`; of every class the same share."""
    order = rng.permutation(count)
    if labels is not None:  # within each class in random order, classes interleaved by rank
        rank = np.empty(count)
        for label in np.unique(labels):
            own = order[labels[order] == label]
            rank[own] = (np.arange(len(own)) + 0.5) / len(own)
        order = np.lexsort((np.argsort(np.argsort(order)), rank))
    found = np.zeros(count, bool)
    found[order[: round(share * count)]] = True
    return found
