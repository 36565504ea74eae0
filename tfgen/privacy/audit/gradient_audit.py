"""The audit: attacks against defences on a client's own batches, with controls.

Of every batch: the gradient is released through each defence, attacked by every attack adapted to
it, and each reconstruction is compared with its original. The same attacks without the gradient,
and unrelated images, say how much of that the gradient has given away.
"""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tfgen
from tfgen.data.labels import as_labels
from tfgen.errors import UserError
from tfgen.privacy.attack.settings import attack_settings
from tfgen.privacy.attack.threat_model import ThreatModel
from tfgen.privacy.audit import leakage, sentences
from tfgen.privacy.audit.attacker import Attacker
from tfgen.privacy.audit.batches import Batch, Protocol
from tfgen.privacy.audit.cells import Attacked
from tfgen.privacy.audit.convergence import Yardstick, measure
from tfgen.privacy.audit.result import AuditResult
from tfgen.privacy.audit.scoring import PRIOR_ONLY, UNRELATED, Scorer
from tfgen.privacy.defence.base import NoDefence
from tfgen.privacy.defence.utility import classify
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
        client = dict(pixel_mean=pixel_mean, pixel_std=pixel_std, class_weight=class_weight)
        first = next(iter(self.attacks.values()))
        self._attacker = Attacker(model, loss, threat_model, client, first, seed)
        self.network = self._attacker.network
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
        self._attacker.forget()
        scorer = Scorer(images, labels, self.protocol, self.pool_size, self.features)
        facts = self._describe_data(images, labels, scorer.pool.order[: self.pool_size])
        described = {**self.describe(), "data": {**(data or {}), **facts}}
        result = AuditResult(described, self.threshold_db)
        for size, number, defence in self._releases():
            batch = self.draw(images, labels, size * defence.batch_factor, number)
            for attacked in self._attack_batch(batch, size, defence, scorer, workdir, verbose):
                result.add(attacked, batch.images)
                report(sentences.attack(attacked, self.threat_model.labels == "known"))
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
        return self.threat_model.describe(
            bool(network.batch_norms), bool(network.random_states), network.frozen_batch_norms
        )

    def _describe_data(self, images, labels, shown):
        """What was audited, how its batches came out, and how far the network knows it."""
        drawn = [
            self.draw(images, labels, size * defence.batch_factor, number).labels
            for size, number, defence in self._releases()
        ]
        sizes = [len(batch) for batch in drawn]
        return {
            "num_images": len(images),
            "num_classes": len(np.unique(labels)),
            "pool_size": max(min(self.pool_size, len(images)), *sizes),
            "repeated_classes": any(len(np.unique(x)) < len(x) for x in drawn),
            "compared_with_same_classes": sorted(
                {n for n in sizes if self.protocol.keeps_labels(labels, n)}
            ),
            "accuracy": float(np.mean(classify(self.network, images[shown]) == labels[shown])),
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
        seed = self._attacker.client_seed(batch)
        truth = self.network.gradients(batch.images, batch.labels, seed)
        released = defence.release(self.network, batch.images, batch.labels, seed)
        masks, similarity = defence.masks(released), _cosine(truth, released)
        statistics = self._attacker.known_statistics(batch)
        for name, settings in self.attacks.items():
            adapted = defence.adapt(settings)
            found = self._attacker.attack(batch, adapted, released, masks, workdir, verbose)
            prior = self._attacker.attack_without_gradient(batch, adapted, truth, workdir)
            scored = scorer.score(batch, found, prior)
            yardstick = Yardstick(self.network, adapted, released, masks, statistics)
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
            gradient, batch_norm = measure(yardstick, batch, found, prior)
            bare = type(defence) is NoDefence
            yield Attacked(facts, scored, gradient, batch_norm, bare)

    def _checked(self, images, labels):
        images = as_images(images, self.network.image_shape).astype(np.float32)
        labels = as_labels(labels, len(images), "the audit").numbers
        self.network.one_hot(labels)
        return images, labels


def _cosine(a, b):
    a, b = (np.concatenate([np.ravel(x) for x in y]).astype(np.float64) for y in (a, b))
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-300))
