"""Pictures of an evaluation: ROC curves, and histograms of scores."""

from pathlib import Path

import numpy as np

from tfgen.files.replacing import replace_file
from tfgen.metrics import roc_curve

_NUM_BINS = 40
_PANEL = (4.2, 3.6)  # inches
_LINES = ("-", "--", ":", "-.")  # after every ten colours another
_TAIL = 0.5  # percent of scores left out of a histogram's range, at either end


def save_roc(path: Path, evaluation) -> None:
    """A panel for each set of outliers, a curve for each row."""
    names = [name for name in evaluation.num_images if name != evaluation.in_name]
    figure, panels = _panels(len(names))
    for axes, name in zip(panels, names, strict=True):
        for k, row in enumerate(evaluation.rows):
            found = evaluation.scores[row.model][row.score]
            false, true = roc_curve(found[evaluation.in_name], found[name])
            area = 100 * row.separation[name].auroc
            style = {"color": f"C{k % 10}", "ls": _LINES[k // 10 % len(_LINES)], "lw": 1.2}
            axes.plot(false, true, label=f"{row.model} {row.score} ({area:.1f})", **style)
        axes.plot([0, 1], [0, 1], color="0.7", lw=0.8, zorder=0)
        axes.set_title(f"{evaluation.in_name} against {name}", fontsize=9)
        axes.set_xlabel("share of inliers rejected")
        axes.set_ylabel("share of outliers rejected")
        axes.legend(fontsize=6, frameon=False, loc="lower right")
    _save(figure, path)


def save_histograms(path: Path, evaluation) -> None:
    """A panel for each row, a histogram for each set."""
    figure, panels = _panels(len(evaluation.rows))
    for axes, row in zip(panels, evaluation.rows, strict=True):
        found = evaluation.scores[row.model][row.score]
        finite = np.concatenate([x[np.isfinite(x)] for x in found.values()] or [np.zeros(1)])
        ends = np.percentile(finite, [_TAIL, 100 - _TAIL]) if finite.size else [0.0, 1.0]
        for name, values in found.items():
            own = name == evaluation.in_name
            # Beyond the ends scores count in the last bins.
            shown = np.clip(values, ends[0], ends[1])
            counts, edges = np.histogram(shown, _NUM_BINS, (ends[0], ends[1]))
            style = {"color": "0.75", "fill": True} if own else {"lw": 1.2}
            axes.stairs(counts / len(shown), edges, label=name, **style)
        axes.set_title(f"{row.model}: {row.score}", fontsize=9)
        axes.set_xlabel("score (larger: more out-of-distribution)", fontsize=8)
        axes.locator_params(axis="x", nbins=5)
        axes.legend(fontsize=6, frameon=False)
    _save(figure, path)


def _panels(count):
    # Not pyplot: it would choose a backend and keep state in the process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(count, 3)
    rows = -(-count // columns)
    width, height = _PANEL[0] * columns, _PANEL[1] * rows
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    # Margins in inches; a layout that looks for them takes longer than all else.
    figure.subplots_adjust(
        left=0.65 / width,
        right=1.0 - 0.15 / width,
        bottom=0.5 / height,
        top=1.0 - 0.3 / height,
        wspace=0.25,
        hspace=0.35,
    )
    panels = [figure.add_subplot(rows, columns, k + 1) for k in range(count)]
    for axes in panels:
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return figure, panels


def _save(figure, path):
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
