"""One attack on one batch, scored: every image beside its original and its controls."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfgen.privacy.attack.inversion import Inversion
from tfgen.privacy.audit import chance, leakage
from tfgen.privacy.audit.batches import Batch, Protocol

PRIOR_ONLY, UNRELATED = "without gradient", "unrelated images"


@dataclasses.dataclass(frozen=True, eq=False)
class Scored:
    """What was found out about one attack on one batch.

    Attributes:
        rows: for every image its scores by name.
        restored: `[K, H, W, C]`, the reconstructions in the order of the originals; grey ones stand
            for images that the attack supposed not to be there.
        controls: likewise what the attacker gets without the gradient, by name.
        scores: `Scores` against the batch and against others.
        prior_scores: `Scores`, the same of the attack without the gradient.
        label_overlaps: `[1 + B]`, how many of the restored labels the batch has, and others.
        copies: integer, how many images came back to within one grey level.
        copy_chance: float, the chance of one of them; 1 without any.
    """

    rows: list[dict[str, float]]
    restored: np.ndarray
    controls: Mapping[str, np.ndarray]
    scores: chance.Scores
    prior_scores: chance.Scores
    label_overlaps: np.ndarray
    copies: int
    copy_chance: float


class Scorer:
    """Scores attacks on batches of the same audited images.

    Args:
        images: `[N, H, W, C]` in [0, 1].
        labels: integer array `[N]`.
        protocol: by which batches are drawn.
        pool_size: integer, images among which a source has to be identified, at most N.
        features: `FeatureDistance` of the audited network.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        protocol: Protocol,
        pool_size: int,
        features: leakage.FeatureDistance,
    ):
        self.images, self.labels, self.protocol = images, labels, protocol
        order = np.random.default_rng([protocol.seed, 1 << 20]).permutation(len(images))
        self.pool, self.features = chance.Pool(order, pool_size), features
        self.gallery = chance.Gallery(images)
        self._others: dict[tuple[int, int], np.ndarray] = {}
        self._priors: dict[int, tuple[Inversion, chance.Scores]] = {}

    def score(self, batch: Batch, found: Inversion, prior: Inversion) -> Scored:
        """The scores of one attack.

        Args:
            batch: the `Batch` that was attacked.
            found: the `Inversion` of the attack.
            prior: the `Inversion` of the attack without the gradient.
        """
        size = len(batch.indices)
        restored, alone = (_filled(_shown(x.images), size) for x in (found, prior))
        comparison = chance.Comparison(restored, self.gallery, len(found.images))
        overlaps = self.protocol.other_label_overlaps(
            self.labels, batch, found.labels, chance.NUM_LABEL_BATCHES
        )
        slots = leakage.match(batch.images, restored)
        controls = {
            PRIOR_ONLY: alone[leakage.match(batch.images, alone)],
            UNRELATED: batch.unrelated[leakage.match(batch.images, batch.unrelated)],
        }
        copies, copy_chance = comparison.copies(batch.indices)
        missing = slots >= len(found.images)
        rows = self._rows(batch, restored[slots], missing, controls)
        return Scored(
            rows=[{**row, "slot": int(slot)} for row, slot in zip(rows, slots)],
            restored=restored[slots],
            controls=controls,
            scores=comparison.scores(batch.indices, self._other_batches(batch), self.pool),
            prior_scores=self._prior_scores(batch, prior, alone),
            label_overlaps=np.concatenate(
                [[num_restored_labels(batch.labels, found.labels)], overlaps]
            ),
            copies=copies,
            copy_chance=copy_chance,
        )

    def _rows(self, batch, restored, missing, controls):
        originals, prior = batch.images, controls[PRIOR_ONLY]
        control_psnr = {name: leakage.psnr_db(originals, x) for name, x in controls.items()}
        pool = self.images[self.pool.around(batch.indices)]
        columns = {
            "psnr_db": leakage.psnr_db(originals, restored),
            "registered_psnr_db": leakage.registered_psnr_db(originals, restored),
            "ssim": leakage.structural_similarity(originals, restored),
            "feature_distance": self.features.distance(originals, restored),
            "fourier_distance": leakage.fourier_distance(originals, restored),
            "rank": _ranks(_flat(restored), _flat(pool), missing),
            "feature_rank": _ranks(
                self.features.embed(restored), self.features.embed(pool), missing
            ),
            "rdlv": leakage.relative_leakage(originals, restored, prior),
            "prior_psnr_db": control_psnr[PRIOR_ONLY],
            "unrelated_psnr_db": control_psnr[UNRELATED],
            "control_psnr_db": np.maximum(*control_psnr.values()),
            "control_ssim": leakage.structural_similarity(originals, prior),
            "control_rank": _ranks(_flat(prior), _flat(pool)),
        }
        rows: list[dict[str, Any]] = []
        for k in range(len(originals)):
            facts = {"image": int(batch.indices[k]), "label": int(batch.labels[k])}
            rows.append({**facts, **{name: float(v[k]) for name, v in columns.items()}})
        return rows

    def _prior_scores(self, batch, prior, images):
        """Once for all the defences under which the attack without the gradient is the same."""
        if id(prior) not in self._priors:
            comparison = chance.Comparison(images, self.gallery, len(prior.images))
            scores = comparison.scores(batch.indices, self._other_batches(batch), self.pool)
            self._priors[id(prior)] = prior, scores  # kept, or another could get its id
        return self._priors[id(prior)][1]

    def _other_batches(self, batch):
        key = (len(batch.indices), batch.number)
        if key not in self._others:
            self._others[key] = self.protocol.other_batches(self.labels, batch, chance.NUM_BATCHES)
        return self._others[key]


def _shown(images: np.ndarray) -> np.ndarray:
    """Images as anybody would show them: an attack may leave [0, 1], which only does it harm."""
    return np.clip(images, 0.0, 1.0)


def num_restored_labels(labels: np.ndarray, restored: np.ndarray) -> int:
    """How many labels were restored, counting repetitions: the overlap of two multisets."""
    size = 1 + max(np.max(labels), np.max(restored))
    counts = [np.bincount(np.asarray(x, np.int64), minlength=size) for x in (labels, restored)]
    return int(np.minimum(*counts).sum())


def _ranks(vectors, pool, missing=None):
    """Where sources stand that come first in a pool; last where nothing was restored."""
    ranks = leakage.source_ranks(vectors, pool, np.arange(len(vectors)))
    return ranks if missing is None else np.where(missing, len(pool) - 1, ranks)


def _filled(images, count):
    """Grey images for those that an attack supposed not to be there."""
    missing = max(0, count - len(images))
    return np.concatenate([images, np.full((missing, *images.shape[1:]), 0.5, np.float32)])


def _flat(images):
    return np.reshape(images, (len(images), -1))
