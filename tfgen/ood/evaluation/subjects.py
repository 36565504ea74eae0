"""What is evaluated: something that gives every image one or several scores, and what they cost."""

import inspect
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfgen import stopping
from tfgen.errors import DataError, UserError
from tfgen.generative import seeds_for
from tfgen.ood.evaluation.classifier import Classifier
from tfgen.ood.evaluation.image_sets import ImageSet
from tfgen.ood.scores import (
    KNN,
    ODIN,
    Energy,
    KLToUniform,
    Mahalanobis,
    MaxLogit,
    MaxSoftmax,
    Score,
    ViM,
)

_REPEATS = 3
_PASSES_OF_ODIN = 3  # forward, backward, forward


class Scored(NamedTuple):
    """What a subject says of a set.

    Attributes:
        scores: dict of `[N]` by score.
        logits: `[N, C]`, or None where nothing is classified.
    """

    scores: dict[str, np.ndarray]
    logits: np.ndarray | None = None


class Cost(NamedTuple):
    """What a score takes.

    Attributes:
        passes: integer, passes through the network an image; None: not known.
        milliseconds: float, for an image in a batch, on this machine.
    """

    passes: int | None
    milliseconds: float


class Subject:
    """Base of what gives images scores.

    Attributes:
        image_shape: tuple `(H, W, C)`.
        notes: list of sentences about what was left out.
    """

    image_shape: tuple[int, ...]
    notes: list[str]

    def fit(self, images: ImageSet, batch_size: int) -> None:
        """Fits what can be fitted to in-distribution images."""

    def scored(self, images: ImageSet, batch_size: int) -> Scored:
        """All scores of a set."""
        raise NotImplementedError

    def costs(self, images: np.ndarray) -> dict[str, Cost]:
        """By score, measured on one batch."""
        raise NotImplementedError


