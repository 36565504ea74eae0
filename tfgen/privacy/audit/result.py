"""What an audit found: scores of every image, cells of the grid, verdicts; as JSON and HTML."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfgen.files.replacing import replace_file
from tfgen.privacy.audit.leakage import match
from tfgen.privacy.audit.pictures import Pictures, arrays_of
from tfgen.privacy.audit.report import render_html
from tfgen.privacy.audit.verdict import (
    Verdict,
    bootstrap_interval,
    judge,
    severity,
    worst_by_defence,
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


class AuditResult:
    """Collects what attacks found; see `GradientAudit.run`.

    Args:
        description: of the audit, see `GradientAudit.describe`.
        pool_size: images among which sources were looked for.
        threshold_db: margin above which a gradient leaks.
    """

    def __init__(self, description: Mapping[str, Any], pool_size: int, threshold_db: float):
        self.description = dict(description)
        self.pool_size, self.threshold_db = pool_size, threshold_db
        self.rows: list[dict[str, Any]] = []
        self.pictures: dict[tuple, Pictures] = {}
        self.utility: list[dict[str, Any]] = []
        self.peak_memory_gib: float | None = None

    def add(self, cell, rows, batch, found, controls) -> None:
        """Takes in one attack on one batch: what the cell is, and a row for each image."""
        self.rows += [{**cell, **row} for row in rows]
        slots = [row["slot"] for row in rows]
        count = len(slots)
        images = found.images
        if len(images) < count:
            grey = np.full((count - len(images), *images.shape[1:]), 0.5, images.dtype)
            images = np.concatenate([images, grey])
        matched = {}
        for name, control in controls.items():
            if len(control) >= count:
                matched[name] = control[match(batch.images, control)]
        key = (*(cell[k] for k in CELL_KEYS), cell["batch"])
        self.pictures[key] = Pictures(batch.images, images[slots], matched)

    def cells(self) -> list[dict[str, Any]]:
        """The grid: means, intervals and a verdict for each attack on each defence.

        Every cell has `psnr_db` and its like as means over images, `psnr_interval_db`, `iip` (share
        of images identified) with `iip_chance`, `label_accuracy`, `margin_db` over the best
        control, `seconds` an attack, `ms_per_step` once traced, and `finding`, `confidence`,
        `reason`.
        """
        return [self._cell(rows) for rows in self._grouped().values()]

    def verdict(self) -> Verdict:
        """Of the audit: what the strongest attack does to the gradient without a defence.

        Without an undefended cell, of the strongest attack on any defence.
        """
        cells = self.cells()
        plain = [c for c in cells if c["defence"] == "none"] or cells
        worst = max(plain, key=severity)
        return Verdict(worst["finding"], worst["confidence"], worst["reason"])

    def verdicts_by_defence(self) -> list[dict[str, Any]]:
        """The worst cell of every defence and batch size: an audit takes the best attack."""
        return worst_by_defence(self.cells())

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pictures, as JSON holds it."""
        verdict = self.verdict()
        return {
            "audit": self.description,
            "verdict": dataclasses.asdict(verdict),
            "cells": self.cells(),
            "images": self.rows,
            "utility": self.utility,
            "peak_memory_gib": self.peak_memory_gib,
        }

    def save(self, folder: str | os.PathLike) -> list[Path]:
        """Writes `audit.json`, `audit.html` and `reconstructions.npz`; returns their paths.

        Raises:
            OSError: the folder cannot be written.
        """
        folder = Path(folder)
        paths = [folder / name for name in ("audit.html", "audit.json", "reconstructions.npz")]
        with replace_file(paths[0]) as temporary:
            temporary.write_text(render_html(self.to_dict(), self.pictures), encoding="utf-8")
        with replace_file(paths[1]) as temporary:
            text = json.dumps(_finite(self.to_dict()), indent=1)
            temporary.write_text(text + "\n", encoding="utf-8")
        with replace_file(paths[2]) as temporary:
            np.savez_compressed(temporary, **arrays_of(self.pictures))
        return paths

    def _grouped(self) -> dict[tuple, list[dict]]:
        groups: dict[tuple, list[dict]] = {}
        for row in self.rows:
            groups.setdefault(tuple(row[k] for k in CELL_KEYS), []).append(row)
        return groups

    def _cell(self, rows: Sequence[dict]) -> dict[str, Any]:
        column = {
            name: np.array([row[name] for row in rows]) for name in rows[0] if name != "defence"
        }
        margins = column["psnr_db"] - column["control_psnr_db"]
        hits, control_hits = column["rank"] == 0, column["control_rank"] == 0
        verdict = judge(margins, hits & ~control_hits, self.pool_size, self.threshold_db)
        # One number a batch, repeated on its rows.
        batches = {row["batch"]: row for row in rows}.values()
        return {
            **{k: rows[0][k] for k in CELL_KEYS},
            "effective_batch_size": rows[0]["effective_batch_size"],
            "num_images": len(rows),
            "num_batches": len(batches),
            **{name: float(column[name].mean()) for name in _AVERAGED},
            "psnr_interval_db": bootstrap_interval(column["psnr_db"]),
            "margin_db": float(margins.mean()),
            "iip": float(hits.mean()),
            "iip_features": float((column["feature_rank"] == 0).mean()),
            "iip_control": float(control_hits.mean()),
            "iip_chance": 1.0 / self.pool_size,
            "label_accuracy": float(np.mean([b["label_accuracy"] for b in batches])),
            "epsilon": rows[0]["epsilon"],
            "gradient_similarity": float(np.mean([b["gradient_similarity"] for b in batches])),
            "seconds": float(np.mean([b["seconds"] for b in batches])),
            "ms_per_step": 1e3 * float(np.mean([b["seconds_per_step"] for b in batches])),
            **dataclasses.asdict(verdict),
        }


def _finite(value):
    """JSON knows no infinity: None stands for it."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
