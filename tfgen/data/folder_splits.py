"""Which files of a folder are images, and which of them belong to a split."""

import collections
import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tfgen.data.arrays import MissingSplitError, readable
from tfgen.data.image_file import FORMATS, SUFFIXES, image_format
from tfgen.data.split_names import PARTS, SPLIT_FOLDERS, TRAIN, alike_splits, split_name
from tfgen.errors import DataError
from tfgen.files.names import shown

# Lists of CelebA, as published and as re-packed: "000001.jpg 0" or "000001.jpg,0".
PARTITION_FILES = ("list_eval_partition.txt", "list_eval_partition.csv")
PARTITION_CODES = {"train": "0", "validation": "1", "test": "2"}
HELD_OUT_FRACTION = 0.1

# Folders that operating systems and photo servers keep beside a user's own.
_FOREIGN = ("__macosx", "@eadir", "$recycle.bin")
HIDDEN, SPECIAL, UNREADABLE = "hidden", "no regular files", "not readable"
SEEN = "folders reached a second time"


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
    paths = sorted(_walk(folder, left_out), key=lambda path: relative_name(path, folder))
    return Listing(folder, paths, dict(left_out))


def has_images(folder: Path) -> bool:
    """Whether there is any image file below a folder."""
    return next(_walk(folder, collections.Counter()), None) is not None


def relative_name(path: Path, folder: Path) -> bytes:
    """The file's name below a folder, with forward slashes, as the bytes it is made of."""
    return os.fsencode(path.relative_to(folder).as_posix())


def split_files(folder: Path, split: str) -> Listing:
    """The image files of one split.

    A folder says how it is split by subfolders (`train/` or `training/`, `validation/`, `valid/`,
    `val/`, `dev/` or `eval/`, `test/` or `testing/`, in any case, also as in `train_images/`,
    `Trainset/` or `train2017/`) or by CelebA's `list_eval_partition`. One that says nothing is
    split by a hash of each file's relative name: about a tenth is held out for "validation" and
    "test" alike. No file's place depends on the others, so images that are added move none, and
    copies of the folder agree; a renamed file may change sides.

    Raises:
        DataError: there are no such images; image folders or files lie beside split folders;
            split folders lie deeper; or there are folders that only seem to be splits.
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
        _refuse_unclear_splits(listing)
        return _found(_hashed(listing, split), _all_on_the_other_side(listing, split))
    for name in SPLIT_FOLDERS[split]:
        if name in parts:
            return _found(list_images(parts[name]))
    names = ", ".join(shown(part.name) for part in sorted(parts.values()))
    raise MissingSplitError(
        f"{shown(folder)} has the parts {names}, but none for the {split!r} split"
    )


def split_folders(folder: Path) -> dict[str, Path]:
    """The name of a split -> subfolder, of the subfolders that are one; empty when there are none.

    Raises:
        DataError: other images lie beside split folders, or two folders are one split.
    """
    parts, others = {}, []
    for entry in _entries(folder):
        path = Path(entry.path)
        if _is_hidden(entry.name):
            continue
        name = split_name(entry.name)
        if name is None or not os.path.isdir(path):
            others.append(path)
        elif name in parts:
            raise _two_folders(folder, parts[name], path)
        else:
            parts[name] = path
    for names in PARTS:
        first, *more = [parts[name] for name in names if name in parts] or [None]
        if more:
            raise _two_folders(folder, first, more[0])
    beside = next(filter(_holds_images, others), None) if parts else None
    if beside is not None:
        raise DataError(
            f"{shown(folder)} holds the split folder {shown(next(iter(parts.values())).name)}"
            f"{os.sep} and beside it images in {shown(beside.name)}, so that its splits are not "
            "clear; rename the one if it is a class, move the other, or load the split 'all'"
        )
    return parts


def _refuse_unclear_splits(listing: Listing) -> None:
    """Refuses training and other images in folders side by side that are not the set's splits.

    By the hash of their names, images meant for testing would be trained on.
    """
    within = collections.defaultdict(set)  # names of the folders in each folder
    for folder in {path.parent for path in listing}:
        while folder != listing.root and folder.name not in within[folder.parent]:
            within[folder.parent].add(folder.name)
            folder = folder.parent
    for place, names in sorted(within.items()):
        splits = {split_name(name) in TRAIN: name for name in sorted(names) if split_name(name)}
        if len(splits) == 2:
            raise DataError(
                f"{shown(listing.root)} has no split folders, but {shown(place)} has "
                f"{shown(splits[True])}{os.sep} and {shown(splits[False])}{os.sep}; load that "
                "folder, move them to the top, or load the split 'all'"
            )
        alike = alike_splits({name: within.get(place / name, ()) for name in names})
        if alike is not None:
            first, second = (f"{shown(name)}{os.sep}" for name in alike)
            raise DataError(
                f"{shown(place)} has {first} and {second}, which look like training and other "
                f"images but are not called so; rename them train{os.sep} and test{os.sep}, rename "
                "the one if it is a class, or load the split 'all'"
            )


def _two_folders(folder, first, second) -> DataError:
    return DataError(
        f"{shown(folder)} holds both {shown(first.name)}{os.sep} and {shown(second.name)}{os.sep}, "
        "which are one split; make one folder of them, or load the split 'all'"
    )


def _holds_images(path: Path) -> bool:
    return has_images(path) if os.path.isdir(path) else _reason_against(path) is None


def _entries(folder: Path) -> list[os.DirEntry]:
    """What lies in a folder, by name.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise DataError(
            f"the folder {shown(folder)} cannot be read ({error.strerror or error})"
        ) from error


def _walk(folder: Path, left_out: collections.Counter) -> Iterator[Path]:
    """Files to decode, in no order that means anything; counts the others by reason."""
    # Not by recursion: folders lie within each other deeper than Python calls.
    waiting, seen = [folder], {_place(folder)}
    while waiting:
        for entry in _entries(waiting.pop()):
            path, reason = Path(entry.path), None
            if _is_hidden(entry.name):
                reason = HIDDEN
            elif os.path.isdir(path):
                place = _place(path)
                reason = SEEN if place in seen else None
                if reason is None:
                    seen.add(place)
                    waiting.append(path)
            else:
                reason = _reason_against(path)
                if reason is None:
                    yield path
            if reason is not None:
                left_out[reason] += 1


def _place(folder) -> tuple[int, int]:
    """The same for all names of one folder."""
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _reason_against(path: Path) -> str | None:
    """Why a file is none to decode; None if it is one."""
    if not os.path.isfile(path):  # A pipe, or a link to nothing or to itself.
        return SPECIAL
    try:
        if _is_image(path):
            return None
    except DataError:
        return UNREADABLE
    return f"*{shown(path.suffix.lower())}" if path.suffix else "without suffix"


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _FOREIGN


def _is_image(path: Path) -> bool:
    """Whether a file is called an image or is one.

    Raw files of cameras are TIFF inside, which shows a thumbnail at best.
    """
    if path.suffix.lower() in SUFFIXES:
        return True
    found = image_format(path)
    return found is not None and (found != "TIFF" or not path.suffix)


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
    with readable(partition, "a list of splits"):
        lines = partition.read_text(encoding="utf-8", errors="replace").splitlines()
    for line in lines:
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
