"""Pictures of what a generator does: grids, strips and the cost of each latent group."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tfgen.training.files import replace_file

_TILE = 56  # pixels; smaller images are enlarged by a whole factor
_GAP = 2


def grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Lays images out row by row.

    Args:
        images: `[N, H, W, C]` in [0, 1].
        columns: images in a row.

    Returns:
        uint8 `[H', W', 3]`, small images enlarged, on a mid-grey ground.
    """
    tiles = [tile(image) for image in images]
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    canvas = np.full(
        (rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3), 96, np.uint8
    )
    for index, image in enumerate(tiles):
        top = _GAP + index // columns * (height + _GAP)
        left = _GAP + index % columns * (width + _GAP)
        canvas[top : top + height, left : left + width] = image
    return canvas


def tile(image: np.ndarray) -> np.ndarray:
    """One image `[H, W, C]` in [0, 1] as uint8 RGB, enlarged by a whole factor if it is small."""
    values = pixels(image)
    factor = max(1, _TILE // max(values.shape[:2]))
    return values.repeat(factor, axis=0).repeat(factor, axis=1)


def pixels(image: np.ndarray) -> np.ndarray:
    """`[H, W, C]` in [0, 1] as uint8 RGB; anything but three channels shows the first as grey."""
    values = np.uint8(np.round(255 * np.clip(image, 0.0, 1.0)))
    return values if values.shape[-1] == 3 else np.repeat(values[..., :1], 3, axis=-1)


def write_png(path: str | Path, values: np.ndarray) -> Path:
    """Writes uint8 `[H, W, 3]` or `[H, W]`, whole or not at all."""
    with replace_file(path) as temporary:
        Image.fromarray(values).save(temporary)
    return Path(path)


def write_kl_per_group(
    path: str | Path, kl: Sequence[float], latent_shapes: Mapping[str, Sequence[int]]
) -> Path:
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
    return Path(path)
