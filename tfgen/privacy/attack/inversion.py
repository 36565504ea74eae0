"""GradInversion: the images of a batch out of its gradient (Yin et al., 2021, arXiv:2104.07586)."""

import os
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.privacy.attack import lbfgs
from tfgen.privacy.attack.descent import descend
from tfgen.privacy.attack.given import checked_gradients, checked_masks, whole
from tfgen.privacy.attack.gradient_metric import metric_around
from tfgen.privacy.attack.optimization import Optimization
from tfgen.privacy.attack.restoration import labels_of
from tfgen.privacy.attack.result import Inversion, inversion_of
from tfgen.privacy.attack.resumption import Checkpoint, fingerprint
from tfgen.privacy.attack.settings import AttackSettings
from tfgen.privacy.attack.state import Evidence
from tfgen.privacy.attack.threat_model import ThreatModel
from tfgen.privacy.network.forward import Statistics
from tfgen.privacy.network.shared import SharedNetwork


class GradientInversion:
    """Restores labels, then images, from one gradient of a classifier.

    Candidates start as noise; Adam moves their pixels until the gradient they cause equals the
    shared one, helped by image priors, batch-norm statistics and the agreement of several seeds.
    The model is never written to.

    Args:
        model: a built Keras classifier, `keras.Model`.
        loss: Keras loss, its name or a function, see `SharedNetwork`; None is cross-entropy.
        threat_model: a `ThreatModel`, what the attacker knows.
        pixel_mean: float or sequence of one a channel, of the client's normalisation, see
            `SharedNetwork`. Defaults to `0.0`.
        pixel_std: float or sequence, likewise. Defaults to `1.0`.
        class_weight: dict of factors by class index, see `SharedNetwork`; None: all one.
        jit_compile: whether XLA compiles the loop; None: on GPUs, where it is faster. Its random
            numbers from one seed are others, so noise, jitter and flips differ.
        **settings: keyword arguments, see `AttackSettings`.

    Raises:
        UserError: the threat model knows batch-norm statistics, and the model has no batch norm.

    Example:

    >>> attack = GradientInversion(
    ...     model,
    ...     threat_model=ThreatModel(
    ...         batch_norm_mode="train",
    ...         batch_norm_statistics="none",
    ...         labels="restored",
    ...         batch_size="known",
    ...     ),
    ...     num_steps=2000,
    ... )  # doctest: +SKIP
    >>> attack.run(gradients, batch_size=4).images  # doctest: +SKIP
    """

    def __init__(
        self,
        model: keras.Model,
        loss=None,
        *,
        threat_model: ThreatModel,
        pixel_mean: float | Sequence[float] = 0.0,
        pixel_std: float | Sequence[float] = 1.0,
        class_weight: Mapping[int, float] | None = None,
        jit_compile: bool | None = None,
        **settings,
    ):
        self.threat_model = threat_model
        self.settings = AttackSettings.from_config(settings)
        self.network = SharedNetwork(
            model,
            loss,
            batch_norm_mode=threat_model.batch_norm_mode,
            pixel_mean=pixel_mean,
            pixel_std=pixel_std,
            class_weight=class_weight,
            differentiable_labels=threat_model.labels == "optimized",
        )
        if threat_model.batch_norm_statistics != "none" and not self.network.batch_norms:
            raise UserError(
                f"threat_model.batch_norm_statistics is {threat_model.batch_norm_statistics!r}, "
                "but the model has no batch-norm layer; choose 'none'"
            )
        if jit_compile is None:
            jit_compile = bool(tf.config.list_physical_devices("GPU"))
        self._optimization = Optimization(
            self.network, self.settings, threat_model.labels == "optimized", jit_compile
        )

    def run(
        self,
        gradients: Sequence[tf.Tensor],
        *,
        batch_size: int | None = None,
        labels: np.ndarray | None = None,
        batch_norm_statistics: Sequence[Statistics] | None = None,
        masks: Sequence[tf.Tensor] | None = None,
        sample_weight: np.ndarray | None = None,
        seed: int = 0,
        verbose: int = 1,
        checkpoint: str | os.PathLike | None = None,
        steps_per_call: int | None = None,
        callback: Callable[[int, dict[str, float]], None] | None = None,
    ) -> Inversion:
        """Attacks one gradient.

        Args:
            gradients: sequence of one tensor for each trainable variable of the model, in its
                order: the mean over the batch.
            batch_size: integer K; None where the threat model does not know it.
            labels: array `[K]`, `[K, 1]` or soft `[K, N]`, where the threat model knows them, else
                None.
            batch_norm_statistics: sequence of pairs of the client's batch, where the threat model
                knows them: mean and biased variance of the input of every batch-norm layer. Else
                None.
            masks: sequence of tensors like `gradients`, where the gradient says something (1) or
                nothing (0); None: all one.
            sample_weight: the client's factors on the loss of each image, `[K]`; None: all one.
            seed: integer, the first seed; others count up from it. Defaults to `0`.
            verbose: integer; 1 shows a progress bar with the current objective, 0 nothing. Defaults
                to `1`.
            checkpoint: path of a file to save to once a minute and to continue from if it exists;
                None saves nothing.
            steps_per_call: integer, steps between looks at the objective; None: as many as take
                some seconds, at most 100. Changes no result.
            callback: function called with the step and the mean terms after every such look, or
                None.

        Returns:
            Images, labels and what the run measured.

        Raises:
            UserError: gradients that are not finite or do not fit the model, labels out of range,
                something the threat model promises and nobody gave, an objective that overflows,
                a checkpoint of another attack.
            Stopped: a signal arrived; the state was saved first.
        """
        target = self.check_gradients(gradients)
        targets = self._targets(target, whole(batch_size), labels)
        evidence = Evidence(
            target,
            targets,
            self._statistics(batch_norm_statistics),
            checked_masks(masks, self.network),
            tf.range(seed, seed + self.settings.num_seeds),
            self.network.checked_weights(sample_weight, targets.shape[0]),
        )
        if self.settings.gradient_form == "whitened" and self.settings.gradient_weight:
            evidence = evidence._replace(
                metric=metric_around(self.network, self.settings, evidence)
            )
        kept, history = Checkpoint(checkpoint, self._identity(evidence)), []
        if self.settings.optimizer == "lbfgs":
            state, seconds = lbfgs.minimize(self._optimization, evidence, kept)
        else:
            state, history, seconds = descend(
                self._optimization,
                evidence,
                kept,
                verbose=verbose,
                steps_per_call=steps_per_call,
                callback=callback,
            )
        return inversion_of(self._optimization, state, evidence, history, seconds)

    def check_gradients(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The gradients as tensors of the network's type.

        Raises:
            UserError: their number, shapes or values do not fit the model.
        """
        return checked_gradients(gradients, self.network)

    def restore_labels(
        self, gradients: Sequence[tf.Tensor], batch_size: int | None = None
    ) -> np.ndarray:
        """Labels from the gradient of the last dense layer; see `tfgen.privacy.restore_labels`.

        Args:
            gradients: sequence of tensors, as for `run`.
            batch_size: integer K; None: the number of classes that the gradient proves present.

        Raises:
            UserError: the model ends in no dense layer, or the rule does not fit.
        """
        method = self.settings.label_method
        return labels_of(self.network, gradients, whole(batch_size), method)

    def _targets(self, target, batch_size, labels):
        """What the slots are trained towards, by the rules of the threat model."""
        model = self.threat_model
        if model.labels == "known":
            if labels is None:
                raise UserError("the threat model knows the labels, but none were given")
            if batch_size is not None and len(np.atleast_1d(labels)) != batch_size:
                raise UserError(f"{len(labels)} labels came for a batch of {batch_size}")
            return self.network.one_hot(labels)
        if model.batch_size == "known" and batch_size is None:
            raise UserError("the threat model knows the batch size, but none was given")
        known_size = batch_size if model.batch_size == "known" else None
        if model.labels == "restored" or known_size is None:
            return self.network.one_hot(self.restore_labels(target, known_size))
        # A shape for labels that will be optimised.
        return tf.zeros([known_size, self.network.num_classes], self.network.dtype)

    def _statistics(self, given):
        kind = self.threat_model.batch_norm_statistics
        if kind == "none" or not self.settings.batch_norm_weight:
            return []
        if kind == "moving":
            given = self.network.moving_statistics()
        if given is None:
            raise UserError(
                "the threat model knows the batch-norm statistics of the client's batch, but none "
                "were given; SharedNetwork.statistics computes them"
            )
        return [tuple(tf.cast(value, self.network.dtype) for value in pair) for pair in given]

    def _identity(self, evidence):
        """What has to be equal for a run to be the same run."""
        network = self.network
        weights = evidence.sample_weight, network.loss.class_weight
        sample_weight, class_weight = ([] if w is None else [w] for w in weights)
        return {
            "settings": self.settings.get_config(),
            "threat_model": self.threat_model.get_config(),
            "loss": network.loss.name,
            "seeds": evidence.seeds.numpy().tolist(),
            "weights": fingerprint(network.model.weights),
            "pixel_mean and pixel_std": fingerprint([network.pixel_mean, network.pixel_std]),
            "gradients": fingerprint(evidence.gradients),
            "labels": fingerprint([evidence.labels]),
            "batch_norm_statistics": fingerprint(tf.nest.flatten(evidence.statistics)),
            "masks": fingerprint(evidence.masks),
            "sample_weight": fingerprint(sample_weight),
            "class_weight": fingerprint(class_weight),
        }
