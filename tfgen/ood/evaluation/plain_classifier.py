"""A plain Keras classifier under evaluation: the scores that any classifier has."""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from tfgen.errors import DataError
from tfgen.ood.evaluation.classifier import Classifier
from tfgen.ood.evaluation.subjects import Network
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
from tfgen.ood.scores.base import NoSpread


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
        for score in [score for score in self._scores.values() if score.fitted_to]:
            try:
                score.fit(outputs, images.labels, head=self._classifier.head)
            except NoSpread as error:
                if not self._usual:
                    raise
                del self._scores[score.name]
                self.notes.append(f"{score.name} is left out: {error}")

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


def _unfitted(score: Score) -> Score:
    """Another one of the same configuration: each network has its own statistics."""
    config = score.get_config()
    config.pop("shapes", None)
    return type(score).from_config(config)
