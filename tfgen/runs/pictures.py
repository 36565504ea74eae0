"""Pictures of what a generator does that training does not draw already."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tfgen.files.replacing import replace_file


def save_pixels(image: np.ndarray, path: str | Path) -> None:
    """Writes one image `[H, W, C]` in [0, 1] pixel by pixel, in grey if it has one channel."""
    values = np.uint8(np.round(255 * np.clip(image, 0.0, 1.0)))
    with replace_file(path) as temporary:
        Image.fromarray(values[..., 0] if values.shape[-1] != 3 else values).save(temporary)


def save_kl_per_group(
    path: str | Path, kl: Sequence[float], latent_shapes: Mapping[str, Sequence[int]]
) -> None:
    """Bars of the nats that each latent group carries, top group first, coloured by its grid.

    Args:
        path: of the PNG.
        kl: mean nats of each group.
        latent_shapes: `(H, W, C)` of each group, in the same order.
    """
    # Not pyplot: it would choose a backend and keep state in the process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(5.0, 0.28 * len(kl) + 2.0), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    grids = [f"{height} x {width}" for height, width, _ in latent_shapes.values()]
    for shade, name in enumerate(dict.fromkeys(grids)):
        members = [index for index, other in enumerate(grids) if other == name]
        axes.bar(members, [kl[index] for index in members], color=f"C{shade}", label=name)
    axes.set_xlabel("latent group, top first")
    axes.set_ylabel("KL (nats per image)")
    axes.set_title(f"Rate of each group; {sum(kl):.1f} nats in all")
    axes.legend(title="grid", frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=120)
