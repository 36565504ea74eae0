"""One image file: recognised by its first bytes, decoded to 8 bits as a viewer would show it.

Only the formats named here are ever parsed, whatever a file is called.
"""

import dataclasses
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import PIL.Image

from tfgen.errors import DataError
from tfgen.files.expansion import check_expansion
from tfgen.files.names import shown
from tfgen.files.regular import regular_file

SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif"),
    *(".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"),
)
FORMATS = "PNG, JPEG, WebP, BMP, GIF and TIFF"
BACKGROUND = "white"  # what transparent pixels are blended on

_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}
_MAGIC_BYTES = 18
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # lengths that versions of the format have had
_ORIENTATION = 0x0112
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
_EXIF_KEYWORDS = (b"Raw profile type ", b"XML:com.adobe.xmp")
_TURNS = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
# What is said of a set, beside how many of its images it is true of.
TURNED = "turned as their EXIF orientation says"
BLENDED = f"with transparent pixels, blended on {BACKGROUND}"
REDUCED = "reduced from 16 to 8 bits"
FIRST_FRAME = "animated or of several pages, of which the first was taken"
FROM_CMYK = "converted from CMYK"


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file says of itself before it is decoded.

    Attributes:
        size: pair `(width, height)` as shown, in pixels.
        grey: whether it has no colours.
        notes: tuple of sentences, what is done to it on the way to 8-bit grey or RGB.
    """

    size: tuple[int, int]
    grey: bool
    notes: tuple[str, ...] = ()


def image_format(path: Path) -> str | None:
    """The format by the file's first bytes, or None for anything else.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with open(regular_file(path, DataError), "rb") as file:
            start = file.read(_MAGIC_BYTES)
    except OSError as error:
        raise damaged(path, error) from error
    for magic, name in _MAGIC.items():
        if start.startswith(magic):
            return name
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    if start[:2] == b"BM" and int.from_bytes(start[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    return None


def read_header(path: Path) -> Header:
    """Size, colours and oddities of one file, without decoding its pixels.

    Raises:
        DataError: it is no image, is damaged, is so large that it can only mean harm, or has
            numbers that are no 8 or 16 bits.
    """
    with _opened(path) as image:
        check_expansion(path, path.stat().st_size, _decoded_bytes(image))
        notes, size = [], image.size
        # Pillow would decode all of a PNG to look for EXIF data behind its pixels.
        turn = 1 if image.format == "PNG" and not _png_may_have_exif(path) else _orientation(image)
        if turn in _TURNS:
            notes.append(TURNED)
        if turn in (5, 6, 7, 8) and image.format != "TIFF":  # there Pillow has turned it already
            size = size[::-1]
        if _sixteen_bits(image):
            notes.append(REDUCED)
        elif image.mode.startswith(("I", "F")):
            raise DataError(
                f"{shown(path)} has numbers of 32 bits (mode {image.mode}); convert it to 8 or 16"
            )
        if image.mode == "CMYK":
            notes.append(FROM_CMYK)
        if _transparent(image):
            notes.append(BLENDED)
        if getattr(image, "is_animated", False):
            notes.append(FIRST_FRAME)
        return Header(size, _grey(image), tuple(notes))


def decode_image(
    path: Path,
    image_size: tuple[int, int],
    channels: int,
    crop: tuple[int, int, int, int] | None = None,
    crop_from: tuple[int, int] | None = None,
) -> np.ndarray:
    """One file as uint8 `[H, W, C]`, as a viewer shows it.

    Args:
        path: of the file.
        image_size: pair `(height, width)` that it is brought to, see `fit`.
        channels: integer, 1 for grey (ITU-R 601 luma of colours) or 3 for RGB.
        crop: tuple `(left, upper, right, lower)`, cut first from images of size `crop_from`; None
            cuts nothing.
        crop_from: pair `(width, height)`, or None.

    Raises:
        DataError: the file is damaged; the message names it.
    """
    with _opened(path) as opened:
        check_expansion(path, path.stat().st_size, _decoded_bytes(opened))
        opened.load()
        image = _eight_bits(opened)
        turn = _orientation(opened)
        if turn in _TURNS:
            image = image.transpose(_TURNS[turn])
        image = image.convert("L" if channels == 1 else "RGB")
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
    cut_width, cut_height = max(1, round(width * scale)), max(1, round(height * scale))
    left, upper = (image.width - cut_width) // 2, (image.height - cut_height) // 2
    image = image.crop((left, upper, left + cut_width, upper + cut_height))
    return image.resize((width, height), PIL.Image.Resampling.BILINEAR)


def damaged(path: Path, error: BaseException) -> DataError:
    """What is said of a file that cannot be decoded."""
    reason = " ".join(str(error).split()).replace(str(path), shown(path)) or type(error).__name__
    return DataError(
        f"{shown(path)} cannot be decoded as an image ({reason}); replace or remove it"
    )


@contextmanager
def _opened(path) -> Iterator[PIL.Image.Image]:
    """The file as the one format its bytes name; whatever its parser raises as a `DataError`."""
    name = image_format(path)
    if name is None:
        raise damaged(path, ValueError(f"its content is none of {FORMATS}"))
    # Pillow warns from half the pixels that it refuses; what may be read is decided here.
    warnings.filterwarnings("ignore", category=PIL.Image.DecompressionBombWarning)
    try:
        with open(path, "rb") as file, PIL.Image.open(file, formats=[name]) as image:
            yield image
    except DataError:
        raise
    except PIL.Image.DecompressionBombError as error:
        raise DataError(
            f"{shown(path)} has more pixels than Pillow decodes ({str(error).split(',')[0]}); "
            "make it smaller or remove it"
        ) from error
    except Exception as error:  # Parsers raise whatever damaged bytes lead them to.
        raise damaged(path, error) from error


def _decoded_bytes(image) -> int:
    return image.width * image.height * len(image.getbands()) * (2 if _sixteen_bits(image) else 1)


def _orientation(image) -> int:
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Damaged EXIF data do not make the pixels worse.
        return 1


def _png_may_have_exif(path) -> bool:
    """Whether a chunk of a PNG is one that Pillow looks for an orientation in."""
    with open(path, "rb") as file:
        file.seek(8)
        while len(start := file.read(32)) >= 8:
            kind, content = start[4:8], start[8:]
            if kind == b"eXIf" or (kind in _TEXT_CHUNKS and content.startswith(_EXIF_KEYWORDS)):
                return True
            # Length, kind and check sum surround the content.
            file.seek(12 + int.from_bytes(start[:4], "big") - len(start), os.SEEK_CUR)
    return False


def _sixteen_bits(image) -> bool:
    return image.mode.startswith("I;16")


def _transparent(image) -> bool:
    return image.has_transparency_data


def _grey(image) -> bool:
    if image.mode == "P":
        palette = np.frombuffer(bytes(image.getpalette("RGB") or ()), np.uint8)
        palette = palette[: len(palette) // 3 * 3].reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in ("1", "L", "LA", "La") or _sixteen_bits(image)


def _eight_bits(image) -> PIL.Image.Image:
    """Grey or RGB of 8 bits, without transparency."""
    if _sixteen_bits(image):
        pixels = np.asarray(image).astype(np.uint32)
        return PIL.Image.fromarray(((pixels * 255 + 32767) // 65535).astype(np.uint8))
    if _transparent(image):
        seen = image.convert("RGBA")
        under = PIL.Image.new("RGBA", seen.size, BACKGROUND)
        return PIL.Image.alpha_composite(under, seen).convert("RGB")
    if image.mode in ("1", "L", "RGB"):
        return image
    return image.convert("RGB")
