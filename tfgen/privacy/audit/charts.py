"""The drawings of a report, as coordinates that its template turns into SVG."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfgen.privacy.audit.verdict import worst_by_defence

WIDTH, LEFT, RIGHT = 760, 60, 150
_HEIGHT, _BOTTOM, _TOP = 300, 44, 8
_ROW, _MARGIN = 44, 40


def usefulness(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """Leakage against what is left of the gradient, a dot for each defence and batch size.

    Returns:
        What the template draws, or None if there is but one defence.
    """
    cells = worst_by_defence(found["cells"])
    if len({c["defence"] for c in cells}) < 2:
        return None
    top = max(max(c["psnr_db"] for c in cells), 20.0) * 1.05
    floor = float(np.mean([c["control_psnr_db"] for c in cells]))

    def x(similarity):
        return LEFT + (WIDTH - LEFT - RIGHT) * float(np.clip(similarity, 0.0, 1.0))

    def y(psnr):
        return (_HEIGHT - _BOTTOM - _TOP) * (1 - psnr / top) + _TOP

    dots = [
        {
            "x": x(c["gradient_similarity"]),
            "y": y(c["psnr_db"]),
            "finding": c["finding"],
            "name": f"{c['defence']}, batch {c['batch_size']}",
            "psnr": c["psnr_db"],
            "kept": c["gradient_similarity"],
        }
        for c in cells
    ]
    return {
        "width": WIDTH,
        "height": _HEIGHT,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "bottom": _HEIGHT - _BOTTOM,
        "floor": {"value": floor, "y": y(floor)},
        "rows": [(v, y(v)) for v in range(0, int(top) + 1, 10 if top < 80 else 20)],
        "columns": [(v, x(v)) for v in (0.0, 0.25, 0.5, 0.75, 1.0)],
        "dots": dots,
    }


def convergence(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How far every attack came, a line for each cell; unrelated images stand at 1."""
    charts = [_rows(found["cells"], "gradient_distance", "the shared gradient")]
    if any(c["batch_norm_distance"] for c in found["cells"]):
        charts.append(_rows(found["cells"], "batch_norm_distance", "batch-norm statistics"))
    return charts


def _rows(cells, field, what):
    rows = []
    for place, cell in enumerate(cells):
        unit = max(cell[field]["unrelated"], 1e-30)
        distances = {name: value / unit for name, value in cell[field].items()}
        rows.append(
            {
                "name": f"{cell['defence']}, {cell['attack']}, batch {cell['batch_size']}",
                "y": 62 + _ROW * place,  # its name stands above it
                "marks": {name: _position(value) for name, value in distances.items()},
                "distances": distances,
            }
        )
    height = 40 + _ROW * len(rows)
    ticks = [(v, _position(v)) for v in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return {"what": what, "rows": rows, "width": WIDTH, "height": height, "ticks": ticks}


def _position(share):
    return _MARGIN + (WIDTH - 2 * _MARGIN) * float(np.clip(share, 0.0, 1.1)) / 1.1
