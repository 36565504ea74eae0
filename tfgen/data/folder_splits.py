"""Which files of a folder are images, and which of them belong to a split."""

import collections
import dataclasses
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tfgen.data.arrays import MissingSplitError
from tfgen.data.image_file import FORMATS, SUFFIXES, image_format
from tfgen.errors import DataError
from tfgen.files.names import shown

# Names of subfolders, in lower case. A set that has no test part of its own is evaluated on its
# validation part, as the papers do.
_VALIDATION = ("validation", "valid", "val", "valid_32x32")
SPLIT_FOLDERS = {
    "train": ("train", "training", "train_32x32"),
    "validation": _VALIDATION,
    "test": ("test", "testing", *_VALIDATION),
}
# Lists of CelebA, as published and as re-packed: "000001.jpg 0" or "000001.jpg,0".
PARTITION_FILES = ("list_eval_partition.txt", "list_eval_partition.csv")
PARTITION_CODES = {"train": "0", "validation": "1", "test": "2"}
HELD_OUT_FRACTION = 0.1

# Folders that operating systems and photo servers keep beside a user's own.
_FOREIGN = ("__macosx", "@eadir", "$recycle.bin")
HIDDEN, NO_IMAGE, SPECIAL = "hidden", "no images", "no regular files"
SEEN = "in folders reached a second time"


@dataclasses.dataclass(frozen=True)
class Listing(Sequence):
    """Image files of a folder, a sequence of paths.

    Attributes:
        root: what their relative names start from.
        paths: sorted by relative name.
        left_out: reason -> how many files were left out for it.
    """

    root: Path
    paths: Sequence[Path]
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index):
        return self.paths[index]

    def only(self, paths) -> "Listing":
        return dataclasses.replace(self, paths=list(paths))


def list_images(folder: Path) -> Listing:
    """All image files below a folder, recognised by content; links are followed.

    Hidden files and folders are left out, and a folder that links reach a second time is read once.
    A file that is called an image but is none is listed, so that decoding it says so.
    """
    left_out = collections.Counter()
    paths = sorted(_walk(folder, left_out, set()), key=lambda path: relative_name(path, folder))
    return Listing(folder, paths, dict(left_out))


def has_images(folder: Path) -> bool:
    """Whether there is any image file below a folder."""
    return next(_walk(folder, collections.Counter(), set()), None) is not None


def relative_name(path: Path, folder: Path) -> bytes:
    """The file's name below a folder, with forward slashes, as the bytes it is made of."""
    return os.fsencode(path.relative_to(folder).as_posix())


def split_files(folder: Path, split: str) -> Listing:
    """The image files of one split.

    A folder says how it is split by subfolders (`train/` or `training/`, `validation/`, `valid/` or
    `val/`, `test/` or `testing/`, in any case) or by CelebA's `list_eval_partition`. One that says
    nothing is split by a hash of each file's relative name: about a tenth is held out for
    "validation" and "test" alike. No file's place depends on the others, so images that are added
    move none, and copies of the folder agree; a renamed file may change sides.

    Raises:
        DataError: there are no such images; image folders or files lie beside split folders.
    """
    if split == "all":
        return _found(list_images(folder))
    if split not in SPLIT_FOLDERS:
        raise MissingSplitError(
            f"a folder has the splits {', '.join(SPLIT_FOLDERS)} and all, not {split!r}"
        )
    for partition in (folder / name for name in PARTITION_FILES):
        if partition.is_file():
            return _found(_partitioned(folder, partition, split))
    parts = split_folders(folder)
    if not parts:
        listing = _found(list_images(folder))
        return _found(_hashed(listing, split), _all_on_the_other_side(listing, split))
    for name in SPLIT_FOLDERS[split]:
        if name in parts:
            return _found(list_images(parts[name]))
    names = ", ".join(shown(part.name) for part in sorted(parts.values()))
    raise MissingSplitError(
        f"{shown(folder)} has the parts {names}, but none for the {split!r} split"
    )


