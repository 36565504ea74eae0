"""The attacks of an audit: one inversion for each of their settings, with and without the gradient.

An attacker is given what the threat model lets it know of a batch, and nothing else.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfgen.privacy.attack.inversion import GradientInversion, Inversion
from tfgen.privacy.attack.settings import AttackSettings
from tfgen.privacy.attack.threat_model import ThreatModel
from tfgen.privacy.audit.batches import Batch
from tfgen.privacy.network.forward import Statistics


class Attacker:
    """Attacks batches of one client.

    Args:
        model: a built Keras classifier, `keras.Model`.
        loss: Keras loss, its name or a function, see `SharedNetwork`.
        threat_model: a `ThreatModel`, what the attacker knows.
        client: dictionary of other arguments of `SharedNetwork`, by name.
        settings: `AttackSettings` of any of the attacks; finds at once whatever does not fit the
            model.
        seed: integer, of attacks, defences and the client's dropout.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Any,
        threat_model: ThreatModel,
        client: Mapping[str, Any],
        settings: AttackSettings,
        seed: int,
    ):
        self.threat_model, self.seed = threat_model, seed
        self._model, self._loss, self._client = model, loss, dict(client)
        self._inversions: dict[str, GradientInversion] = {}
        self._priors: dict[tuple, Inversion] = {}
        self.network = self._inversion(settings).network

    def attack(
        self,
        batch: Batch,
        settings: AttackSettings,
        gradients: Sequence[tf.Tensor],
        masks: Sequence[tf.Tensor] | None = None,
        workdir: str | os.PathLike | None = None,
        verbose: int = 0,
    ) -> Inversion:
        """What an attack restores of a batch from a released gradient.

        Args:
            batch: a `Batch`, of which the threat model may know labels, size and statistics.
            settings: `AttackSettings` of the attack.
            gradients: tensors that were released, one for each trainable variable.
            masks: tensors, 1 where a gradient says something, or None.
            workdir: path of a folder for the state of the attack, or None.
            verbose: integer; 1 shows a progress bar. Defaults to `0`.
        """
        known = self.threat_model
        statistics = None
        if known.batch_norm_statistics == "batch":
            statistics = self.known_statistics(batch)
        return self._inversion(settings).run(
            gradients,
            batch_size=len(batch.labels) if known.batch_size == "known" else None,
            labels=batch.labels if known.labels == "known" else None,
            batch_norm_statistics=statistics,
            masks=masks,
            seed=self.seed,
            verbose=verbose,
            checkpoint=_checkpoint(workdir, batch, settings, gradients),
        )

    def attack_without_gradient(
        self,
        batch: Batch,
        settings: AttackSettings,
        truth: Sequence[tf.Tensor],
        workdir: str | os.PathLike | None = None,
    ) -> Inversion:
        """The control of an attack; run once, since it is the same under every defence.

        Args:
            batch: a `Batch`, as for `attack`.
            settings: `AttackSettings` of the attack.
            truth: tensors, the gradient without a defence, for the labels that it gives away.
            workdir: path of a folder, as for `attack`, or None.
        """
        settings = _without_gradient(settings)
        key = (len(batch.labels), batch.number, _text(settings))
        if key not in self._priors:
            self._priors[key] = self.attack(batch, settings, truth, None, workdir)
        return self._priors[key]

    def forget(self) -> None:
        """Lets go of the controls of earlier images."""
        self._priors.clear()

    def client_seed(self, batch: Batch) -> int:
        """Of the noise of defences and the client's dropout masks in the step of a batch."""
        stream = [self.seed, len(batch.labels), batch.number]
        return int(np.random.default_rng(stream).integers(2**31))

    def known_statistics(self, batch: Batch) -> Sequence[Statistics] | None:
        """Batch-norm statistics that the attacker has, or None."""
        kind = self.threat_model.batch_norm_statistics
        if kind == "none":
            return None
        if kind == "moving":
            return self.network.moving_statistics()
        return self.network.statistics(batch.images, batch.labels, self.client_seed(batch))

    def _inversion(self, settings):
        key = _text(settings)
        if key not in self._inversions:
            self._inversions[key] = GradientInversion(
                self._model,
                self._loss,
                threat_model=self.threat_model,
                **self._client,
                **settings.get_config(),
            )
        return self._inversions[key]


def _without_gradient(settings):
    """The same priors and budget, and no gradient."""
    if settings.optimizer == "lbfgs":
        settings = dataclasses.replace(settings, num_steps=1)
    # What becomes of the gradient makes no difference to it.
    return dataclasses.replace(
        settings,
        gradient_weight=0.0,
        gradient_form="norm",
        fit_scale=False,
        layer_weights=None,
        late_kernels=0.0,
    )


def _checkpoint(workdir, batch, settings, gradients):
    """One file for each attack, named by all that decides its course."""
    if workdir is None:
        return None
    digest = hashlib.sha256(_text(settings).encode())
    digest.update(batch.images.tobytes())
    for tensor in gradients:
        digest.update(np.ascontiguousarray(tensor).tobytes())
    return Path(workdir) / f"{digest.hexdigest()[:16]}.safetensors"


def _text(settings):
    return json.dumps(settings.get_config(), sort_keys=True)
