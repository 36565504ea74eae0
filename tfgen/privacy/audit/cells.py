"""The grid of an audit: one cell for each attack on each defence at each batch size.

Means over the images of a cell, and what may be concluded from them with regard to all other cells.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfgen.privacy.audit.chance import p_values
from tfgen.privacy.audit.convergence import Distances, mean_distances
from tfgen.privacy.audit.scoring import Scored
from tfgen.privacy.audit.verdict import (
    IMAGES,
    LABELS,
    LEAKS,
    Evidence,
    Verdict,
    judge,
    mean_interval,
)

# The same images attacked once more are no new evidence: cells are told apart by these.
CELL_KEYS = ("batch_size", "defence", "attack")
_AVERAGED = (
    "psnr_db",
    "registered_psnr_db",
    "ssim",
    "feature_distance",
    "fourier_distance",
    "rdlv",
    "control_psnr_db",
    "prior_psnr_db",
    "unrelated_psnr_db",
)


@dataclasses.dataclass(frozen=True, eq=False)
class Attacked:
    """One attack on one batch.

    Attributes:
        facts: dict of what it was and what it cost; the same for all its images.
        scored: `Scored`, what came out.
        gradient: `Distances` from the shared gradient.
        batch_norm: `Distances` from batch-norm statistics; None where the attacker knows none.
        bare: whether the gradient came without a defence.
    """

    facts: dict[str, Any]
    scored: Scored
    gradient: Distances
    batch_norm: Distances | None
    bare: bool

    @property
    def key(self) -> tuple:
        return tuple(self.facts[name] for name in CELL_KEYS)


def grid(
    attacked: Sequence[Attacked], labels_known: bool, threshold_db: float
) -> list[dict[str, Any]]:
    """The cells, each judged with regard to all.

    Args:
        attacked: sequence of `Attacked`, every attack on every batch.
        labels_known: whether labels are given to the attacker, so that none are restored.
        threshold_db: float, margin in decibel above which a gradient leaks.
    """
    groups: dict[tuple, list[Attacked]] = {}
    for attack in attacked:
        groups.setdefault(attack.key, []).append(attack)
    if not groups:
        return []
    evidence = _evidence(list(groups.values()), labels_known)
    # The bare gradient first: it is the positive control of all others.
    verdicts = {
        key: judge(e, threshold_db)
        for (key, group), e in zip(groups.items(), evidence)
        if group[0].bare
    }
    controls = {
        (size, attack): dict(positive_control=IMAGES in v.leaked, label_control=LABELS in v.leaked)
        for (size, _, attack), v in verdicts.items()
    }
    for (key, group), e in zip(groups.items(), evidence):
        if not group[0].bare:
            control = controls.get((key[0], key[2]), {})
            verdicts[key] = judge(dataclasses.replace(e, **control), threshold_db)
    return [_cell(group, e, verdicts[key]) for (key, group), e in zip(groups.items(), evidence)]


def _evidence(groups, labels_known):
    """Of every cell; chances are of all cells together, which halve and quarter the error rate."""
    share = 1.0 if labels_known else 0.5
    pixels, identified = (
        [_added([getattr(a.scored.scores, field) for a in group]) for group in groups]
        for field in ("pixels", "identified")
    )
    images = _chances([pixels, identified], share / 2)
    labels = _chances([[_added([a.scored.label_overlaps for a in g]) for g in groups]], share)
    found = []
    for place, group in enumerate(groups):
        rows = [row for a in group for row in a.scored.rows]
        hits, control_hits = (np.array([r[c] == 0 for r in rows]) for c in ("rank", "control_rank"))
        together = float(images[1][place])
        found.append(
            Evidence(
                margins_db=np.array([r["psnr_db"] - r["control_psnr_db"] for r in rows]),
                gained=int(np.sum(hits & ~control_hits)),
                lost=int(np.sum(control_hits & ~hits)),
                pool_size=group[0].facts["pool_size"],
                images_alone=float(images[0][place]),
                images_together=min(together, *(a.scored.copy_chance for a in group)),
                prior_alone=_prior_chance(group, share / 2),
                copies=sum(a.scored.copies for a in group),
                num_labels=None
                if labels_known
                else sum(int(a.scored.label_overlaps[0]) for a in group),
                labels_alone=1.0 if labels_known else float(labels[0][place]),
                labels_together=1.0 if labels_known else float(labels[1][place]),
                bare=group[0].bare,
                converged=all(d.converged for d in _distances(group)),
            )
        )
    return found


def _chances(families, share):
    """The least chance that one of some families of scores gives each cell, corrected for both."""
    found = np.min([p_values(scores) for scores in families], axis=0)
    return np.minimum(found / share, 1.0)


def _prior_chance(group, share):
    families = [
        [_added([getattr(a.scored.prior_scores, field) for a in group])]
        for field in ("pixels", "identified")
    ]
    return float(_chances(families, share)[0][0])


def _added(scores):
    return np.sum(scores, axis=0)


def _distances(group):
    """The mean distances of a cell: from the gradient, and from statistics where they are known."""
    found = [mean_distances([a.gradient for a in group])]
    if group[0].batch_norm is not None:
        found.append(mean_distances([a.batch_norm for a in group]))
    return found


def _cell(group: Sequence[Attacked], evidence: Evidence, verdict: Verdict) -> dict[str, Any]:
    facts = [a.facts for a in group]
    rows = [row for a in group for row in a.scored.rows]
    column = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    sizes = [len(a.scored.rows) for a in group]
    chance = np.average([a.scored.scores.chance for a in group], weights=sizes)
    label_chance = np.sum([a.scored.label_overlaps[1:].mean() for a in group]) / len(rows)
    distances = _distances(group)
    return {
        **{k: facts[0][k] for k in CELL_KEYS},
        "bare": group[0].bare,
        "effective_batch_size": facts[0]["effective_batch_size"],
        "num_images": len(rows),
        "num_batches": len(group),
        "steps": facts[0]["steps"],
        **{name: float(column[name].mean()) for name in _AVERAGED},
        "psnr_interval_db": mean_interval(column["psnr_db"]),
        "margin_db": float(evidence.margins_db.mean()),
        "margin_interval_db": mean_interval(evidence.margins_db),
        "iip": float(np.mean(column["rank"] == 0)),
        "iip_features": float(np.mean(column["feature_rank"] == 0)),
        "iip_control": float(np.mean(column["control_rank"] == 0)),
        "iip_chance": float(chance),
        "pool_size": evidence.pool_size,
        "images_p": evidence.images_together,
        "label_accuracy": float(np.mean([f["label_accuracy"] for f in facts])),
        "label_chance": None if evidence.num_labels is None else float(label_chance),
        "labels_p": None if evidence.num_labels is None else evidence.labels_together,
        "epsilon": facts[0]["epsilon"],
        "gradient_similarity": float(np.mean([f["gradient_similarity"] for f in facts])),
        "gradient_form": facts[0]["gradient_form"],
        "gradient_distance": dataclasses.asdict(distances[0]),
        "batch_norm_distance": dataclasses.asdict(distances[1]) if len(distances) > 1 else None,
        "converged": evidence.converged,
        "seconds": float(np.mean([f["seconds"] for f in facts])),
        "ms_per_step": 1e3 * float(np.mean([f["seconds_per_step"] for f in facts])),
        **dataclasses.asdict(verdict),
    }


def leaking_defences(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cells that leak: through a defence, or where none was audited, from the bare gradient."""
    defended = [c for c in cells if not c["bare"]]
    return [c for c in defended or cells if c["finding"] == LEAKS]
