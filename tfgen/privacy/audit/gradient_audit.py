"""The audit: attacks against defences on a client's own batches, with controls.

Of every batch: the gradient is released through each defence, attacked by every attack adapted to
it, and each reconstruction is compared with its original. The same attacks without the gradient,
and unrelated images, say how much of that the gradient has given away.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfgen.errors import UserError
from tfgen.privacy.attack.inversion import GradientInversion, Inversion
from tfgen.privacy.attack.labels import label_accuracy
from tfgen.privacy.attack.settings import attack_settings
from tfgen.privacy.attack.threat_model import ThreatModel
from tfgen.privacy.audit import leakage
from tfgen.privacy.audit.batches import Batch, draw_batch
from tfgen.privacy.audit.result import AuditResult
from tfgen.privacy.defence.base import NoDefence
from tfgen.training.allocator import peak_memory_gib

PRIOR_ONLY, UNRELATED = "without gradient", "unrelated images"


class GradientAudit:
    """Asks of one classifier what its gradients show, and which defence stops it.

    Args:
        model: a built Keras classifier; never written to.
        loss: see `SharedNetwork`.
        threat_model: what the attacker knows.
        attacks: by name, the settings of each: those of `AttackSettings`, on top of a `preset` of
            `ATTACKS` ("gradinversion" if none is named).
        defences: what to release gradients through; the first should be `NoDefence()`.
        batch_sizes: K.
        num_batches: drawn of each size.
        unique_labels: whether no class repeats in a batch (the paper's protocol); else batches
            follow the frequencies of the data.
        pool_size: images among which a source has to be identified.
        threshold_db: margin over the controls from which on a gradient is said to leak.
        pixel_mean: of the client's normalisation, see `SharedNetwork`.
        pixel_std: likewise.
        delta: at which epsilon is stated.
        seed: of batches, defences and attacks.

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
        delta: float = 1e-5,
        seed: int = 0,
    ):
        if not attacks or not defences or not batch_sizes:
            raise UserError("an audit needs at least one attack, one defence and one batch size")
        self.model, self.loss, self.threat_model = model, loss, threat_model
        self.attacks = {name: attack_settings(config) for name, config in attacks.items()}
        self.defences, self.batch_sizes = list(defences), list(batch_sizes)
        self.num_batches, self.unique_labels = num_batches, unique_labels
        self.pool_size, self.threshold_db = pool_size, threshold_db
        self.delta, self.seed = delta, seed
        self._pixels = dict(pixel_mean=pixel_mean, pixel_std=pixel_std)
        self._inversions: dict[str, GradientInversion] = {}
        # Finds at once whatever does not fit the model.
        self.network = self._inversion(next(iter(self.attacks.values()))).network
        self.features = leakage.FeatureDistance(self.network)

    def run(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        workdir: str | os.PathLike | None = None,
        report: Callable[[str], None] = print,
        verbose: int = 1,
    ) -> AuditResult:
        """Draws batches, attacks them and scores what comes out.

        Args:
            images: `[N, H, W, C]`, float in [0, 1] or uint8: the client's.
            labels: `[N]`.
            workdir: folder for the states of attacks, from which an interrupted audit goes on.
            report: called with a line of text about every attack.
            verbose: 1 shows a progress bar for every attack.

        Raises:
            UserError: too few images or classes, or images that do not fit the model.
        """
        images, labels = self._checked(images, labels)
        result = AuditResult(self.describe(), self.pool_size, self.threshold_db)
        for size in self.batch_sizes:
            for number in range(self.num_batches):
                for defence in self.defences:
                    batch = self.draw(images, labels, size * defence.batch_factor, number)
                    pool = self._pool(images, batch)
                    self._attack_batch(result, batch, size, defence, pool, workdir, report, verbose)
        result.peak_memory_gib = peak_memory_gib()
        return result

    def draw(self, images: np.ndarray, labels: np.ndarray, batch_size: int, number: int) -> Batch:
        """Batch `number` of its size; depends on the seed, and on nothing drawn before."""
        return draw_batch(images, labels, batch_size, number, self.unique_labels, self.seed)

    def describe(self) -> dict[str, Any]:
        """Everything that was decided before the first attack, as JSON holds it."""
        return {
            "model": self.model.name,
            "parameters": int(sum(np.prod(v.shape) for v in self.network.variables)),
            "batch_norm_layers": len(self.network.batch_norms),
            "image_shape": list(self.network.image_shape),
            "num_classes": self.network.num_classes,
            "threat_model": self.threat_model.get_config(),
            "assumptions": self.threat_model.describe(),
            "attacks": {name: s.get_config() for name, s in self.attacks.items()},
            "defences": [d.get_config() for d in self.defences],
            "batch_sizes": self.batch_sizes,
            "num_batches": self.num_batches,
            "unique_labels": self.unique_labels,
            "pool_size": self.pool_size,
            "threshold_db": self.threshold_db,
            "feature_extractor": self.features.name,
            "delta": self.delta,
            "seed": self.seed,
        }

    def _attack_batch(self, result, batch, size, defence, pool, workdir, report, verbose):
        truth = self.network.gradients(batch.images, batch.labels)
        seed = int(np.random.default_rng([self.seed, size, batch.number]).integers(2**31))
        released = defence.release(self.network, batch.images, batch.labels, seed)
        similarity = _cosine(truth, released)
        for name, settings in self.attacks.items():
            adapted = defence.adapt(settings)
            found = self._invert(
                batch, adapted, released, defence.masks(released), workdir, verbose
            )
            prior = self._invert(batch, _without_gradient(adapted), truth, None, workdir, 0)
            controls = {PRIOR_ONLY: prior.images, UNRELATED: batch.unrelated}
            cell = dict(
                batch_size=size,
                effective_batch_size=len(batch.images),
                defence=defence.describe(),
                attack=name,
                batch=batch.number,
                epsilon=defence.epsilon(self.delta),
                gradient_similarity=similarity,
                label_accuracy=label_accuracy(batch.labels, _padded(found.labels, batch.labels)),
                steps=found.num_steps,
                seconds=found.seconds,
                seconds_per_step=found.seconds_per_step,
            )
            rows = self._score(batch, found, controls, pool)
            result.add(cell, rows, batch, found, controls)
            psnr = np.mean([row["psnr_db"] for row in rows])
            best = np.mean([row["control_psnr_db"] for row in rows])
            report(
                f"batch {size} #{batch.number}  {defence.describe()}  {name}: "
                f"PSNR {psnr:.2f} dB (controls {best:.2f}), "
                f"labels {cell['label_accuracy']:.0%}, {found.seconds:.0f} s "
                f"({1e3 * found.seconds_per_step:.0f} ms a step)"
            )

    def _score(self, batch, found: Inversion, controls, pool) -> list[dict[str, float]]:
        """The scores of every image of a batch."""
        restored = _filled(found.images, len(batch.images))
        order = leakage.match(batch.images, restored)
        restored, originals = restored[order], batch.images
        matched = {k: v[leakage.match(originals, v)] for k, v in _filled_all(controls, originals)}
        control_psnr = {k: leakage.psnr_db(originals, v) for k, v in matched.items()}
        prior = matched[PRIOR_ONLY]
        columns = {
            "psnr_db": leakage.psnr_db(originals, restored),
            "registered_psnr_db": leakage.registered_psnr_db(originals, restored),
            "ssim": leakage.structural_similarity(originals, restored),
            "feature_distance": self.features.distance(originals, restored),
            "fourier_distance": leakage.fourier_distance(originals, restored),
            "rank": self._ranks(restored, pool),
            "feature_rank": leakage.source_ranks(
                self.features.embed(restored), self.features.embed(pool[0]), pool[1]
            ),
            "rdlv": leakage.relative_leakage(originals, restored, prior),
            "prior_psnr_db": control_psnr[PRIOR_ONLY],
            "unrelated_psnr_db": control_psnr[UNRELATED],
            "control_psnr_db": np.maximum(*control_psnr.values()),
            "control_ssim": leakage.structural_similarity(originals, prior),
            "control_rank": self._ranks(prior, pool),
        }
        return [
            {
                "image": int(batch.indices[k]),
                "label": int(batch.labels[k]),
                "slot": int(order[k]),
                **{name: float(values[k]) for name, values in columns.items()},
            }
            for k in range(len(originals))
        ]

    def _ranks(self, images, pool):
        flat = [np.reshape(x, (len(x), -1)) for x in (images, pool[0])]
        return leakage.source_ranks(*flat, pool[1])

    def _pool(self, images, batch):
        """Images to identify sources among, the sources first; and where the sources stand."""
        size = max(min(self.pool_size, len(images)), len(batch.indices))
        rng = np.random.default_rng([self.seed, 1 << 20])
        others = np.setdiff1d(rng.permutation(len(images)), batch.indices, assume_unique=True)
        chosen = np.concatenate([batch.indices, others])[:size]
        return images[chosen], np.arange(len(batch.indices))

    def _invert(self, batch, settings, gradients, masks, workdir, verbose) -> Inversion:
        inversion = self._inversion(settings)
        statistics = None
        if self.threat_model.batch_norm_statistics == "batch":
            statistics = self.network.statistics(batch.images, batch.labels)
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

    def _inversion(self, settings):
        key = json.dumps(settings.get_config(), sort_keys=True)
        if key not in self._inversions:
            self._inversions[key] = GradientInversion(
                self.model,
                self.loss,
                threat_model=self.threat_model,
                **self._pixels,
                **settings.get_config(),
            )
        return self._inversions[key]

    def _checkpoint(self, workdir, batch, settings, gradients):
        """One file for each attack, named by all that decides its course."""
        if workdir is None:
            return None
        digest = hashlib.sha256(json.dumps(settings.get_config(), sort_keys=True).encode())
        digest.update(batch.images.tobytes())
        for tensor in gradients:
            digest.update(np.ascontiguousarray(tensor).tobytes())
        return Path(workdir) / f"{digest.hexdigest()[:16]}.safetensors"

    def _checked(self, images, labels):
        images, labels = np.asarray(images), np.asarray(labels)
        if images.dtype == np.uint8:
            images = images / np.float32(255)
        images = images.astype(np.float32)
        if images.shape[1:] != self.network.image_shape:
            raise UserError(
                f"the images have shape {images.shape[1:]}; the model takes "
                f"{self.network.image_shape}"
            )
        if not np.all(np.isfinite(images)) or images.min() < 0 or images.max() > 1:
            raise UserError("the images are not all finite and in [0, 1]; scale them first")
        if labels.shape != images.shape[:1]:
            raise UserError(f"{labels.shape} labels came for {len(images)} images")
        self.network.one_hot(labels)
        return images, labels


def _without_gradient(settings):
    """The control of an attack: the same priors and budget, and no gradient."""
    if settings.optimizer == "lbfgs":
        settings = dataclasses.replace(settings, num_steps=1)
    return dataclasses.replace(settings, gradient_weight=0.0)


def _cosine(a, b):
    a, b = (np.concatenate([np.ravel(x) for x in y]).astype(np.float64) for y in (a, b))
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-300))


def _padded(found, labels):
    """As many labels as there are: -1 where the attack supposed fewer images (none matches)."""
    found = np.asarray(found)[: len(labels)]
    return np.concatenate([found, np.full(len(labels) - len(found), np.max(labels) + 1)])


def _filled(images, count):
    """Grey images for those that an attack supposed not to be there."""
    missing = max(0, count - len(images))
    return np.concatenate([images, np.full((missing, *images.shape[1:]), 0.5, np.float32)])


def _filled_all(controls, originals):
    return [(name, _filled(images, len(originals))) for name, images in controls.items()]
