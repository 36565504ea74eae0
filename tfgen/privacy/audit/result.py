"""What an audit found: scores of every image, cells of the grid, verdicts; as JSON and HTML."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfgen.files.json_file import write_json
from tfgen.files.replacing import replace_file
from tfgen.privacy.audit.cells import CELL_KEYS, Attacked, grid, leaking_defences
from tfgen.privacy.audit.page import render_html
from tfgen.privacy.audit.pictures import Pictures, arrays_of
from tfgen.privacy.audit.verdict import Verdict, severity, worst_by_defence


class AuditResult:
    """Collects what attacks found; see `GradientAudit.run`.

    Args:
        description: dict that describes the audit, see `GradientAudit.describe`, and the audited
            images.
        threshold_db: float, margin in decibel above which a gradient leaks.
    """

    def __init__(self, description: Mapping[str, Any], threshold_db: float):
        self.description = dict(description)
        self.threshold_db = threshold_db
        self.attacked: list[Attacked] = []
        self.pictures: dict[tuple, Pictures] = {}
        self.utility: list[dict[str, Any]] = []
        self.peak_memory_gib: float | None = None

    def add(self, attacked: Attacked, originals: np.ndarray) -> None:
        """Takes in one attack on one batch of images `[K, H, W, C]`."""
        self.attacked.append(attacked)
        scored = attacked.scored
        key = (*attacked.key, attacked.facts["batch"])
        self.pictures[key] = Pictures(originals, scored.restored, scored.controls)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The scores of every image under every attack."""
        return [{**a.facts, **row} for a in self.attacked for row in a.scored.rows]

    def cells(self) -> list[dict[str, Any]]:
        """The grid: means, intervals and a verdict for each attack on each defence.

        Every cell has `psnr_db` and its like as means over images, `psnr_interval_db`, `iip` (share
        of images identified in a pool of `pool_size`) with `iip_chance` (of other batches drawn in
        the same way), `label_accuracy` with `label_chance`, `margin_db` over the best control,
        `gradient_distance` and `batch_norm_distance` reached and of originals and controls,
        `seconds` an attack, `ms_per_step` once traced, and `finding`, `confidence`, `reason` and
        `leaked`.
        """
        known = self.description["threat_model"]["labels"] == "known"
        return grid(self.attacked, known, self.threshold_db)

    def verdict(self) -> Verdict:
        """Of the audit: what the strongest attack does to the gradient without a defence.

        Without an undefended cell, of the strongest attack on any defence.
        """
        worst = self.worst_cell()
        return Verdict(**{field.name: worst[field.name] for field in dataclasses.fields(Verdict)})

    def worst_cell(self) -> dict[str, Any]:
        """The cell that `verdict` is about."""
        cells = self.cells()
        return max([c for c in cells if c["bare"]] or cells, key=severity)

    def verdicts_by_defence(self) -> list[dict[str, Any]]:
        """The worst cell of every defence and batch size: an audit takes the best attack."""
        return worst_by_defence(self.cells())

    def leaks(self) -> bool:
        """Whether a defence lets an attack through, or where none was audited the bare gradient."""
        return bool(leaking_defences(self.cells()))

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pictures, as JSON holds it."""
        worst = self.worst_cell()
        fields = (*CELL_KEYS, "bare", "finding", "confidence", "reason", "leaked")
        return {
            "audit": self.description,
            "verdict": {field: worst[field] for field in fields},
            "cells": self.cells(),
            "images": self.rows,
            "utility": self.utility,
            "peak_memory_gib": self.peak_memory_gib,
        }

    def save(self, folder: str | os.PathLike) -> list[Path]:
        """Writes `audit.html`, `audit.json` and `reconstructions.npz`; returns their paths.

        The page and the arrays hold the audited images themselves.

        Raises:
            OSError: the folder cannot be written.
        """
        folder = Path(folder)
        paths = [folder / name for name in ("audit.html", "audit.json", "reconstructions.npz")]
        with replace_file(paths[0]) as temporary:
            temporary.write_text(render_html(self.to_dict(), self.pictures), encoding="utf-8")
        write_json(paths[1], self.to_dict())
        with replace_file(paths[2]) as temporary:
            np.savez_compressed(temporary, **arrays_of(self.pictures))
        return paths
