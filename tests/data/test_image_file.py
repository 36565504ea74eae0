"""One image file: formats by content, orientation, transparency, depth; nothing else is parsed."""

import io
import subprocess
import warnings

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from tfgen.data import image_file, load
from tfgen.data.image_file import SUFFIXES, decode_image, image_format, read_header
from tfgen.errors import DataError
from tfgen.files import expansion

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
LOSSLESS = {"WEBP": {"lossless": True}}


@pytest.fixture
def picture(rng):
    """Six rows of four smooth blocks, which JPEG keeps nearly."""
    return PIL.Image.fromarray(
        np.kron(rng.integers(0, 256, (6, 4, 3)), np.ones((8, 8, 1))).astype("u1")
    )


def decoded(path, channels=3):
    header = read_header(path)
    return decode_image(path, header.size[::-1], channels)


@pytest.mark.parametrize("name", FORMATS)
def test_formats_are_known_by_their_content(tmp_path, picture, name):
    path = tmp_path / "picture.png"  # whatever it is called
    picture.save(path, format=name, **LOSSLESS.get(name, {}))
    assert image_format(path) == name
    with PIL.Image.open(path) as opened:
        expected = np.asarray(opened.convert("RGB"))
    np.testing.assert_array_equal(decoded(path), expected)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_suffixes_that_are_images(tmp_path, suffix):
    path = tmp_path / f"picture{suffix.upper()}"
    path.write_text("no image")
    with pytest.raises(
        DataError, match="its content is none of PNG, JPEG, WebP, BMP, GIF and TIFF"
    ):
        load(f"folder:{tmp_path}", "all")


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_orientation_is_what_viewers_show(tmp_path, picture, name, turn):
    path = tmp_path / "phone.jpg"
    exif = PIL.Image.Exif()
    exif[0x0112] = turn
    options = {"quality": 95} if name == "JPEG" else LOSSLESS.get(name, {})
    picture.save(path, format=name, exif=exif, **options)
    with PIL.Image.open(path) as opened:
        expected = PIL.ImageOps.exif_transpose(opened).convert("RGB")
    assert read_header(path).size == expected.size
    assert read_header(path).notes == ((image_file.TURNED,) if turn > 1 else ())
    np.testing.assert_array_equal(decoded(path), np.asarray(expected))


def test_orientation_behind_the_pixels_of_a_png(tmp_path, picture):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    whole, plain = io.BytesIO(), io.BytesIO()
    picture.save(whole, "PNG", exif=exif)
    picture.save(plain, "PNG")
    start = whole.getvalue().index(b"eXIf") - 4
    chunk = whole.getvalue()[start : whole.getvalue().index(b"IDAT") - 4]
    path = tmp_path / "a.png"
    path.write_bytes(plain.getvalue()[:-12] + chunk + plain.getvalue()[-12:])
    assert read_header(path).size == (48, 32)
    np.testing.assert_array_equal(decoded(path), np.rot90(picture, -1))


def test_headers_of_png_are_read_without_the_pixels(tmp_path, picture, monkeypatch):
    picture.save(tmp_path / "a.png")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: 1 / 0)
    assert read_header(tmp_path / "a.png").size == (32, 48)


def test_transparency_is_blended_on_white(tmp_path):
    pixels = np.full((2, 3, 4), 40, np.uint8)
    pixels[..., 3] = [[0, 51, 255], [255, 0, 0]]
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png")
    white = np.array([[255, 212, 40], [40, 255, 255]])
    np.testing.assert_array_equal(decoded(tmp_path / "a.png")[..., 1], white)
    palette = PIL.Image.new("P", (3, 2), 0)
    palette.putpalette([255, 0, 255] + [0, 0, 0] * 255)
    for transparency in (0, bytes([0, 255])):
        palette.save(tmp_path / "b.png", transparency=transparency)
        assert (decoded(tmp_path / "b.png") == 255).all()
    grey = PIL.Image.fromarray(pixels[..., :2])
    grey.putalpha(PIL.Image.fromarray(pixels[..., 3]))
    grey.save(tmp_path / "c.png")
    assert read_header(tmp_path / "c.png").grey
    np.testing.assert_array_equal(decoded(tmp_path / "c.png", channels=1)[..., 0], white)
    assert read_header(tmp_path / "c.png").notes == (image_file.BLENDED,)


def test_cmyk(tmp_path):
    PIL.Image.new("RGB", (8, 8), (200, 30, 30)).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert read_header(tmp_path / "a.jpg").notes == (image_file.FROM_CMYK,)
    np.testing.assert_allclose(decoded(tmp_path / "a.jpg")[4, 4], [200, 30, 30], atol=3)


def test_animations_show_their_first_frame(tmp_path, rng):
    frames = [PIL.Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)) for _ in range(3)]
    for name in ("PNG", "GIF", "TIFF"):
        path = tmp_path / f"a.{name}"
        frames[0].save(path, format=name, save_all=True, append_images=frames[1:])
        assert image_file.FIRST_FRAME in read_header(path).notes
        np.testing.assert_array_equal(decoded(path, 1)[..., 0], frames[0])


ENCAPSULATED = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
OTHERS = {
    "EPS": ENCAPSULATED,
    "EPS for DOS": b"\xc5\xd0\xd3\xc6\x1e\0\0\0"
    + len(ENCAPSULATED).to_bytes(4, "little")
    + bytes(18)
    + ENCAPSULATED,
    "PPM": b"P6 2 2 255 " + bytes(12),
    "XBM": b"#define a_width 8\n#define a_height 8\nstatic char a_bits[] = { 0 };",
    "PDF": b"%PDF-1.4\n",
    "icon": b"\0\0\1\0\1\0",
    "Photoshop": b"8BPS\0\1" + bytes(40),
    "text that begins like BMP": b"BM is what it begins with, as any text may",
}


@pytest.mark.parametrize("case", OTHERS)
@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff"])
def test_no_other_parser_ever_runs(tmp_path, monkeypatch, case, suffix):
    def run(*arguments, **options):
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", run)
    monkeypatch.setattr(PIL.Image, "open", run)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(OTHERS[case])
    with pytest.raises(DataError, match=r"a\.\w+ cannot be decoded .* none of PNG, JPEG"):
        read_header(path)


def test_more_pixels_than_pillow_decodes(tmp_path):
    PIL.Image.new("1", (20000, 9000)).save(tmp_path / "panorama.png")
    with pytest.raises(DataError, match=r"panorama\.png has more pixels than .*180000000"):
        load(f"folder:{tmp_path}", "all", image_size=8)


def test_pillow_says_nothing_of_fewer(tmp_path):
    PIL.Image.new("1", (10000, 9000)).save(tmp_path / "panorama.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_header(tmp_path / "panorama.png").size == (10000, 9000)


def test_a_small_file_of_many_pixels_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(expansion, "ALWAYS_BYTES", 2**16)
    PIL.Image.new("RGBA", (400, 400)).save(tmp_path / "blank.png")
    packed = (tmp_path / "blank.png").stat().st_size
    with pytest.raises(
        DataError, match=rf"blank\.png says that {packed:,} bytes unpack to 640,000"
    ):
        load(f"folder:{tmp_path}", "all")
