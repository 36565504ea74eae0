"""From the name of a data set to a checked `Source`: local files first, then libraries."""

import difflib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tfgen.data import libraries
from tfgen.data.arrays import (
    MissingSplitError,
    Split,
    read_idx_split,
    read_npy,
    read_npz,
)
from tfgen.data.catalogue import CATALOGUE, DatasetInfo
from tfgen.data.channels import with_channels
from tfgen.data.cifar_c import cifar_c_parts, read_cifar_c
from tfgen.data.composed_scenes import composed_scenes
from tfgen.data.folder_splits import PARTITION_FILES, SPLIT_FOLDERS, has_images
from tfgen.data.folders import read_folder
from tfgen.data.image_list import list_path, read_image_list
from tfgen.data.labels import Labels
from tfgen.data.mat_files import read_chardata_mat, read_svhn_mat
from tfgen.data.named_arrays import read_arrays
from tfgen.data.scenes import digit_scenes
from tfgen.data.source import Source
from tfgen.data.stacked import stack_digits
from tfgen.errors import ConfigError, DataError
from tfgen.files.names import shown

DATA_DIR_VARIABLE = "TFGEN_DATA_DIR"
DEFAULT_DATA_DIR = Path("~/.cache/tfgen/data")
SCENES = "digit_scenes"
COMPOSED = "composed_scenes"

Reader = Callable[[], Split]


def load(
    name: str,
    split: str = "train",
    data_dir: str | os.PathLike | None = None,
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
) -> Source:
    """Loads one split of a data set by name.

    Names are those of the `CATALOGUE`, and

    - `digit_scenes`: pictures with captions, see `tfgen.data.scenes`;
    - `composed_scenes`: the same of clothes and digits, see `tfgen.data.composed_scenes`; needs
      `mnist` and `fashion_mnist`;
    - `arrays:PATH`: a folder of any arrays by name, see `tfgen.data.named_arrays`;
    - `npz:PATH`: a NumPy archive with `x_train`, `y_train`, `x_test`, `y_test` (labels optional);
    - `folder:PATH`: files of PNG, JPEG, WebP, BMP, GIF and TIFF, searched recursively, with or
      without split subfolders;
    - `imglist:FILE`: a text file with `path label` on each line, paths from its folder or
      `data_dir` on; `{split}` in FILE stands for the split;
    - `cifar_c:FOLDER:CORRUPTION:SEVERITY`: `CORRUPTION.npy` and `labels.npy` as CIFAR-10-C has
      them; without `:SEVERITY` all five, one after another;
    - `tfds:NAME`: any set of TensorFlow Datasets with an `image`.

    Sets of the catalogue are looked for in `data_dir` first, as `NAME.npz`, `NAME_SPLIT.npy`
    (memory-mapped) or a folder `NAME/`; then the library that can fetch them is asked.

    Args:
        name: string, the data set's name.
        split: string, "train", "validation" or "test"; folders also know "all", TFDS its own names.
            Defaults to `"train"`.
        data_dir: path of the folder of local files; None: the environment variable TFGEN_DATA_DIR,
            or `~/.cache/tfgen/data`. Relative PATHs are also looked for there.
        image_size: integer or pair `(height, width)` that `folder:`, `imglist:` and `tfds:` images
            are brought to; None leaves them.
        channels: integer, 1 for grey (ITU-R 601 luma of colours), 3 for RGB (grey is repeated).
            None: as they are; a folder is grey where all of its files are, whatever their split.

    Returns:
        The arrays "images", uint8 `[N, H, W, C]`, and "labels" `[N]` if known; of scenes and
        `arrays:` whatever they have.

    Raises:
        ConfigError: `image_size` for data that are not resized.
        DataError: an unknown name; missing, damaged or unexpected data. The message says where
            to put what.
    """
    if isinstance(image_size, int):
        image_size = (image_size, image_size)
    folder = _data_folder(data_dir)
    kind = name.partition(":")[0]
    if image_size is not None and kind not in ("folder", "imglist", "tfds"):
        raise ConfigError(
            f"image_size is {image_size}, but only folder:, imglist: and tfds: images are resized; "
            f"{name!r} has the size it has"
        )
    source = _load(name, split, folder, data_dir is not None, image_size, channels)
    return with_channels(source, channels) if "images" in source.arrays else source


