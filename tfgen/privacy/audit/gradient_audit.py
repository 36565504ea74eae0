"""The audit: attacks against defences on a client's own batches, with controls.

Of every batch: the gradient is released through each defence, attacked by every attack adapted to
it, and each reconstruction is compared with its original. The same attacks without the gradient,
and unrelated images, say how much of that the gradient has given away.
"""

import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tfgen
from tfgen.data.labels import as_labels
from tfgen.errors import UserError
from tfgen.privacy.attack.inversion import GradientInversion, Inversion
from tfgen.privacy.attack.settings import attack_settings
from tfgen.privacy.attack.threat_model import ThreatModel
from tfgen.privacy.audit import leakage
from tfgen.privacy.audit.batches import Batch, Protocol
from tfgen.privacy.audit.cells import Attacked
from tfgen.privacy.audit.convergence import Distances, Yardstick
from tfgen.privacy.audit.result import AuditResult
from tfgen.privacy.audit.scoring import PRIOR_ONLY, UNRELATED, Scorer
from tfgen.privacy.defence.base import NoDefence
from tfgen.privacy.network.inputs import as_images
from tfgen.training.allocator import peak_memory_gib

__all__ = ["PRIOR_ONLY", "UNRELATED", "GradientAudit"]


class GradientAudit:
    """Asks of one classifier what its gradients show, and which defence stops it.

    Args:
        model: a built Keras classifier, `keras.Model`; never written to.
        loss: Keras loss, its name or a function, see `SharedNetwork`; None is cross-entropy.
        threat_model: a `ThreatModel`, what the attacker knows.
        attacks: dict by name of the settings of each: those of `AttackSettings`, on top of a
            `preset` of `ATTACKS` ("gradinversion" if none is named).
        defences: sequence of the defences to release gradients through. `NoDefence()` belongs among
            them, and alone is the default: without the bare gradient no attack can show that it
            would have found a leak.
        batch_sizes: sequence of integers K. Defaults to `(4,)`.
        num_batches: integer, batches drawn of each size. Defaults to `1`.
        unique_labels: whether no class repeats in a batch (the paper's protocol); else batches
            follow the frequencies of the data. Defaults to `True`.
        pool_size: integer, images among which a source has to be identified, where there are as
            many. Defaults to `256`.
        threshold_db: float, margin in decibel over the controls from which on a gradient is said to
            leak. Defaults to `1.0`.
        pixel_mean: float or sequence of one a channel, of the client's normalisation, see
            `SharedNetwork`. Defaults to `0.0`.
        pixel_std: float or sequence, likewise. Defaults to `1.0`.
        class_weight: dict of factors by class index, see `SharedNetwork`; None: all one.
        delta: float, at which epsilon is stated. Defaults to `1e-5`.
        seed: integer, seed of batches, defences and attacks. Defaults to `0`.

    Raises:
        UserError: no attacks, defences or batch sizes, or settings that cannot be.
    """

    def __init__(
        self,
        model: keras.Model,
        loss=None,
        *,
        threat_model: ThreatModel,
        attacks: Mapping[str, Mapping[str, Any]],
        defences: Sequence[NoDefence] = (NoDefence(),),
        batch_sizes: Sequence[int] = (4,),
        num_batches: int = 1,
        unique_labels: bool = True,
        pool_size: int = 256,
        threshold_db: float = 1.0,
        pixel_mean: float | Sequence[float] = 0.0,
        pixel_std: float | Sequence[float] = 1.0,
        class_weight: Mapping[int, float] | None = None,
        delta: float = 1e-5,
        seed: int = 0,
    ):
        if not attacks or not defences or not batch_sizes:
            raise UserError("an audit needs at least one attack, one defence and one batch size")
        self.model, self.loss, self.threat_model = model, loss, threat_model
        self.attacks = {name: attack_settings(config) for name, config in attacks.items()}
        self.defences, self.batch_sizes = list(defences), list(batch_sizes)
        self.num_batches, self.protocol = num_batches, Protocol(unique_labels, seed)
        self.pool_size, self.threshold_db = pool_size, threshold_db
        self.delta, self.seed = delta, seed
        self._client = dict(pixel_mean=pixel_mean, pixel_std=pixel_std, class_weight=class_weight)
        self._inversions: dict[str, GradientInversion] = {}
        self._priors: dict[tuple, Inversion] = {}
        # Finds at once whatever does not fit the model.
        self.network = self._inversion(next(iter(self.attacks.values()))).network
        self.features = leakage.FeatureDistance(self.network)
        for defence in self.defences:
            defence.check(self.network)

    def run(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        data: Mapping[str, Any] | None = None,
        workdir: str | os.PathLike | None = None,
        report: Callable[[str], None] = print,
        verbose: int = 1,
    ) -> AuditResult:
        """Draws batches, attacks them and scores what comes out.

        Args:
            images: array `[N, H, W, C]`, float in [0, 1] or uint8: the client's.
            labels: array of class indices `[N]` or `[N, 1]`, or one-hot `[N, C]`.
            data: what the report is to say of the images, `name` and `split`.
            workdir: path of a folder for the states of attacks, from which an interrupted audit
                goes on; None keeps none.
            report: function called with a line of text about every attack. Defaults to `print`.
            verbose: integer; 1 shows a progress bar for every attack, 0 nothing. Defaults to `1`.

        Raises:
            UserError: too few images or classes, or images that do not fit the model.
        """
        images, labels = self.check(images, labels)
        self._priors.clear()
        scorer = Scorer(images, labels, self.protocol, self.pool_size, self.features)
        facts = self._describe_data(images, labels)
        facts["accuracy"] = self._accuracy(images, labels, scorer.pool.order[: self.pool_size])
        result = AuditResult(
            {**self.describe(), "data": {**(data or {}), **facts}}, self.threshold_db
        )
        for size, number, defence in self._releases():
            batch = self.draw(images, labels, size * defence.batch_factor, number)
            for attacked in self._attack_batch(batch, size, defence, scorer, workdir, verbose):
                result.add(attacked, batch.images)
                report(_line(attacked, self.threat_model.labels == "known"))
        result.peak_memory_gib = peak_memory_gib()
        return result

    def check(self, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images as float32 in [0, 1] and their labels, of which every batch can be drawn.

        Raises:
            UserError: as for `run`, which calls this first.
        """
        images, labels = self._checked(images, labels)
        for size, number, defence in self._releases():
            self.draw(images, labels, size * defence.batch_factor, number)
        return images, labels

    def draw(self, images: np.ndarray, labels: np.ndarray, batch_size: int, number: int) -> Batch:
        """Batch `number` of its size; depends on the seed, and on nothing drawn before."""
        return self.protocol.draw(images, labels, batch_size, number)

    def describe(self) -> dict[str, Any]:
        """Everything that was decided before the first attack, as JSON holds it."""
        return {
            "model": self.model.name,
            "parameters": int(sum(np.prod(v.shape) for v in self.network.variables)),
            "batch_norm_layers": len(self.network.batch_norms),
            "image_shape": list(self.network.image_shape),
            "num_classes": self.network.num_classes,
            "threat_model": self.threat_model.get_config(),
            "assumptions": self._assumptions(),
            "attacks": {name: s.get_config() for name, s in self.attacks.items()},
            "defences": [d.get_config() for d in self.defences],
            "defence_sentences": {d.describe(): d.explain() for d in self.defences},
            "batch_sizes": self.batch_sizes,
            "num_batches": self.num_batches,
            "unique_labels": self.protocol.unique_labels,
            "pool_size": self.pool_size,
            "threshold_db": self.threshold_db,
            "feature_extractor": self.features.name,
            "delta": self.delta,
            "seed": self.seed,
            "created": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "versions": {
                "tfgen": tfgen.__version__,
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
        }

    def _assumptions(self):
        network = self.network
        return self.threat_model.describe(bool(network.batch_norms), bool(network.random_states))

    def _accuracy(self, images, labels, chosen):
        """How many of some images the network classifies rightly: how far it is trained."""
        right = []
        for start in range(0, len(chosen), 64):
            part = chosen[start : start + 64]
            outputs = self.model(self.network.normalize(images[part]), training=False)
            right.append(np.argmax(outputs, axis=-1) == labels[part])
        return float(np.mean(np.concatenate(right)))

    def _describe_data(self, images, labels):
        """What was audited: its size, and how its batches came out."""
        drawn = [
            self.draw(images, labels, size * defence.batch_factor, number).labels
            for size, number, defence in self._releases()
        ]
        sizes = [size * defence.batch_factor for size, _, defence in self._releases()]
        return {
            "num_images": len(images),
            "num_classes": len(np.unique(labels)),
            "pool_size": max(min(self.pool_size, len(images)), *sizes),
            "repeated_classes": any(len(np.unique(x)) < len(x) for x in drawn),
            "compared_with_same_classes": sorted(
                {n for n in sizes if self.protocol.keeps_labels(labels, n)}
            ),
        }

    def _releases(self):
        """Batch size, number of the batch and defence of everything that is shared."""
        return [
            (size, number, defence)
            for size in self.batch_sizes
            for number in range(self.num_batches)
            for defence in self.defences
        ]

    def _attack_batch(self, batch, size, defence, scorer, workdir, verbose):
        """Every attack on one released gradient, as they end."""
        seed = self._seed(batch)
        truth = self.network.gradients(batch.images, batch.labels, seed)
        released = defence.release(self.network, batch.images, batch.labels, seed)
        masks, similarity = defence.masks(released), _cosine(truth, released)
        for name, settings in self.attacks.items():
            adapted = defence.adapt(settings)
            found = self._invert(batch, adapted, released, masks, workdir, verbose)
            prior = self._prior(batch, adapted, truth, workdir)
            scored = scorer.score(batch, found, prior)
            yardstick = Yardstick(
                self.network, adapted, released, masks, self._known_statistics(batch)
            )
            facts = dict(
                batch_size=size,
                effective_batch_size=len(batch.images),
                defence=defence.describe(),
                attack=name,
                batch=batch.number,
                epsilon=defence.epsilon(self.delta),
                gradient_similarity=similarity,
                # Labels beyond the batch's size are wrong ones.
                label_accuracy=int(scored.label_overlaps[0])
                / max(len(batch.labels), len(found.labels)),
                pool_size=len(scorer.pool.around(batch.indices)),
                gradient_form=yardstick.form,
                steps=found.num_steps,
                seconds=found.seconds,
                seconds_per_step=found.seconds_per_step,
            )
            gradient, batch_norm = _distances(yardstick, batch, found, prior)
            bare = type(defence) is NoDefence
            yield Attacked(facts, scored, gradient, batch_norm, bare)

    def _invert(self, batch, settings, gradients, masks, workdir, verbose) -> Inversion:
        inversion = self._inversion(settings)
        statistics = None
        if self.threat_model.batch_norm_statistics == "batch":
            statistics = self._known_statistics(batch)
        known = self.threat_model.batch_size == "known"
        return inversion.run(
            gradients,
            batch_size=len(batch.labels) if known else None,
            labels=batch.labels if self.threat_model.labels == "known" else None,
            batch_norm_statistics=statistics,
            masks=masks,
            seed=self.seed,
            verbose=verbose,
            checkpoint=self._checkpoint(workdir, batch, settings, gradients),
        )

    def _prior(self, batch, settings, truth, workdir) -> Inversion:
        """The attack without the gradient, which is the same whatever the defence changed of it."""
        settings = _without_gradient(settings)
        key = (len(batch.labels), batch.number, _text(settings))
        if key not in self._priors:
            self._priors[key] = self._invert(batch, settings, truth, None, workdir, 0)
        return self._priors[key]

    def _seed(self, batch):
        """Of the noise of defences and the client's dropout masks in the step of a batch."""
        return int(
            np.random.default_rng([self.seed, len(batch.labels), batch.number]).integers(2**31)
        )

    def _known_statistics(self, batch):
        """Batch-norm statistics that the attacker has, or None."""
        kind = self.threat_model.batch_norm_statistics
        if kind == "none":
            return None
        if kind == "moving":
            return self.network.moving_statistics()
        return self.network.statistics(batch.images, batch.labels, self._seed(batch))

    def _inversion(self, settings):
        key = _text(settings)
        if key not in self._inversions:
            self._inversions[key] = GradientInversion(
                self.model,
                self.loss,
                threat_model=self.threat_model,
                **self._client,
                **settings.get_config(),
            )
        return self._inversions[key]

    def _checkpoint(self, workdir, batch, settings, gradients):
        """One file for each attack, named by all that decides its course."""
        if workdir is None:
            return None
        digest = hashlib.sha256(_text(settings).encode())
        digest.update(batch.images.tobytes())
        for tensor in gradients:
            digest.update(np.ascontiguousarray(tensor).tobytes())
        return Path(workdir) / f"{digest.hexdigest()[:16]}.safetensors"

    def _checked(self, images, labels):
        images = as_images(images, self.network.image_shape).astype(np.float32)
        labels = as_labels(labels, len(images), "the audit").numbers
        self.network.one_hot(labels)
        return images, labels


def _without_gradient(settings):
    """The control of an attack: the same priors and budget, and no gradient."""
    if settings.optimizer == "lbfgs":
        settings = dataclasses.replace(settings, num_steps=1)
    # What becomes of the gradient makes no difference to it.
    return dataclasses.replace(
        settings, gradient_weight=0.0, gradient_form="norm", fit_scale=False, layer_weights=None
    )


def _text(settings):
    return json.dumps(settings.get_config(), sort_keys=True)


def _cosine(a, b):
    a, b = (np.concatenate([np.ravel(x) for x in y]).astype(np.float64) for y in (a, b))
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-300))


