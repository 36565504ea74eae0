"""Folders of image files as arrays of images, decoded at once or when they are needed."""

import collections
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tfgen.data.arrays import Split
from tfgen.data.folder_splits import Listing, list_images, split_files, split_folders
from tfgen.data.image_file import Header, decode_image
from tfgen.data.image_file import read_header as _header
from tfgen.data.labels import Labels
from tfgen.data.mapped import MEMORY_LIMIT_BYTES
from tfgen.errors import DataError
from tfgen.files.names import shown


class ImageFiles:
    """Image files that look like an array `[N, H, W, C]` and are decoded when indexed.

    Args:
        paths: sequence of the paths of the files.
        image_shape: tuple `(height, width, channels)` of every decoded image.
        decode: function from a path to a uint8 array of `image_shape`.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self,
        paths: Sequence[Path],
        image_shape: tuple[int, int, int],
        decode: Callable[[Path], np.ndarray],
    ):
        self.paths = list(paths)
        self.shape = (len(self.paths), *image_shape)
        self._decode = decode

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices):
        """uint8 `[n, H, W, C]` for an array of indices, `[H, W, C]` for one."""
        if np.ndim(indices) == 0:
            return self._decode(self.paths[indices])
        if len(indices) == 0:
            return np.empty((0, *self.shape[1:]), np.uint8)
        return np.stack([self._decode(self.paths[index]) for index in indices])

    def decode_all(self) -> np.ndarray:
        """All images as one array."""
        images = np.empty(self.shape, np.uint8)
        with ThreadPoolExecutor() as pool:
            for index, image in enumerate(pool.map(self._decode, self.paths)):
                images[index] = image
        return images


def read_folder(
    folder: Path,
    split: str,
    image_size: tuple[int, int] | None = None,
    *,
    channels: int | None = None,
    crop: tuple[int, int, int, int] | None = None,
    crop_from: tuple[int, int] | None = None,
) -> Split:
    """The images of one split of a folder, in the order of their names.

    Args:
        folder: path, searched recursively; see `tfgen.data.folder_splits` for how it is split.
        split: "train", "validation", "test" or "all".
        image_size: pair `(height, width)` that every image is brought to: cut to that aspect ratio
            about the centre, then resized (bilinear, antialiased). None: all must have one size.
        channels: integer, 1 (grey) or 3 (RGB); None: 1 when every file of the folder, whatever its
            split, is grey.
        crop: tuple `(left, upper, right, lower)`, cut first from images of size `crop_from`; None
            cuts nothing.
        crop_from: tuple `(width, height)`, or None.

    Raises:
        DataError: no images; a file that is no image, is damaged or has another size.
    """
    listing = split_files(folder, split)
    # Headers alone are read here: cheap, and they betray most files that are no images.
    headers = _headers(listing)
    if image_size is None:
        image_size = _common_size(listing, headers)
    if channels is None:
        channels = _common_channels(folder, listing, headers)
    decode = functools.partial(
        decode_image, image_size=image_size, channels=channels, crop=crop, crop_from=crop_from
    )
    images = _decoded(listing, (*image_size, channels), decode)
    return Split(images, _labels(folder, split, listing), _notes(listing, headers, channels))


def read_listing(
    listing: Listing, image_size: tuple[int, int] | None = None, channels: int | None = None
) -> Split:
    """The images of a listing, in its order, without labels.

    Args:
        listing: a `Listing` of image files.
        image_size: pair `(height, width)` that every image is brought to, as by `read_folder`.
            None: all must have one size.
        channels: integer, 1 (grey) or 3 (RGB); None: 1 when all of them are grey.

    Raises:
        DataError: a file that is no image, is damaged or has another size.
    """
    headers = _headers(listing)
    if image_size is None:
        image_size = _common_size(listing, headers)
    if channels is None:
        channels = 1 if all(header.grey for header in headers) else 3
    decode = functools.partial(decode_image, image_size=image_size, channels=channels)
    images = _decoded(listing, (*image_size, channels), decode)
    return Split(images, notes=_notes(listing, headers, channels))


def _decoded(listing, image_shape, decode):
    """At once, or as they are needed where they are many."""
    files = ImageFiles(listing, image_shape, decode)
    small = np.prod(files.shape, dtype=np.int64) <= MEMORY_LIMIT_BYTES
    return files.decode_all() if small else files


def _headers(paths) -> list[Header]:
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_header, paths))


def _common_size(paths, headers):
    width, height = headers[0].size
    for path, header in zip(paths, headers):
        if header.size != (width, height):
            raise DataError(
                f"{shown(path)} is {header.size[0]}x{header.size[1]} pixels but {shown(paths[0])} "
                f"is {width}x{height}; make all images one size, or give an image size to bring "
                "them to"
            )
    return height, width


def _common_channels(folder, listing, headers) -> int:
    """One number for all splits: a model that learned from one must be able to see the others."""
    if not all(header.grey for header in headers):
        return 3
    known = set(listing)
    others = [path for path in list_images(folder) if path not in known]
    return 1 if all(header.grey for header in _headers(others)) else 3


def _labels(folder, split, listing: Listing) -> Labels | None:
    """Labels by class folder, when all images lie in at least two of them."""
    if split == "all":
        return None
    # Classes are numbered over all splits: one of them may lack some.
    roots = split_folders(folder).values() if listing.root != folder else [folder]
    names = sorted({name for root in roots for name in _class_folders(root)})
    own = [_class_of(path, listing.root) for path in listing]
    if len(names) < 2 or "" in own:
        return None
    numbers = {name: number for number, name in enumerate(names)}
    return Labels(np.array([numbers[name] for name in own], np.int64), tuple(map(shown, names)))


def _class_folders(root) -> set[str]:
    return {_class_of(path, root) for path in list_images(root)} - {""}


def _class_of(path, root) -> str:
    """The first folder below the root, or "" for a file directly in it."""
    parts = path.relative_to(root).parts
    return parts[0] if len(parts) > 1 else ""


def _notes(listing, headers, channels) -> tuple[str, ...]:
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in _most(listing.left_out))
    notes = collections.Counter(note for header in headers for note in header.notes)
    coloured = sum(not header.grey for header in headers)
    if channels == 1 and coloured:
        notes["converted from colour to grey (ITU-R 601 luma)"] += coloured
    if channels == 3 and coloured < len(headers):
        notes["grey, repeated in three channels"] += len(headers) - coloured
    total = sum(listing.left_out.values())
    return (
        *([f"files left out: {total:,} ({left_out})"] if total else []),
        *(f"images {note}: {count:,} of {len(headers):,}" for note, count in notes.items()),
    )


def _most(counts, limit: int = 6):
    """The commonest, and how many there are beside them."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in ordered[limit:])
    return [*ordered[:limit], *([("others", rest)] if rest else [])]
