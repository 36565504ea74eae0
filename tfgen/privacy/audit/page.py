"""The audit as one HTML file: images inside, no script, nothing fetched.

What is said lies in `sentences`, the numbers in `tables`, the drawings in `charts`; the templates
put them on a page and escape every text.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jinja2
import numpy as np

from tfgen.privacy.audit import charts, sentences, tables
from tfgen.privacy.audit.isolation import isolated
from tfgen.privacy.audit.pictures import Pictures, data_uri
from tfgen.privacy.audit.verdict import INCONCLUSIVE, LEAKS, NOT_FOUND

CLASSES = {LEAKS: "leaks", NOT_FOUND: "not-found", INCONCLUSIVE: "inconclusive"}
_THUMBNAIL = 96  # pixels of a picture's longer side on the page, at least
_MOST_BATCHES = 3  # of each cell that are shown; all of them are in the numbers


def render_html(found: Mapping[str, Any], pictures: Mapping[tuple, Pictures]) -> str:
    """The page of an audit, complete in itself.

    Args:
        found: dict of what `audit.json` says, see `AuditResult.to_dict`.
        pictures: dict of `Pictures` by batch size, defence, attack and number of the batch.
    """
    found, pictures = isolated(found), {isolated(key): p for key, p in pictures.items()}
    return (
        _environment()
        .get_template("report.html")
        .render(
            audit=found["audit"],
            verdict=found["verdict"],
            confidence=sentences.confidence(found["verdict"]["confidence"]),
            subject=sentences.subject(found),
            labels=sentences.labels(found),
            facts=sentences.facts(found["audit"]),
            assumptions=sentences.assumptions(found["audit"]),
            defence_sentences=found["audit"]["defence_sentences"],
            reading=sentences.reading(found),
            defences=tables.defences(found),
            attacks=tables.attacks(found["audit"]),
            grid=tables.grid(found),
            usefulness=charts.usefulness(found),
            convergence=charts.convergence(found),
            gallery=_gallery(found, pictures),
            peak_memory_gib=found["peak_memory_gib"],
            classes=CLASSES,
        )
    )


@functools.cache
def _environment():
    return jinja2.Environment(
        loader=jinja2.PackageLoader("tfgen.privacy.audit"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _gallery(found, pictures):
    """The first batches of every cell, the riskiest image of each first."""
    cells = {tuple(c[k] for k in ("batch_size", "defence", "attack")): c for c in found["cells"]}
    rows: dict[tuple, list] = {}
    for row in found["images"]:
        key = (row["batch_size"], row["defence"], row["attack"], row["batch"])
        rows.setdefault(key, []).append(row)
    sections = []
    for key, shown in pictures.items():
        if key[-1] >= _MOST_BATCHES:
            continue
        risk = [row["control_psnr_db"] - row["psnr_db"] for row in rows[key]]
        cards = [_card(rows[key][k], shown, k) for k in np.argsort(risk, kind="stable")]
        sections.append({"cell": cells[key[:-1]], "number": key[-1] + 1, "cards": cards})
    return sections


def _card(row, shown, k):
    strip = [("original", shown.original[k]), ("restored", shown.reconstruction[k])]
    strip += [(name, images[k]) for name, images in shown.controls.items()]
    return {
        "text": sentences.image(row),
        "pictures": [
            {
                "name": name,
                "alt": sentences.alternative(name, row),
                "source": data_uri(image),
                "width": image.shape[1] * max(1, _THUMBNAIL // max(image.shape[:2])),
            }
            for name, image in strip
        ],
    }