def _load(name, split, folder, explicit, image_size, channels) -> Source:
    kind, _, rest = name.partition(":")
    if name == SCENES:
        return Source(name, split, digit_scenes(split))
    if name == COMPOSED:
        return Source(name, split, composed_scenes(split, _things(folder, explicit)))
    if kind == "arrays" and rest:
        path = _existing(rest, folder, "folder")
        return Source(name, split, read_arrays(path, split), os.fspath(path))
    if kind == "npz" and rest:
        path = _existing(rest, folder, "file")
        return _source(name, split, read_npz(path, split), path)
    if kind == "folder" and rest:
        path = _existing(rest, folder, "folder")
        wanted = channels if channels in (1, 3) else None
        return _source(name, split, read_folder(path, split, image_size, channels=wanted), path)
    if kind == "imglist" and rest:
        path = _existing(list_path(rest, split), folder, "file")
        wanted = channels if channels in (1, 3) else None
        found = read_image_list(path, (path.parent, folder), image_size, wanted)
        return _source(name, split, found, path)
    if kind == "cifar_c" and rest:
        place, corruption, severity = cifar_c_parts(rest)
        path = _existing(place, folder, "folder")
        return _source(name, split, read_cifar_c(path, corruption, severity, split), path)
    if kind == "tfds" and rest:
        cache = folder / f"{rest.replace('/', '_')}_{split}.npy"
        found = libraries.fetch_tfds(rest, split, folder if explicit else None, cache, image_size)
        return _source(name, split, found)
    if name not in CATALOGUE:
        close = difflib.get_close_matches(name, CATALOGUE, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise DataError(
            f"there is no data set {name!r}; {hint}expected one of {', '.join(CATALOGUE)}, "
            f"{SCENES}, {COMPOSED}, arrays:PATH, npz:PATH, folder:PATH, imglist:FILE, "
            "cifar_c:FOLDER:CORRUPTION or tfds:NAME"
        )
    return _load_catalogued(CATALOGUE[name], split, folder, explicit)


def _things(folder, explicit):
    def read(name, split):
        found = _load_catalogued(CATALOGUE[name], split, folder, explicit)
        return found.images, found.labels

    return read


def _load_catalogued(info: DatasetInfo, split: str, folder: Path, explicit: bool) -> Source:
    if info.name == "digits":
        return _source(info.name, split, libraries.read_digits(split))
    if info.name == "stacked_mnist":
        mnist = _load_catalogued(CATALOGUE["mnist"], split, folder, explicit)
        images, labels = stack_digits(mnist.images, mnist.labels)
        labels = None if labels is None else Labels(labels)
        return _source(info.name, split, Split(images, labels), mnist.path)
    reasons = []
    for path, read in (
        *_local_candidates(info, split, folder),
        *_library_candidates(info, split, folder, explicit),
    ):
        try:
            source = _source(info.name, split, read(), path)
        except MissingSplitError as error:
            reasons.append(str(error))
            continue
        except DataError as error:
            if path is not None:  # A damaged local file is a fault to mend, not to pass over.
                raise
            reasons.append(str(error))
            continue
        if source.image_shape != info.image_shape:
            raise DataError(
                f"{source.path or info.name} has images of shape {source.image_shape}; "
                f"{info.name} is expected to have {info.image_shape}"
            )
        return source
    tried = f" ({'; '.join(reasons)})" if reasons else ""
    raise DataError(
        f"the {split!r} split of {info.name} was not found{tried}: put it at "
        f"{_advised_path(info, folder)}, or name its folder with --data_dir"
        + (f". {info.note}" if info.note else "")
    )


def _source(name, split, found: Split, path=None) -> Source:
    arrays, names = {"images": found.images}, None
    if found.labels is not None:
        arrays["labels"], names = found.labels
    return Source(
        name, split, arrays, None if path is None else os.fspath(path), found.notes, names
    )


def _local_candidates(info, split, folder) -> Iterator[tuple[Path, Reader]]:
    for file_name in (f"{info.name}.npz", *info.files):
        path = folder / file_name
        if path.is_file():
            read = read_chardata_mat if path.suffix == ".mat" else read_npz
            yield path, functools.partial(read, path, split)
    path = folder / f"{info.name}_{split}.npy"
    if path.is_file():
        yield path, functools.partial(read_npy, path, split)
    path = folder / info.name
    if path.is_dir():
        yield from _folder_candidates(info, split, path)


def _folder_candidates(info, split, path) -> Iterator[tuple[Path, Reader]]:
    """What a folder named after the data set may hold: the originals, in their own formats."""
    if any("idx3-ubyte" in file.name.lower() for file in path.iterdir()):
        yield path, functools.partial(read_idx_split, path, split)
    for matrix in (path / f"{split}_32x32.mat", path / "chardata.mat"):
        if matrix.is_file():
            read = read_chardata_mat if matrix.name == "chardata.mat" else read_svhn_mat
            yield matrix, functools.partial(read, matrix, split)
    for part in (path / name for name in SPLIT_FOLDERS.get(split, ())):
        if libraries.tfrecord_files(part):
            cache = path.parent / f"{info.name}_{split}.npy"
            yield part, functools.partial(libraries.read_tfrecords, part, info.image_shape, cache)
    if any((path / name).is_file() for name in PARTITION_FILES) or has_images(path):
        yield path, functools.partial(_read_images, info, split, path)


def _read_images(info, split, path):
    height, width, channels = info.image_shape
    found = read_folder(
        path,
        split,
        (height, width),
        channels=channels,
        crop=info.crop,
        crop_from=info.crop_from,
    )
    return found._replace(labels=None)  # subfolders of these sets are no classes


def _library_candidates(info, split, folder, explicit) -> Iterator[tuple[None, Reader]]:
    if info.name == "omniglot":
        yield None, functools.partial(libraries.fetch_chardata, split)
    if info.keras is not None:
        yield None, functools.partial(libraries.fetch_keras, info.keras, split)
    if info.tfds is not None:
        yield (
            None,
            functools.partial(
                libraries.fetch_tfds,
                info.tfds,
                info.tfds_splits.get(split, split),
                folder if explicit else None,
                folder / f"{info.name}_{split}.npy",
                info.image_shape[:2],
                info.crop,
            ),
        )


def _advised_path(info, folder):
    if info.image_shape[0] > 32 or info.name == "imagenet32":
        return f"{folder / info.name}{os.sep} (images)"
    return f"{folder / info.name}.npz (arrays x_train, y_train, x_test, y_test)"


def _data_folder(data_dir) -> Path:
    if data_dir is None:
        return Path(os.environ.get(DATA_DIR_VARIABLE) or DEFAULT_DATA_DIR).expanduser()
    folder = Path(data_dir).expanduser()
    if not folder.is_dir():
        raise DataError(f"the data folder {shown(folder)} does not exist; make it or name another")
    return folder


def _existing(rest, folder, kind) -> Path:
    path = Path(rest).expanduser()
    for candidate in (path, folder / path):
        if candidate.is_file() if kind == "file" else candidate.is_dir():
            return candidate
        if candidate.exists():
            raise DataError(f"{shown(candidate)} is no {kind}; expected a {kind} of images")
    elsewhere = "" if path.is_absolute() else f", neither here nor in {shown(folder)}"
    raise DataError(f"there is no {kind} {shown(path)}{elsewhere}")
