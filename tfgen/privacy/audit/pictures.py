"""The images of an audit: what was attacked, and what came out beside it."""

import base64
import dataclasses
import io
from collections.abc import Mapping

import numpy as np
from PIL import Image


@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
    """The images of one attack on one batch, each `[K, H, W, C]` in [0, 1] in the same order."""

    original: np.ndarray
    reconstruction: np.ndarray
    controls: Mapping[str, np.ndarray]


def arrays_of(pictures: Mapping[tuple, Pictures]) -> dict[str, np.ndarray]:
    """Images as uint8 by name, two arrays for each attack on each batch."""
    arrays = {}
    for key, shown in pictures.items():
        name = " | ".join(map(str, key)).replace("/", "_")
        arrays[f"{name} | original"] = as_bytes(shown.original)
        arrays[f"{name} | reconstruction"] = as_bytes(shown.reconstruction)
    return arrays


def as_bytes(images: np.ndarray) -> np.ndarray:
    """Images in [0, 1] as uint8."""
    return np.uint8(np.round(255 * np.clip(images, 0.0, 1.0)))


def data_uri(image: np.ndarray) -> str:
    """An image `[H, W, C]` in [0, 1] as an address that holds its PNG."""
    pixels = as_bytes(image)
    buffer = io.BytesIO()
    picture = Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