class Network(Subject):
    """Scores of the outputs of one network, which are computed once for all of them."""

    def __init__(self, image_shape, outputs, scores: Iterable[Score]):
        self.image_shape, self._outputs, self.notes = tuple(image_shape), outputs, []
        self._scores = {score.name: score for score in scores}
        self._graphs = {}

    def scored(self, images, batch_size):
        found, logits = {name: [] for name in self._scores}, []
        for batch in images.batches(batch_size):
            stopping.check()
            outputs = self.outputs(tf.constant(batch))
            for name in self._scores:
                found[name].append(self._values(name, outputs).numpy())
            if "logits" in outputs:
                logits.append(outputs["logits"].numpy())
        scores = {name: np.concatenate(parts) for name, parts in found.items()}
        return Scored(scores, np.concatenate(logits) if logits else None)

    def outputs(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the network says of a batch, and the batch."""
        return {**self._outputs(images), "images": images}

    @property
    def score_names(self) -> tuple[str, ...]:
        """Of all its scores."""
        return tuple(self._scores)

    def score_of(self, name: str, images: tf.Tensor) -> tf.Tensor:
        """One score of a batch, `[B]`, differentiable by the images."""
        return self._values(name, self.outputs(images))

    def costs(self, images):
        images = tf.constant(images)
        outputs = self.outputs(images)
        network = _seconds(lambda: self.outputs(images))
        found = {}
        for name, score in self._scores.items():
            alone = "images" in score.needs
            seconds = _seconds(lambda name=name: self._values(name, outputs))
            seconds = seconds if alone else network + seconds
            milliseconds = 1e3 * seconds / len(images)
            found[name] = Cost(_PASSES_OF_ODIN if alone else 1, milliseconds)
        return found

    def _values(self, name, outputs) -> tf.Tensor:
        """A score of a batch, by one graph for batches of any size."""
        score = self._scores[name]
        outputs = {need: outputs[need] for need in score.needs}
        if name not in self._graphs:
            specs = {k: tf.TensorSpec([None, *v.shape[1:]], v.dtype) for k, v in outputs.items()}
            self._graphs[name] = tf.function(lambda given: score(given), [specs], autograph=False)
        return self._graphs[name](outputs)


class PlainClassifier(Network):
    """A Keras classifier and the scores of its logits and features.

    Args:
        classifier: the `Classifier`.
        scores: sequence of `Score`; None: the usual ones, as far as they can be had.
    """

    def __init__(self, classifier: Classifier, scores: Iterable[Score] | None):
        self._classifier, self._usual = classifier, scores is None
        super().__init__(classifier.image_shape, classifier.outputs, map(_unfitted, scores or ()))
        if scores is None:
            self._scores = {s.name: s for s in (MaxSoftmax(), MaxLogit(), Energy(), KLToUniform())}
            self._scores["odin"] = ODIN()
        self._bind()

    @property
    def has_statistics(self) -> bool:
        """Whether a score is to be fitted."""
        return self._usual or any(score.fitted_to for score in self._scores.values())

    def fit(self, images, batch_size):
        outputs = [
            {name: value.numpy() for name, value in self._outputs(tf.constant(batch)).items()}
            for batch in images.batches(batch_size)
        ]
        outputs = {name: np.concatenate([o[name] for o in outputs]) for name in outputs[0]}
        if self._usual:
            for score in self._usual_fitted(outputs, images):
                self._scores[score.name] = score
        self._check_classes(images)
        for score in self._scores.values():
            if score.fitted_to:
                score.fit(outputs, images.labels, head=self._classifier.head)

    def _usual_fitted(self, outputs, images):
        if "features" not in outputs:
            self.notes.append("no dense layer at the end: scores of features are left out")
            return
        if images.labels is None:
            self.notes.append("no labels to fit to: the Mahalanobis score by class is left out")
        else:
            yield Mahalanobis()
        yield Mahalanobis(1, normalised=True, name="ssd")
        yield KNN(min(50, max(1, len(images) // 10)))
        if self._classifier.head is not None and outputs["features"].shape[1] > 1:
            yield ViM()

    def _check_classes(self, images):
        wanting = [s.name for s in self._scores.values() if s.fitted_to and s.needs_labels]
        if not wanting or images.labels is None:
            return
        if len(np.unique(images.labels)) == 1 < self._classifier.num_classes:
            raise DataError(
                f"all images that the score {wanting[0]!r} is fitted to are of class "
                f"{images.labels[0]}, and the network tells {self._classifier.num_classes}; give "
                "images of all classes, or Mahalanobis(1)"
            )

    def _bind(self):
        for score in self._scores.values():
            if isinstance(score, ODIN):
                score.bind(lambda images: self._classifier.outputs(images)["logits"])


class Detector(Network):
    """A network that holds its own scores, such as `tfgen.MultiTaskOOD`.

    Args:
        model: with `outputs(images)`, `scores` (dict of `Score` by name) and `image_shape`.
    """

    def __init__(self, model: Any):
        self._model = model
        fitted = getattr(model, "fitted_to", None)
        if fitted is not None and not int(np.asarray(fitted)):
            unfitted = [s.name for s in model.scores.values() if s.fitted_to]
            if unfitted:
                raise UserError(
                    f"{model.name!r} is not fitted, which its score {unfitted[0]!r} needs; call "
                    "fit_scores with training images first"
                )
        spec = tf.TensorSpec((None, *model.image_shape), tf.float32)
        traced = tf.function(lambda images: model.outputs(images), [spec], autograph=False)
        super().__init__(model.image_shape, traced, ())
        self._scores = dict(model.scores)

    def costs(self, images):
        found = {}
        for name in self._scores:
            seconds = _seconds(lambda name=name: self._model.ood_score(images, score=name))
            found[name] = Cost(self._model.passes(name), 1e3 * seconds / len(images))
        return found


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
        seconds = _seconds(lambda: self._scores_of(images, seeds))
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


def as_subject(model, scores, image_shape, feature_layer, preprocess, seed) -> Subject:
    """What fits a model: one that holds scores, one that gives a score, or a classifier."""
    if isinstance(getattr(model, "scores", None), Mapping) and hasattr(model, "outputs"):
        return Detector(model)
    if callable(getattr(model, "ood_score", None)):
        return Scorer(model, getattr(model, "image_shape", None) or image_shape, seed)
    classifier = Classifier(model, image_shape, feature_layer, preprocess)
    return PlainClassifier(classifier, scores)


def _unfitted(score: Score) -> Score:
    """Another one of the same configuration: each network has its own statistics."""
    config = score.get_config()
    config.pop("shapes", None)
    return type(score).from_config(config)


def _seconds(function) -> float:
    """Median of some runs, after one that may trace."""
    function()
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))
