"""Scores of a trained model, the threshold above which an image is refused, and what is served."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen import stopping
from tfgen.data.labels import as_labels, check_all_words
from tfgen.errors import ConfigError, DataError, UserError
from tfgen.metrics.calibration import fit_temperature
from tfgen.metrics.conformal import acceptance_threshold
from tfgen.ood.multi_task.ending import FinishesCalibrated
from tfgen.ood.scores import ODIN, Head, Score, check_score
from tfgen.ood.scores.base import value_of
from tfgen.ops.checks import one_of, whole_number
from tfgen.serving import PORTABLE, Signature

# Outputs that one pass through the backbone gives, without any transformation.
PLAIN = ("logits", "features", "images")
# Which score is served where none was chosen, with and without classes: the first that there is.
_WITH_CLASSES, _WITHOUT = ("combined_distance", "combined", "main"), ("ssl",)
_LATER = ("distance", "combined_distance")  # scores that files did not always hold


class Detection(FinishesCalibrated):
    """A `tfgen.training.Model` whose outputs are scored: larger is more out-of-distribution.

    Two steps make a trained model a detector, and what they find is saved with it:

    - `fit_scores` finds the statistics of the scores that have any, from training images;
    - `calibrate` sets the threshold, from images like those to come that training has not seen.

    Attributes:
        scores: dict of the scores by name: "main" (minus the divergence of the softmax from
            uniform), "ensemble" (the same of the mean softmax over transformations), "ssl" (losses
            of the self-supervised heads), "combined" (how rare "main" and "ssl" are, see
            `Combined`), "combined_ensemble", "distance" (`Mahalanobis` of the features from one
            Gaussian), "combined_distance" ("main", "ssl" and "distance"), as far as the model has
            the heads; and those that were added.
        threshold: float32 variable, images whose score is above are refused.
        temperature: float32 variable, which logits are divided by for the served probabilities.
        acceptance: float, the rate of `calibrate` where none is given.
        calibrated_on: int64 variable, images that the threshold was set by; 0: none yet.
        fitted_to: int64 variable, images that scores were fitted to; 0: none yet.
    """

    acceptance: float = 0.95

    def make_detector(self, own: Sequence, others: Sequence, served: str | None) -> None:
        """Called once by the constructor.

        Args:
            own: sequence of the model's own scores, `Score`, the best last or followed by those
                that take an ensemble.
            others: sequence of further ones, or as Keras serialises them.
            served: string, the name of the one that is served; None: the model's own choice.

        Raises:
            ConfigError: there is no such score; one is none; two have one name.
        """
        others = [
            keras.saving.deserialize_keras_object(dict(s)) if isinstance(s, Mapping) else s
            for s in ([others] if isinstance(others, Score | str) else others)
        ]
        for score in others:
            check_score(score)
        names = [score.name for score in (*own, *others)]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"two scores are called {name!r}; give one of them another name")
        self.scores = {score.name: score for score in (*own, *others)}
        self._other_scores = [score.name for score in others]
        for score in self.scores.values():
            if score.is_fitted:
                score.build()
            if isinstance(score, ODIN):
                score.bind(lambda images: self.outputs(images, levels=False)["logits"])
        self._served_score = None if served is None else one_of("score", served, self.scores)
        self.threshold = self._state("threshold", "float32")
        self.temperature = self._state("temperature", "float32", "ones")
        self.calibrated_on = self._state("calibrated_on", "int64")
        self.fitted_to = self._state("fitted_to", "int64")

    def outputs(self, images: tf.Tensor, levels: bool = True) -> dict[str, tf.Tensor]:
        """What all heads say of images, by name, `[B, ...]`; without `levels` one pass only."""
        raise NotImplementedError

    @property
    def served_score(self) -> str:
        """The name of the score that is served."""
        if self._served_score is not None:
            return self._served_score
        preferred = _WITH_CLASSES if "main" in self.scores else _WITHOUT
        names = [name for name in preferred if name in self.scores]
        if int(value_of(self.fitted_to)):
            names = [name for name in names if name not in self.unfitted]
        return names[0]

    @property
    def unfitted(self) -> list[str]:
        """Names of the scores that need `fit_scores` first, maybe since the file was older."""
        found = [name for name, score in self.scores.items() if score.fitted_to]
        if int(value_of(self.fitted_to)):
            return [name for name in found if name in _LATER and self.scores[name].is_blank]
        return found

    @property
    def later_state(self):
        later = [self.scores[name] for name in _LATER if name in self.scores]
        paths = (variable.path for score in later for variable in score.variables)
        return tuple(path.removeprefix(f"{self.name}/") for path in paths)

    # Making it a detector.

    def fit_scores(self, images, labels=None, batch_size: int = 256) -> None:
        """Fits the scores that have statistics; a threshold of one of them has to be set again.

        Args:
            images: `[N, H, W, C]`, training images, as they are: some thousand are enough.
            labels: `[N]` integers, their classes; None where no score needs them.
            batch_size: integer, images computed at once. Defaults to `256`.

        Raises:
            DataError: labels are missing that a score needs, or the outputs are not finite.
        """
        images = self.as_images(images)
        if labels is not None:
            labels, _ = as_labels(np.asarray(labels), len(images), "fit_scores")
        if len(images) < 2:
            raise DataError(f"{len(images)} images cannot fit scores; expected some thousand")
        outputs = self.outputs_of(images, batch_size)
        for score in self.scores.values():
            if score.fitted_to:
                score.fit(outputs, labels, head=self._head())
        self.fitted_to.assign(len(images))
        if self.scores[self.served_score].fitted_to:
            self.calibrated_on.assign(0)  # the threshold was of other statistics

    def calibrate(
        self,
        images,
        labels=None,
        *,
        acceptance: float | None = None,
        score: str | None = None,
        batch_size: int = 256,
    ) -> float:
        """Sets the threshold such that images like the given ones are accepted at a stated rate.

        With n images that training has not seen, the threshold is the k-th smallest of their
        scores, k = ceil((n + 1) acceptance): the next image like them is accepted with at least
        that probability, whatever the scores' distribution (split conformal prediction).

        Args:
            images: `[n, H, W, C]`, in-distribution images that were not trained on.
            labels: `[n]` integers, their classes, by which the served probabilities get a
                temperature that makes them as sure as they are right; None: as before.
            acceptance: float, in (0, 1); None: the model's own, 0.95 unless it was given another.
            score: string, name of the score that is served from now on; None: as before.
            batch_size: integer, images computed at once. Defaults to `256`.

        Returns:
            The threshold.

        Raises:
            DataError: too few images for this rate.
            ConfigError: the rate is out of range; there is no such score.
        """
        name = one_of("score", score or self.served_score, self.scores)
        values = self.ood_score(images, name, batch_size)
        rate = self.acceptance if acceptance is None else acceptance
        threshold = acceptance_threshold(values, rate)
        if labels is not None and self.main_head is not None:
            numbers, names = as_labels(np.asarray(labels), len(values), "calibrate")
            check_all_words(names, self.num_classes, "calibrate")
            logits = self.outputs_of(images, batch_size, levels=False)["logits"]
            self.temperature.assign(fit_temperature(logits, numbers))
        self._served_score = name
        self.threshold.assign(threshold)
        self.calibrated_on.assign(len(values))
        return threshold

    # Using it.

    def ood_score(self, images, score: str | None = None, batch_size: int = 256) -> np.ndarray:
        """How far images are from those it was made for.

        Args:
            images: `[N, H, W, C]` in [0, 1], or 8-bit.
            score: string, which of `scores`; None: the one that is served.
            batch_size: integer, images computed at once. Defaults to `256`.

        Returns:
            float32 `[N]`; larger is further.

        Raises:
            ConfigError: there is no such score.
            UserError: it is not fitted yet.
            DataError: there are no images, or a score is not finite.
        """
        found = self.scores[self._ready(score)]
        levels = self._needs_levels(found)
        values = [
            found({**outputs, "images": batch}).numpy()
            for batch, outputs in self._batches(images, levels, batch_size)
        ]
        values = np.concatenate(values)
        if not np.all(np.isfinite(values)):
            first = int(np.flatnonzero(~np.isfinite(values))[0])
            raise DataError(
                f"the score {found.name!r} of image {first} is {values[first]}; the weights may "
                "not be finite, or training has diverged"
            )
        return values

    def accepts(self, images, batch_size: int = 256) -> np.ndarray:
        """Whether each image is one of those it was made for, boolean `[N]`.

        Args:
            images: `[N, H, W, C]` in [0, 1], or 8-bit.
            batch_size: integer, images computed at once. Defaults to `256`.

        Raises:
            UserError: `calibrate` was not called yet.
        """
        self._check_calibrated()
        return self.ood_score(images, batch_size=batch_size) <= self.threshold.numpy()

    def outputs_of(self, images, batch_size: int = 256, levels: bool = True) -> dict:
        """`outputs` of any number of images, with the images themselves, as NumPy arrays.

        Args:
            images: `[N, H, W, C]` in [0, 1], or 8-bit.
            batch_size: integer, images computed at once. Defaults to `256`.
            levels: whether to compute the transformations. Defaults to `True`.
        """
        parts = list(self._batches(images, levels, batch_size))
        found = {name: np.concatenate([o[name] for _, o in parts]) for name in parts[0][1]}
        return {**found, "images": np.concatenate([batch for batch, _ in parts])}

    def passes(self, score: str | None = None) -> int:
        """Passes through the backbone that a score of one image takes; ODIN's gradient counts one.

        Args:
            score: string, which of `scores`; None: the one that is served.
        """
        found = self.scores[one_of("score", score or self.served_score, self.scores)]
        if "images" in found.needs:
            return 3
        return self.network.copies(plain=True).count if self._needs_levels(found) else 1

    # Serving it.

    def signatures(self):
        images = {"images": tf.TensorSpec([None, *self.image_shape], tf.float32, "images")}
        score = self.scores[self.served_score]
        portable = () if "images" in score.needs else PORTABLE
        why_not = "" if portable else f"the score {score.name!r} takes gradients"
        found = {
            "score": Signature(
                self._served, images, self._example, portable, default=True, why_not=why_not
            )
        }
        if self.main_head is not None:
            found["predict"] = Signature(self._predicted, images, self._example, PORTABLE)
        return found

    def _served(self, images):
        """images -> probabilities (where there are classes), ood_score, accepted."""
        self._check_calibrated()
        score = self.scores[self._ready()]
        outputs = self.outputs(images, levels=self._needs_levels(score))
        values = score({**outputs, "images": images})
        accepted = values <= tf.convert_to_tensor(self.threshold)
        return {**self._probabilities(outputs), "ood_score": values, "accepted": accepted}

    def _predicted(self, images):
        """images -> probabilities, at the cost of a classifier alone."""
        return self._probabilities(self.outputs(images, levels=False))

    def _probabilities(self, outputs):
        if "logits" not in outputs:
            return {}
        return {"probabilities": tf.nn.softmax(outputs["logits"] / self.temperature)}

    def _example(self, batch_size, seed):
        shape = (batch_size, *self.image_shape)
        return {"images": np.random.default_rng(seed).random(shape, np.float32)}

    # Internals.

    def other_scores_config(self) -> list:
        """The scores that were added, as Keras serialises them."""
        return [keras.saving.serialize_keras_object(self.scores[n]) for n in self._other_scores]

    def _state(self, name, dtype, initializer="zeros"):
        return self.add_weight(
            shape=(),
            dtype=dtype,
            initializer=initializer,
            trainable=False,
            aggregation="only_first_replica",
            name=name,
        )

    def _head(self) -> Head | None:
        if self.main_head is None:
            return None
        return Head(*(np.asarray(weight) for weight in self.main_head.weights))

    def _needs_levels(self, score: Score) -> bool:
        return any(need not in PLAIN for need in score.needs)

    def _ready(self, score: str | None = None) -> str:
        """The name of a score that can be computed."""
        name = one_of("score", score or self.served_score, self.scores)
        if name in self.unfitted:
            raise UserError(
                f"the score {name!r} is not fitted; call fit_scores with training images first"
            )
        return name

    def _check_calibrated(self):
        if not int(value_of(self.calibrated_on)):
            raise UserError(
                f"{self.name!r} has no threshold yet; call calibrate with in-distribution images "
                "that were not trained on (of tfgen-train: set config.data.held_out)"
            )

    def _batches(self, images, levels, batch_size):
        """Pairs of a batch and what the heads say of it, NumPy."""
        images = np.asarray(self.as_images(images), np.float32)
        if not len(images):
            raise DataError("there are no images to score; give at least one")
        whole_number("batch_size", batch_size, 1)
        for start in range(0, len(images), batch_size):
            stopping.check()
            batch = images[start : start + batch_size]
            yield batch, {k: v.numpy() for k, v in self._traced(levels)(batch).items()}

    def _traced(self, levels):
        """`outputs` as one graph, for batches of any size."""
        graphs = self.__dict__.setdefault("_graphs_of_outputs", {})
        if levels not in graphs:
            spec = tf.TensorSpec([None, *self.image_shape], tf.float32)
            graphs[levels] = tf.function(
                lambda images: self.outputs(images, levels=levels), [spec], autograph=False
            )
        return graphs[levels]
