"""A picture of an image with its phrases: their boxes, and which regions were looked at."""

import io
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfgen.files.replacing import replace_file
from tfgen.grounding.inference import Grounded
from tfgen.grounding.localisation import heat_map

MOST_DRAWN = 23  # phrases; of more than that a picture shows the first
_COLUMNS = 6
_INCHES = 3.2  # height of one panel
_WIDEST = 4.0  # times its height; wider images leave room above and below
_LETTERS = 44  # in one line of a square panel
_LINES = 6


def draw_phrases(
    image, grounded: Sequence[Grounded], path: str | os.PathLike, title: str = ""
) -> None:
    """Writes `picture_of` to a file.

    Args:
        image: array `[H, W]` or `[H, W, C]`, see there.
        grounded: sequence of `Grounded`.
        path: of the file; its suffix says the format, such as `.png`.
        title: string, such as the caption. Defaults to `""`.
    """
    with replace_file(Path(path)) as temporary:
        _figure(image, grounded, title).savefig(temporary, dpi=100)


def picture_of(
    image,
    grounded: Sequence[Grounded],
    title: str = "",
    truth: Sequence[np.ndarray] | None = None,
) -> bytes:
    """The image with a box for each phrase, then the heat map of each, as the bytes of a PNG.

    Args:
        image: array `[H, W]` or `[H, W, C]`, uint8 or floats in [0, 1], of the size that the boxes
            are for.
        grounded: sequence of `Grounded`; phrases without a box have a heat map only.
        title: string, such as the caption. Defaults to `""`.
        truth: sequence of `[G, 4]` arrays, where each phrase is, drawn dashed; None: not known.
    """
    with io.BytesIO() as file:
        _figure(image, grounded, title, truth).savefig(file, format="png", dpi=80)
        return file.getvalue()


def _figure(image, grounded, title, truth=None):
    from matplotlib.figure import Figure

    image = np.asarray(image)
    image = image.squeeze(-1) if image.ndim == 3 and image.shape[-1] == 1 else image
    height, width = image.shape[:2]
    drawn = grounded[:MOST_DRAWN]
    if len(drawn) < len(grounded):
        title = f"{len(drawn)} of {len(grounded)} phrases. {title}"
    columns = min(1 + len(drawn), _COLUMNS)
    rows = -(-(1 + len(drawn)) // columns)
    aspect = min(max(0.6, width / height), _WIDEST)
    letters = int(_LETTERS * aspect)
    size = (columns * _INCHES * aspect, rows * (_INCHES + 0.4))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    top = 255 if image.dtype == np.uint8 else 1.0
    for axis in axes:
        axis.set_axis_off()
    for axis in axes[: 1 + len(drawn)]:
        axis.imshow(image, cmap="gray", vmin=0, vmax=top)
    for number, (one, axis) in enumerate(zip(drawn, axes[1:])):
        colour = f"C{number % 10}"
        heat = heat_map(one.attention, one.boxes, height, width)
        axis.imshow(heat, cmap="inferno", alpha=0.6, vmin=0, vmax=1)
        _label(axis, one, colour, letters)
        for panel in (axes[0], axis):
            for box in () if truth is None else truth[number]:
                _box(panel, box, colour, "dashed")
            if one.box is not None:
                _box(panel, one.box, colour)
    if title:
        lines = textwrap.wrap(title, letters)
        axes[0].set_title(_plain(lines, _LINES), fontsize="small", loc="left")
    return figure


def _label(axis, one, colour, letters):
    answer = f" ({one.score:.2f})" if one.box is not None else ": not found"
    lines = textwrap.wrap(one.phrase, letters - len(answer))
    axis.set_title(_plain(lines, 2) + answer, fontsize="small", color=colour)


def _box(axis, box, colour, line="solid"):
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = box
    corner = (x1 - 0.5, y1 - 0.5)  # pixels are drawn about their centres
    axis.add_patch(
        Rectangle(
            corner, x2 - x1 + 1, y2 - y1 + 1, fill=False, edgecolor=colour, linewidth=2, ls=line
        )
    )


def _plain(lines: Sequence[str], most: int) -> str:
    """Lines as matplotlib shows them as they stand: no formulas, no signs that its font lacks."""
    if len(lines) > most:
        lines = [*lines[: most - 1], lines[most - 1] + " ..."]
    lines = ("".join(c if ord(c) < 0x2000 else "?" for c in x if c.isprintable()) for x in lines)
    return "\n".join(lines).replace("$", r"\$")
