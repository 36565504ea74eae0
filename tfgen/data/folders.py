"""Folders of PNG and JPEG files as arrays of images, decoded at once or when they are needed."""

import functools
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image

from tfgen.data.arrays import MissingSplitError
from tfgen.data.source import MEMORY_LIMIT_BYTES
from tfgen.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg")
# A set that has no test part of its own is evaluated on its validation part, as the papers do.
SPLIT_FOLDERS = {
    "train": ("train", "train_32x32"),
    "validation": ("validation", "valid", "val", "valid_32x32"),
    "test": ("test", "validation", "valid", "val", "valid_32x32"),
}
# Lists of CelebA, as published and as re-packed: "000001.jpg 0" or "000001.jpg,0".
PARTITION_FILES = ("list_eval_partition.txt", "list_eval_partition.csv")
PARTITION_CODES = {"train": "0", "validation": "1", "test": "2"}
HELD_OUT_FRACTION = 0.1


class ImageFiles:
    """Image files that look like an array `[N, H, W, C]` and are decoded when indexed.

    Args:
        paths: the files.
        image_shape: (height, width, channels) of every decoded image.
        decode: from a path to a uint8 array of `image_shape`.
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
        """uint8 `[n, H, W, C]` for an array of indices; a slice stays lazy."""
        if isinstance(indices, slice):
            return ImageFiles(self.paths[indices], self.shape[1:], self._decode)
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
) -> np.ndarray | ImageFiles:
    """The images of one split of a folder, in the order of their names.

    Args:
        folder: searched recursively; see `split_files` for how it is split.
        split: "train", "validation", "test" or "all".
        image_size: (height, width) that every image is brought to: cut to that aspect ratio about
            the centre, then resized (bilinear, antialiased). None: all must have one size.
        channels: 1 or 3; None: 1 when every file is grey.
        crop: (left, upper, right, lower), cut first from images of size `crop_from`.
        crop_from: (width, height).

    Returns:
        A uint8 array `[N, H, W, C]`, or `ImageFiles` when that would exceed `MEMORY_LIMIT_BYTES`.

    Raises:
        DataError: no images; a file that is no image, is damaged, has 16 bits or another size.
    """
    paths = split_files(folder, split)
    # Headers alone are read here: cheap, and they betray most files that are no images.
    with ThreadPoolExecutor() as pool:
        headers = list(pool.map(_header, paths))
    if image_size is None:
        image_size = _common_size(paths, headers)
    if channels is None:
        channels = 1 if all(mode in ("1", "L") for _, mode in headers) else 3
    decode = functools.partial(
        decode_image, image_size=image_size, channels=channels, crop=crop, crop_from=crop_from
    )
    files = ImageFiles(paths, (*image_size, channels), decode)
    if np.prod(files.shape, dtype=np.int64) > MEMORY_LIMIT_BYTES:
        return files
    return files.decode_all()


def split_files(folder: Path, split: str) -> list[Path]:
    """The image files of one split.

    A folder says how it is split by subfolders (`train/`, `validation/` or `val/`, `test/`) or by
    CelebA's `list_eval_partition`. One that says nothing is split by a hash of the file names:
    a tenth is held out for "validation" and "test" alike, the same tenth on every machine.

    Raises:
        DataError: there are no such images.
    """
    if split == "all":
        return _found(list_images(folder), folder)
    if split not in SPLIT_FOLDERS:
        raise MissingSplitError(
            f"a folder has the splits {', '.join(SPLIT_FOLDERS)} and all, not {split!r}"
        )
    for partition in (folder / name for name in PARTITION_FILES):
        if partition.is_file():
            return _found(_partitioned(folder, partition, split), folder)
    known = {name for names in SPLIT_FOLDERS.values() for name in names}
    parts = {path.name for path in folder.iterdir() if path.is_dir() and path.name in known}
    if not parts:
        return _found(_hashed(list_images(folder), folder, split), folder)
    for name in SPLIT_FOLDERS[split]:
        if name in parts:
            return _found(list_images(folder / name), folder / name)
    raise MissingSplitError(
        f"{folder} has the parts {', '.join(sorted(parts))}, but none for the {split!r} split"
    )


def list_images(folder: Path) -> list[Path]:
    """All PNG and JPEG files below a folder, sorted by their relative names; hidden ones not."""
    return sorted(_walk(folder), key=lambda path: path.relative_to(folder).as_posix())


def has_images(folder: Path) -> bool:
    """Whether there is any PNG or JPEG file below a folder."""
    return next(_walk(folder), None) is not None


def decode_image(
    path: Path,
    image_size: tuple[int, int],
    channels: int,
    crop: tuple[int, int, int, int] | None = None,
    crop_from: tuple[int, int] | None = None,
) -> np.ndarray:
    """One file as uint8 `[H, W, C]`.

    Raises:
        DataError: the file is damaged; the message names it.
    """
    try:
        with PIL.Image.open(path) as opened:
            image = opened.convert("L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise _damaged(path, error) from error
    if crop is not None and image.size == crop_from:
        image = image.crop(crop)
    pixels = np.asarray(fit(image, image_size))
    return pixels.reshape(*image_size, channels)


def fit(image: PIL.Image.Image, image_size: tuple[int, int]) -> PIL.Image.Image:
    """Cuts about the centre to the aspect ratio of `image_size` (height, width), then resizes."""
    height, width = image_size
    if image.size == (width, height):
        return image
    scale = min(image.width / width, image.height / height)
    cut_width, cut_height = round(width * scale), round(height * scale)
    left, upper = (image.width - cut_width) // 2, (image.height - cut_height) // 2
    image = image.crop((left, upper, left + cut_width, upper + cut_height))
    return image.resize((width, height), PIL.Image.Resampling.BILINEAR)


def _walk(folder):
    for path in folder.rglob("*"):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            yield path


def _header(path):
    try:
        with PIL.Image.open(path) as image:
            size, mode = image.size, image.mode
    except (OSError, SyntaxError, ValueError) as error:
        raise _damaged(path, error) from error
    if mode.startswith(("I", "F")):
        raise DataError(f"{path} has more than 8 bits a channel (mode {mode}); convert it to 8")
    return size, mode


def _common_size(paths, headers):
    (width, height), _ = headers[0]
    for path, (size, _) in zip(paths, headers):
        if size != (width, height):
            raise DataError(
                f"{path} is {size[0]}x{size[1]} pixels but {paths[0]} is {width}x{height}; "
                "make all images one size, or give an image size to bring them to"
            )
    return height, width


def _damaged(path, error):
    reason = " ".join(str(error).split())
    return DataError(f"{path} cannot be decoded as an image ({reason}); replace or remove it")


def _found(paths, folder):
    if not paths:
        raise DataError(f"{folder} has no PNG or JPEG files for this split")
    return paths


def _partitioned(folder, partition, split):
    wanted = set()
    for line in partition.read_text().splitlines():
        name, _, code = line.replace(",", " ").strip().partition(" ")
        if code.strip() == PARTITION_CODES[split]:
            wanted.add(name)
    return [path for path in list_images(folder) if path.name in wanted]


def _hashed(paths, folder, split):
    def digest(path):
        return hashlib.sha256(path.relative_to(folder).as_posix().encode()).digest()

    held_out = set(sorted(paths, key=digest)[: round(len(paths) * HELD_OUT_FRACTION)])
    return [path for path in paths if (path in held_out) != (split == "train")]
