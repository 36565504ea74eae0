"""Colour for models of grey images, and grey for models of colours."""

import dataclasses

import numpy as np

from tfgen.data.mapped import Mapped, is_in_memory
from tfgen.data.source import Source

_CHUNK = 4096  # images
_LUMA = np.array([19595, 38470, 7471], np.uint32)  # 0.299, 0.587, 0.114 in units of 2^-16


def luma(images: np.ndarray) -> np.ndarray:
    """The grey of RGB images, uint8 `[..., 3]` -> `[..., 1]`, by ITU-R BT.601 as Pillow has it.

    Grey that was saved as RGB comes back exactly.
    """
    weighted = images.astype(np.uint32) @ _LUMA
    return ((weighted + 2**15) >> 16).astype(np.uint8)[..., np.newaxis]


def repeated(images: np.ndarray) -> np.ndarray:
    """Grey images as RGB: `[..., 1]` -> `[..., 3]`."""
    return np.repeat(images, 3, axis=-1)


_CHANGES = {
    (3, 1): (luma, "images converted from colour to grey (ITU-R 601 luma)"),
    (1, 3): (repeated, "grey images repeated in three channels"),
}


def with_channels(source: Source, channels: int | None) -> Source:
    """The source with grey or colour images as asked for, which its notes say.

    Numbers of channels that mean neither are left to whoever asked.
    """
    found = source.image_shape[-1]
    if (found, channels) not in _CHANGES:
        return source
    change, note = _CHANGES[found, channels]
    images = source.images
    shape = (*source.image_shape[:-1], channels)
    if is_in_memory(images):
        changed = np.empty((len(images), *shape), np.uint8)
        for start in range(0, len(images), _CHUNK):
            changed[start : start + _CHUNK] = change(images[start : start + _CHUNK])
    else:
        changed = Mapped(images, change=change, row_shape=shape)
    return dataclasses.replace(
        source,
        arrays={**source.arrays, "images": changed},
        notes=(*source.notes, f"{note}: all {len(source):,}"),
    )
