"""What brings scores of its own: detectors with several, and anything with `ood_score`."""

import inspect
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfgen import stopping
from tfgen.errors import UserError
from tfgen.generative import seeds_for
from tfgen.ood.evaluation.subjects import Cost, Network, Scored, Subject, seconds_of


class Detector(Network):
    """A network that holds its own scores, such as `tfgen.MultiTaskOOD`.

    Args:
        model: with `outputs(images)`, `scores` (dict of `Score` by name) and `image_shape`.
    """

    def __init__(self, model: Any):
        self._model = model
        unfitted, fitted = _unfitted(model), _is_fitted(model)
        if unfitted and not fitted:
            raise UserError(
                f"{model.name!r} is not fitted, which its score {unfitted[0]!r} needs; call "
                "fit_scores with training images first"
            )
        spec = tf.TensorSpec((None, *model.image_shape), tf.float32)
        traced = tf.function(lambda images: model.outputs(images), [spec], autograph=False)
        super().__init__(model.image_shape, traced, ())
        self._scores = {name: s for name, s in model.scores.items() if name not in unfitted}
        if unfitted:
            self.notes.append(
                f"{' and '.join(unfitted)} are left out: the model was saved before there were "
                "such scores, and fit_scores would add them"
            )

    def costs(self, images):
        found = {}
        for name in self._scores:
            seconds = seconds_of(lambda name=name: self._model.ood_score(images, score=name))
            found[name] = Cost(self._model.passes(name), 1e3 * seconds / len(images))
        return found


def _is_fitted(model) -> bool:
    return bool(int(np.asarray(getattr(model, "fitted_to", 1))))


def _unfitted(model) -> list[str]:
    """Names of the scores that cannot be computed: what the model says of itself, if it does."""
    known = getattr(model, "unfitted", None)
    if known is not None or _is_fitted(model):
        return list(known or [])
    return [name for name, score in model.scores.items() if score.fitted_to]


class Scorer(Subject):
    """An object with `ood_score(images)`, or `ood_score(images, seeds)` as generators have it.

    Args:
        model: any object with this function.
        image_shape: tuple `(H, W, C)`.
        seed: integer, of what it draws.
    """

    def __init__(self, model: Any, image_shape: tuple[int, ...], seed: int):
        self.image_shape, self.notes = tuple(image_shape), []
        parameters = inspect.signature(model.ood_score).parameters
        self._seeded, self._seed = "seeds" in parameters, seed
        self._function = model.ood_score
        if isinstance(model, keras.Model | tf.Module) or self._seeded:
            self._function = tf.function(model.ood_score, autograph=False, reduce_retracing=True)

    def scored(self, images, batch_size):
        seeds, found, start = seeds_for(len(images), self._seed), [], 0
        for batch in images.batches(batch_size):
            stopping.check()
            found.append(self._scores_of(batch, seeds[start : start + len(batch)]))
            start += len(batch)
        return Scored({"ood_score": np.concatenate(found)})

    def costs(self, images):
        seeds = seeds_for(len(images), self._seed)
        seconds = seconds_of(lambda: self._scores_of(images, seeds))
        return {"ood_score": Cost(None, 1e3 * seconds / len(images))}

    def _scores_of(self, batch, seeds):
        arguments = (tf.constant(batch), tf.constant(seeds)) if self._seeded else (batch,)
        values = np.asarray(self._function(*arguments))
        if values.shape != (len(batch),):
            raise UserError(
                f"ood_score returned shape {values.shape} for {len(batch)} images; expected one "
                "number an image"
            )
        return values
