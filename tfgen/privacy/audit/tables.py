"""The tables of a report: captions, heads with explanations, and cells as text."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tfgen.privacy.audit.sentences import UNKNOWN, percent
from tfgen.privacy.audit.verdict import worst_by_defence


@dataclasses.dataclass(frozen=True)
class Cell:
    """Text of one cell; a finding is drawn as such, and a name may break anywhere."""

    text: str
    finding: bool = False
    name: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """One table; the first `row_heads` columns name the row.

    Attributes:
        caption: string, what it shows.
        heads: sequence of the names of the columns.
        rows: sequence of sequences of cells.
        row_heads: how many columns name their row.
    """

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    row_heads: int = 2


def defences(found: Mapping[str, Any]) -> Table:
    """Each defence against its best attack."""
    delta = found["audit"]["delta"]
    columns = {
        "Defence": lambda c: c["defence"],
        "Batch": lambda c: c["batch_size"],
        "Finding": lambda c: Cell(c["finding"], finding=True),
        "What leaks": lambda c: ", ".join(c["leaked"]) or UNKNOWN,
        "Confidence": lambda c: _confidence(c["confidence"]),
        "Best attack": lambda c: Cell(c["attack"], name=True),
        "PSNR (controls)": lambda c: f"{c['psnr_db']:.1f} ({c['control_psnr_db']:.1f}) dB",
        "Identified": lambda c: percent(c["iip"]),
        "Labels": _labels,
        "Converged": lambda c: "yes" if c["converged"] else "no",
        f"ε at δ = {delta:g}": lambda c: _epsilon(c["epsilon"]),
        "Gradient kept": lambda c: f"{c['gradient_similarity']:.3f}",
    }
    if found["utility"]:
        accuracy = {u["defence"]: u["accuracy"] for u in found["utility"]}
        columns["Accuracy"] = lambda c: percent(accuracy.get(c["defence"]))
    caption = (
        "Each defence against its best attack. ε is that of one release, and the only guarantee. "
        "“Gradient kept” is the cosine between the released and the true gradient."
    )
    if found["utility"]:
        caption += " “Accuracy” is that of the network after training with the defence."
    return _table(caption, columns, worst_by_defence(found["cells"]))


def attacks(audit: Mapping[str, Any]) -> Table:
    """The budget of every attack."""
    columns = {
        "Attack": lambda a: a["name"],
        "Optimiser": lambda a: a["optimizer"],
        "Steps": lambda a: f"{a['num_steps']:,}",
        "Seeds": lambda a: a["num_seeds"],
        "Gradient": lambda a: f"{a['gradient_form']}, weight {a['gradient_weight']:g}",
        "Total variation": lambda a: f"{a['tv_weight']:g}",
    }
    if audit["batch_norm_layers"] and audit["threat_model"]["batch_norm_statistics"] != "none":
        columns["Batch norm"] = lambda a: f"{a['batch_norm_weight']:g}"
    rows = [{"name": name, **settings} for name, settings in audit["attacks"].items()]
    return _table("The attacks and their budgets.", columns, rows, row_heads=1)


def grid(found: Mapping[str, Any]) -> list[Table]:
    """Everything that was measured of every attack on every defence."""
    cells = found["cells"]
    names = {
        "Defence": lambda c: c["defence"],
        "Attack": lambda c: c["attack"],
        "Batch": lambda c: c["batch_size"],
    }
    images = {
        "Finding": lambda c: Cell(c["finding"], finding=True),
        "PSNR dB": lambda c: f"{c['psnr_db']:.2f}{_interval(c['psnr_interval_db'])}",
        "Without gradient": lambda c: f"{c['prior_psnr_db']:.2f}",
        "Unrelated": lambda c: f"{c['unrelated_psnr_db']:.2f}",
        "Identified": lambda c: percent(c["iip"]),
        "By control": lambda c: percent(c["iip_control"]),
        "By chance": lambda c: f"{100 * c['iip_chance']:.1f} %",
        "p": lambda c: _small(c["images_p"]),
        "Labels": _labels,
        "p of labels": lambda c: _small(c["labels_p"]),
    }
    likeness = {
        "Registered PSNR dB": lambda c: f"{c['registered_psnr_db']:.2f}",
        "SSIM": lambda c: f"{c['ssim']:.3f}",
        "Features": lambda c: f"{c['feature_distance']:.3f}",
        "FFT": lambda c: f"{c['fourier_distance']:.4f}",
        "RDLV": lambda c: f"{c['rdlv']:.2f}",
        "Steps": lambda c: f"{c['steps']:,}",
        "ms a step": lambda c: f"{c['ms_per_step']:.1f}",
        "Seconds": lambda c: f"{c['seconds']:.0f}",
    }
    tables = [
        ("Images and labels that every attack restored, beside controls and chance.", images),
        ("Other likenesses of the restored images, and what each attack cost.", likeness),
        (
            "How near every attack came to the shared gradient, in the form given; the originals "
            "are 0 away where the gradient is shared as it is.",
            {"Form": lambda c: c["gradient_form"], **_distances("gradient_distance")},
        ),
    ]
    if any(c["batch_norm_distance"] for c in cells):
        caption = "How near every attack came to the batch-norm statistics that it knew."
        tables.append((caption, _distances("batch_norm_distance")))
    return [_table(caption, {**names, **columns}, cells) for caption, columns in tables]


def _distances(field):
    columns = {
        "Reached": lambda c: f"{c[field]['reached']:.3g}",
        "Originals": lambda c: f"{c[field]['originals']:.3g}",
        "Without gradient": lambda c: f"{c[field]['prior']:.3g}",
        "Unrelated": lambda c: f"{c[field]['unrelated']:.3g}",
    }
    if field == "gradient_distance":
        columns["Converged"] = lambda c: "yes" if c["converged"] else "no"
    return columns


def _table(caption, columns, rows, row_heads=2):
    cells = [[_cell(column(row)) for column in columns.values()] for row in rows]
    return Table(caption, list(columns), cells, row_heads)


def _cell(value):
    return value if isinstance(value, Cell) else Cell(str(value))


def _confidence(value):
    return UNKNOWN if value is None else f"{math.floor(1000 * value) / 10:.1f} %"


def _labels(cell):
    return "given" if cell["label_chance"] is None else percent(cell["label_accuracy"])


def _interval(ends):
    return f" [{ends[0]:.1f}, {ends[1]:.1f}]" if all(map(math.isfinite, ends)) else ""


def _small(p):
    return UNKNOWN if p is None else f"{p:.2g}"


def _epsilon(value):
    if value is None or value == float("inf"):
        return "no bound"
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"