def split_folders(folder: Path) -> dict[str, Path]:
    """Lower-case name -> subfolder, of the subfolders that are splits; empty when there are none.

    A single one beside several flat image folders, itself flat, is a class that happens to be
    called like a split.

    Raises:
        DataError: other images lie beside split folders, or two folders are one split.
    """
    known = {name for names in SPLIT_FOLDERS.values() for name in names}
    parts, others, loose = {}, [], False
    for path in sorted(folder.iterdir()):
        if _is_hidden(path.name):
            continue
        if not path.is_dir():
            loose = loose or _is_image(path)
        elif path.name.lower() not in known:
            others.append(path)
        elif path.name.lower() in parts:
            raise DataError(
                f"{shown(folder)} holds both {shown(parts[path.name.lower()].name)}{os.sep} and "
                f"{shown(path.name)}{os.sep}; make one folder of them, or load the split 'all'"
            )
        else:
            parts[path.name.lower()] = path
    others = [path for path in others if has_images(path)] if parts else []
    if not others and not (loose and parts):
        return parts
    classes = [*parts.values(), *others]
    if len(parts) == 1 and len(others) > 1 and not loose and all(map(_is_flat, classes)):
        return {}
    beside = f"the folder {shown(others[0].name)}{os.sep}" if others else "image files"
    raise DataError(
        f"{shown(folder)} holds the split folder {shown(next(iter(parts.values())).name)}{os.sep} "
        f"and beside it {beside}, so that its splits are not clear; move what belongs to no split "
        "elsewhere, or load the split 'all'"
    )


def _walk(folder: Path, left_out: collections.Counter, seen: set) -> Iterator[Path]:
    """Files to decode, in no order that means anything; counts the others by reason."""
    try:
        place = os.stat(folder)
        entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise DataError(
            f"the folder {shown(folder)} cannot be read ({error.strerror or error})"
        ) from error
    seen.add((place.st_dev, place.st_ino))
    for entry in entries:
        path = Path(entry.path)
        if _is_hidden(entry.name):
            left_out[HIDDEN] += 1
            continue
        try:
            mode = entry.stat()
        except OSError:  # A link to nothing, or to itself.
            left_out[SPECIAL] += 1
            continue
        if stat.S_ISDIR(mode.st_mode):
            if (mode.st_dev, mode.st_ino) in seen:
                left_out[SEEN] += 1
            else:
                yield from _walk(path, left_out, seen)
        elif not stat.S_ISREG(mode.st_mode):
            left_out[SPECIAL] += 1
        elif path.suffix.lower() in SUFFIXES or image_format(path) is not None:
            yield path
        else:
            left_out[NO_IMAGE] += 1


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _FOREIGN


def _is_image(path: Path) -> bool:
    return path.is_file() and (path.suffix.lower() in SUFFIXES or image_format(path) is not None)


def _is_flat(folder: Path) -> bool:
    """Whether no subfolder of a folder holds images."""
    return not any(
        path.is_dir() and not _is_hidden(path.name) and has_images(path)
        for path in folder.iterdir()
    )


def _found(listing: Listing, instead: str = f"no files of {FORMATS} for this split") -> Listing:
    if not listing.paths:
        raise DataError(f"{shown(listing.root)} has {instead}")
    return listing


def _all_on_the_other_side(listing, split) -> str:
    images = "1 image" if len(listing) == 1 else f"{len(listing)} images"
    return (
        f"{images}, none of which falls into the {split!r} split by the hash of its name; sort "
        "them into folders train/ and test/, or load the split 'all'"
    )


def _partitioned(folder: Path, partition: Path, split: str) -> Listing:
    wanted = set()
    for line in partition.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, code = line.replace(",", " ").strip().partition(" ")
        if code.strip() == PARTITION_CODES[split]:
            wanted.add(name)
    listing = list_images(folder)
    return listing.only(path for path in listing if path.name in wanted)


def _hashed(listing: Listing, split: str) -> Listing:
    def is_held_out(path):
        digest = hashlib.sha256(relative_name(path, listing.root)).digest()
        return int.from_bytes(digest[:8], "big") < HELD_OUT_FRACTION * 2**64

    return listing.only(p for p in listing if is_held_out(p) != (split == "train"))