def _distances(yardstick, batch, found: Inversion, prior: Inversion):
    """Of the gradient, and of batch-norm statistics where some are known."""
    beside = {
        "originals": (batch.images, batch.labels),
        "prior": (prior.images, prior.labels),
        "unrelated": (batch.unrelated, batch.labels),
    }
    gradient = Distances(
        reached=yardstick.reached(found),
        **{name: yardstick.gradient(*pair) for name, pair in beside.items()},
    )
    if not yardstick.statistics:
        return gradient, None
    batch_norm = Distances(
        reached=yardstick.batch_norm(found.images, found.labels),
        **{name: yardstick.batch_norm(*pair) for name, pair in beside.items()},
    )
    return gradient, batch_norm


def _line(attacked: Attacked, given: bool) -> str:
    """One attack in a line; labels may have been given to it."""
    facts, rows, distances = attacked.facts, attacked.scored.rows, attacked.gradient
    labels = "given" if given else f"{facts['label_accuracy']:.0%}"
    psnr, best = (np.mean([row[c] for row in rows]) for c in ("psnr_db", "control_psnr_db"))
    return (
        f"batch {facts['batch_size']} #{facts['batch']}  {facts['defence']}  {facts['attack']}: "
        f"PSNR {psnr:.2f} dB (controls {best:.2f}), labels {labels}, gradient "
        f"distance {distances.reached:.3g} (originals {distances.originals:.3g}, unrelated "
        f"{distances.unrelated:.3g}), {facts['seconds']:.0f} s "
        f"({1e3 * facts['seconds_per_step']:.0f} ms a step)"
    )
