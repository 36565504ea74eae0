"""The report on a refined prior: holes.json with the numbers, holes.png to look at."""

from pathlib import Path
from typing import Any

import numpy as np

from tfgen.files.images import grid
from tfgen.files.json_file import write_json
from tfgen.files.replacing import replace_file
from tfgen.generative.ncp.holes import find_holes
from tfgen.metrics import nearest_neighbours

COLUMNS = 8


def write(generator, base, pipeline, training_images, folder: Path, seed=0):
    """Measures, draws and writes a report.

    Args:
        generator: the generator, frozen.
        base: the frozen generator underneath.
        pipeline: iterable of evaluation batches.
        training_images: uint8 array `[N, H, W, C]`, to look for copies in.
        folder: path where the two files go.
        seed: integer, seed of everything drawn.

    Returns:
        The numbers, and the files.
    """
    holes = find_holes(generator, pipeline.dataset(), seed=seed)
    before = base.sample(2 * COLUMNS, seed=seed)
    after = generator.sample(2 * COLUMNS, seed=seed)
    distances, indices = nearest_neighbours(after, np.asarray(training_images))
    holes["nearest_training_distance"] = float(np.mean(distances))
    paths = [folder / "holes.json", folder / "holes.png"]
    write_json(paths[0], holes)
    neighbours = np.asarray(training_images)[indices[:, 0]] / np.float32(255)
    _draw(holes, before, after, neighbours, paths[1])
    return holes, paths


def summary(holes: dict[str, Any]) -> str:
    """The numbers in a few lines for a person."""
    lines = [
        f"gain of the refined prior: at least {holes['gain']:.3f} +- "
        f"{holes['gain_standard_error']:.3f} nats, resampling from {holes['num_proposals'] + 1} "
        "proposals per group",
        "group      JSD   accuracy   log Z    ESS   gain   proposals suggested",
    ]
    for name, g in holes["groups"].items():
        lines.append(
            f"{name:8} {g['jsd']:6.3f} {g['accuracy']:8.3f} {g['log_z']:9.3f} "
            f"{g['ess_fraction']:7.3f} {g['gain']:6.3f} {g['suggested_proposals']:8d}"
        )
    return "\n".join(lines)


def _draw(holes, before, after, neighbours, path):
    # Not pyplot: it would choose a backend and keep state in the process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 7.6), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.0, 1.15))
    bars, curves = top.subplots(1, 2)
    _draw_bars(bars, holes["groups"])
    _draw_calibration(curves, holes["groups"])
    titles = (
        "before: prior of the VAE",
        "after: refined prior",
        "nearest training images of after",
    )
    for axes, images, title in zip(bottom.subplots(1, 3), (before, after, neighbours), titles):
        picture = grid(images, 4)
        axes.imshow(picture[..., 0] if picture.shape[-1] == 1 else picture, cmap="gray")
        axes.set_title(title, fontsize=10)
        axes.axis("off")
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _draw_bars(axes, groups):
    """What each group's prior loses against its aggregate posterior."""
    places = np.arange(len(groups))
    axes.bar(places - 0.2, [g["jsd"] for g in groups.values()], 0.4, label="JSD(q, p), nats")
    axes.bar(
        places + 0.2, [g["gain"] for g in groups.values()], 0.4, label="gain in the bound, nats"
    )
    axes.set_xticks(places, list(groups), rotation=45 if len(groups) > 8 else 0)
    axes.set_xlabel("latent group, top first")
    axes.set_title("Where aggregate posterior and prior differ", fontsize=10)
    axes.legend(frameon=False)


def _draw_calibration(axes, groups):
    """Claimed against observed log-ratio; the diagonal is a density ratio."""
    ends = []
    for name, group in groups.items():
        curve = group["calibration"]
        axes.errorbar(
            curve["claimed"],
            curve["observed"],
            2 * np.array(curve["standard_error"]),
            marker=".",
            linewidth=1,
            label=name,
        )
        ends += curve["claimed"]
    low, high = (min(ends), max(ends)) if ends else (-1.0, 1.0)
    axes.plot([low, high], [low, high], color="0.7", zorder=0)
    axes.set_xlabel("log r claimed by the classifier")
    axes.set_ylabel("log(posterior / prior draws)")
    axes.set_title("Calibration", fontsize=10)
    axes.legend(frameon=False, fontsize=7, ncols=2)
