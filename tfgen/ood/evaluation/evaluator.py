"""One table for every detector: scores of models on in-distribution data and on others."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfgen.data.labels import check_all_words
from tfgen.data.subset import shuffled_rows
from tfgen.errors import ConfigError, DataError, UserError
from tfgen.metrics import (
    Separation,
    bootstrap_intervals,
    delong_interval,
    expected_calibration_error,
    measure_separation,
)
from tfgen.metrics.separation import checked_scores
from tfgen.ood.evaluation.classifier import Classifier
from tfgen.ood.evaluation.detectors import Detector, Scorer
from tfgen.ood.evaluation.image_sets import ImageSet, as_image_set
from tfgen.ood.evaluation.plain_classifier import PlainClassifier
from tfgen.ood.evaluation.result import Evaluation, Row, mean_separation
from tfgen.ood.evaluation.subjects import Scored, Subject
from tfgen.ood.scores import Score, check_score
from tfgen.ops.checks import in_range, whole_number

_FEW = 30  # images of a set


class Evaluator:
    """Measures how well scores of models tell in-distribution images from others.

    A model is any Keras classifier (functional, sequential, nested or subclassed), a
    `tfgen.MultiTaskOOD`, or anything with `ood_score(images)`, larger for what is further out, such
    as the generators of this library. Nothing is chosen by the outliers.

        evaluator = Evaluator(model, (test_images, test_labels), {"svhn": svhn_images},
                              fit_data=(train_images, train_labels))
        evaluation = evaluator.evaluate()
        print(evaluation)
        evaluation.save("detection")

    Args:
        model: the model, or a dict of models by name.
        in_data: in-distribution images that no model was trained on, with labels where accuracy is
            to be told: a pair (images, labels), images alone, a `tfgen.data.Source` or a
            `tf.data.Dataset`. Images are `[N, H, W, C]`, in [0, 1] or 8-bit.
        out_data: dict of others by name, in the same forms.
        fit_data: in-distribution images, best of the training set, that scores of features are
            fitted to. None: a random half of `in_data`, which is then not scored.
        scores: sequence of `Score` of a plain classifier; None: MSP, max-logit, energy, KL to
            uniform, ODIN, Mahalanobis (by class, and of one Gaussian as in SSD), KNN and ViM, as
            far as they can be had.
        near: sequence of the names of sets that are near to the data; the others are far. None:
            they are not told apart.
        in_name: string, the name of `in_data`. Defaults to `"in"`.
        feature_layer: string, a layer of a plain classifier whose outputs are the features; None:
            what its last dense layer takes.
        preprocess: function from images in [0, 1] to what a plain classifier takes; None: the same.
        level: float, of the intervals, in (0, 1). Defaults to `0.95`.
        num_resamples: integer, of the bootstrap. Defaults to `200`.
        batch_size: integer, images computed at once. Defaults to `128`.
        seed: integer, of what is drawn. Defaults to `0`.

    Raises:
        ConfigError: there is no set of outliers, or `near` names none of them.
        DataError: a set is empty, or has images of another size or range.
        UserError: a model is none of these, or holds weights that are NaN.
    """

    def __init__(
        self,
        model: Any,
        in_data: Any,
        out_data: Mapping[str, Any],
        *,
        fit_data: Any = None,
        scores: Iterable[Score] | None = None,
        near: Iterable[str] | None = None,
        in_name: str = "in",
        feature_layer: str | None = None,
        preprocess: Callable | None = None,
        level: float = 0.95,
        num_resamples: int = 200,
        batch_size: int = 128,
        seed: int = 0,
    ):
        in_range("level", level, 0.0, above=True, below=1.0)
        self.level, self.seed = level, seed
        self.num_resamples = whole_number("num_resamples", num_resamples, 10)
        self.batch_size = whole_number("batch_size", batch_size, 1)
        self.near = None if near is None else tuple(near)
        _check_names(in_name, out_data, self.near)
        self.in_set = as_image_set(in_data, in_name)
        shape = self.in_set.image_shape
        self.out_sets = [as_image_set(data, name, shape) for name, data in out_data.items()]
        models = model if isinstance(model, Mapping) else {getattr(model, "name", "model"): model}
        scores = None if scores is None else _with_names(scores)
        self.subjects = {
            str(name): _as_subject(each, scores, shape, feature_layer, preprocess, seed)
            for name, each in models.items()
        }
        for name, subject in self.subjects.items():
            if subject.image_shape != shape:
                raise DataError(
                    f"{name!r} takes images of shape {subject.image_shape}, and the set "
                    f"{in_name!r} has {shape}; resize or convert all sets by the same filter"
                )
        self._notes, self._is_fitted = [], False
        self.fit_set = self._fit_set(fit_data, shape)

    def evaluate(self) -> Evaluation:
        """Fits scores, scores all sets and measures, as an `Evaluation`.

        Raises:
            DataError: a score is NaN, or the data do not allow a score that was asked for.
        """
        rows, kept, classification = [], {}, {}
        self.fit()
        for name, subject in self.subjects.items():
            scored = {each.name: self.scored(name, each) for each in self._sets()}
            kept[name] = {
                score: {s: scored[s].scores[score] for s in scored}
                for score in scored[self.in_set.name].scores
            }
            classification |= self._classification(name, scored[self.in_set.name])
            costs = subject.costs(self.in_set.rows(np.arange(min(self.batch_size, self._size))))
            for score, by_set in kept[name].items():
                rows.append(self._row(name, score, costs[score], by_set))
            self._notes += [f"{name}: {note}" for note in subject.notes]
        self._notes += [_note_of_few(each) for each in self._sets() if len(each) < _FEW]
        return Evaluation(
            tuple(rows),
            self.in_set.name,
            {each.name: len(each) for each in self._sets()},
            self.level,
            classification,
            tuple(dict.fromkeys(self._notes)),
            kept,
        )

    def fit(self) -> None:
        """Fits scores, once."""
        if self.fit_set is not None and not self._is_fitted:
            for subject in self.subjects.values():
                subject.fit(self.fit_set, self.batch_size)
        self._is_fitted = True

    def scored(self, model: str, images: ImageSet) -> Scored:
        """What a model says of images: `scores`, a dict of `[N]`, and `logits` `[N, C]` or None.

        Args:
            model: string, its name.
            images: an `ImageSet`.

        Raises:
            DataError: a score is NaN.
        """
        found = self.subjects[model].scored(images, self.batch_size)
        for score, values in found.scores.items():
            checked_scores(values, f"the score {score!r} of {model!r} on the set {images.name!r}")
        return found

    @property
    def _size(self):
        return len(self.in_set)

    def _sets(self) -> list[ImageSet]:
        return [self.in_set, *self.out_sets]

    def _row(self, model, score, cost, by_set) -> Row:
        inside, separation, intervals = by_set[self.in_set.name], {}, {}
        for each in self.out_sets:
            outside = by_set[each.name]
            separation[each.name] = measure_separation(inside, outside)
            intervals[each.name] = bootstrap_intervals(
                inside, outside, self.level, self.num_resamples, self.seed
            )._replace(auroc=delong_interval(inside, outside, self.level))
        means = self._means(separation)
        return Row(model, score, cost.passes, cost.milliseconds, separation, intervals, means)

    def _means(self, separation: Mapping[str, Separation]) -> dict[str, Separation]:
        groups = {"all": list(separation)}
        if self.near is not None:
            far = [name for name in separation if name not in self.near]
            groups = {"near": list(self.near), "far": far, **groups}
        return {
            group: mean_separation([separation[name] for name in names])
            for group, names in groups.items()
            if names
        }

    def _classification(self, name, scored) -> dict[str, dict[str, float]]:
        labels, logits = self.in_set.labels, scored.logits
        if labels is None or logits is None:
            return {}
        if labels.min() < 0 or labels.max() >= logits.shape[1]:
            raise DataError(
                f"the set {self.in_set.name!r} has labels from {labels.min()} to {labels.max()}, "
                f"and {name!r} tells {logits.shape[1]} classes; give labels that count from 0 as "
                "in training"
            )
        check_all_words(self.in_set.words, logits.shape[1], f"the set {self.in_set.name!r}")
        from scipy.special import softmax

        error = expected_calibration_error(softmax(logits.astype(np.float64), axis=1), labels)
        accuracy = float(np.mean(np.argmax(logits, axis=1) == labels))
        return {name: {"accuracy": accuracy, "expected_calibration_error": error}}

    def _fit_set(self, fit_data, shape) -> ImageSet | None:
        if fit_data is not None:
            return as_image_set(fit_data, "fit", shape)
        wanting = [s for s in self.subjects.values() if isinstance(s, PlainClassifier)]
        if not any(subject.has_statistics for subject in wanting):
            return None
        if self._size < 4:
            raise DataError(
                f"the set {self.in_set.name!r} has {self._size} images, too few to fit scores to "
                "one half and measure on the other; give fit_data"
            )
        order = shuffled_rows(self._size, self.seed)
        fitted, scored = np.sort(order[: self._size // 2]), np.sort(order[self._size // 2 :])
        self._notes.append(
            f"{len(fitted):,} images of {self.in_set.name!r}, drawn at random (seed {self.seed}), "
            "were used to fit scores and not scored; fit_data spares that"
        )
        found, self.in_set = self.in_set.part(fitted), self.in_set.part(scored)
        return found


def _note_of_few(images: ImageSet) -> str:
    held = f"{len(images)} image{'s' * (len(images) > 1)}"
    return (
        f"{images.name!r} has {held}: intervals of the bootstrap are too narrow, those of the "
        "AUROC hold"
    )


def _check_weights(model):
    """That none is NaN, which a rectifier would hide and gradients would not."""
    weights = model.weights if isinstance(model, keras.layers.Layer) else ()
    for weight in weights:
        values = tf.convert_to_tensor(weight)
        if values.dtype.is_floating and bool(tf.reduce_any(tf.math.is_nan(values))):
            raise UserError(
                f"the weight {weight.path!r} of {model.name!r} holds NaN, so its training has "
                "diverged or its file is damaged; train it again, or load an earlier checkpoint"
            )


def _check_names(in_name, out_data, near):
    if not isinstance(out_data, Mapping) or not out_data:
        raise ConfigError(
            "there is no set of outliers; give a dict of at least one, such as {'noise': images}"
        )
    if in_name in out_data:
        raise ConfigError(f"two sets are called {in_name!r}; give in_name another name")
    unknown = [name for name in near or () if name not in out_data]
    if unknown or near == ():
        raise ConfigError(
            f"near is {near}; expected some of the sets of outliers: {', '.join(out_data)}"
        )


def _with_names(scores) -> list[Score]:
    scores = [scores] if isinstance(scores, Score | str) else list(scores)
    for score in scores:
        check_score(score)
    names = [score.name for score in scores]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        reason = f"two scores are called {twice[0]!r}" if twice else "there are no scores"
        raise ConfigError(f"{reason}; give every score a name of its own: Mahalanobis(name=...)")
    return scores


def _as_subject(model, scores, image_shape, feature_layer, preprocess, seed) -> Subject:
    """What fits a model: one that holds scores, one that gives a score, or a classifier."""
    _check_weights(model)
    if isinstance(getattr(model, "scores", None), Mapping) and hasattr(model, "outputs"):
        return Detector(model)
    if callable(getattr(model, "ood_score", None)):
        return Scorer(model, getattr(model, "image_shape", None) or image_shape, seed)
    classifier = Classifier(model, image_shape, feature_layer, preprocess)
    return PlainClassifier(classifier, scores)
