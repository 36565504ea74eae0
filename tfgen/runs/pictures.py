"""Pictures of what a generator does that training does not draw already."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tfgen.errors import UserError
from tfgen.files.replacing import replace_dir, replace_file

_MAKER = "tfgen"  # what the text chunk "Software" of its samples says


def save_individually(
    batches: Iterable[np.ndarray], num_images: int, folder: Path, ours: bool = False
) -> None:
    """Writes a folder of one PNG per image, pixel by pixel, in place of an earlier such folder.

    Args:
        batches: arrays `[B, H, W, C]` in [0, 1], none of which is kept.
        num_images: integer, how many they hold in all.
        folder: of the files, `00.png`, `01.png`, ...
        ours: boolean, whether whatever lies there may go. Defaults to `False`.

    Raises:
        UserError: something lies there that was not written by this function.
        OSError: it cannot be written. What was there is kept.
    """
    if not ours:
        _refuse_foreign(folder)
    width = len(str(num_images - 1))
    note = PngInfo()
    note.add_text("Software", _MAKER)
    with replace_dir(folder) as temporary:
        images = (image for batch in batches for image in batch)
        for index, image in enumerate(images):
            path = temporary / f"{index:0{width}d}.png"
            Image.fromarray(_pixels(image)).save(path, pnginfo=note)


def _refuse_foreign(folder):
    for path in folder.iterdir() if folder.is_dir() else ():
        if not _is_sample(path):
            raise UserError(
                f"{str(folder)!r} holds {path.name!r}, which is no sample of an earlier call; "
                "choose a new or empty folder"
            )


def _is_sample(path) -> bool:
    if re.fullmatch(r"\d+\.png", path.name) is None or not path.is_file():
        return False
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return picture.info.get("Software") == _MAKER
    except OSError:
        return False


def _pixels(image):
    values = np.uint8(np.round(255 * np.clip(image, 0.0, 1.0)))
    return values[..., 0] if values.shape[-1] != 3 else values


def save_kl_per_group(
    path: str | Path, kl: Sequence[float], latent_shapes: Mapping[str, Sequence[int]]
) -> None:
    """Bars of the nats that each latent group carries, top group first, coloured by its grid.

    Args:
        path: path of the PNG.
        kl: sequence of floats, mean nats of each group.
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
