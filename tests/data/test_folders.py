"""Folders of images: splits, sizes, colours, and files that are damaged or odd."""

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from tfgen.data import Pipeline, Source, folders, load
from tfgen.data.folders import ImageFiles, read_folder, split_files
from tfgen.errors import DataError

HELD_OUT = [24, 52, 54, 58, 84, 118, 146, 148, 192, 3, 31, 45, 61, 71, 199]


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path, **options)


@pytest.fixture
def folder(tmp_path, rng):
    """Twenty 6x4 colour images in two subfolders, one of them a JPEG."""
    path = tmp_path / "pictures"
    for index in range(20):
        suffix = "JPG" if index == 3 else "png"
        pixels = rng.integers(0, 256, (6, 4, 3), np.uint8)
        save(path / "ab"[index % 2] / f"{index:02d}.{suffix}", pixels)
    (path / "notes.csv").write_text("file,licence")
    (path / ".hidden.png").write_bytes(b"")
    return path


def test_all_images_in_the_order_of_their_names(folder):
    source = load(f"folder:{folder}", "all")
    assert source.images.shape == (20, 6, 4, 3)
    assert source.labels is None
    expected = np.asarray(PIL.Image.open(folder / "a" / "04.png"))
    np.testing.assert_array_equal(source.images[2], expected)


def names_of(folder, split):
    return [path.relative_to(folder).as_posix() for path in split_files(folder, split)]


def test_an_unsplit_folder_holds_out_the_same_tenth(tmp_path):
    for index in range(200):
        path = tmp_path / "ab"[index % 2] / f"{index:03d}.png"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    train, test = (names_of(tmp_path, split) for split in ("train", "test"))
    assert not set(train) & set(test)
    assert len(train) + len(test) == 200
    # By name alone, so on every machine: a changed list would silently move training images.
    assert [int(name[2:5]) for name in test] == HELD_OUT
    assert test == names_of(tmp_path, "validation")
    # Images that come or go move no others.
    for index in range(0, 200, 7):
        next(tmp_path.glob(f"?/{index:03d}.png")).rename(tmp_path / "a" / f"later_{index}.png")
    for split, before in (("train", train), ("test", test)):
        kept = {name for name in names_of(tmp_path, split) if "later" not in name}
        assert kept == {name for name in before if int(name[2:5]) % 7}


def test_a_hash_that_holds_nothing_out_is_said(tmp_path):
    (tmp_path / "0.png").touch()
    with pytest.raises(DataError, match=r"1 image, none .*'train'.*folders train/ and test/"):
        split_files(tmp_path, "train")


def test_split_subfolders(tmp_path, rng):
    for part, count in (("train", 3), ("val", 2)):
        for index in range(count):
            save(tmp_path / part / f"{index}.png", rng.integers(0, 256, (4, 4), np.uint8))
    assert load(f"folder:{tmp_path}").images.shape == (3, 4, 4, 1)
    assert len(load(f"folder:{tmp_path}", "validation")) == 2
    assert len(load(f"folder:{tmp_path}", "test")) == 2
    assert len(load(f"folder:{tmp_path}", "all")) == 5
    save(tmp_path / "test" / "0.png", rng.integers(0, 256, (4, 4), np.uint8))
    assert len(load(f"folder:{tmp_path}", "test")) == 1
    with pytest.raises(DataError, match="train, validation, test and all, not 'dev'"):
        load(f"folder:{tmp_path}", "dev")
    for file in (tmp_path / "train").iterdir():
        file.unlink()
    (tmp_path / "train").rmdir()
    with pytest.raises(DataError, match="none for the 'train' split"):
        load(f"folder:{tmp_path}")


@pytest.mark.parametrize(("suffix", "separator"), [("txt", " "), ("csv", ",")])
def test_celeba_crop_and_partition(tmp_path, rng, suffix, separator):
    folder = tmp_path / "celeba64"
    pixels = rng.integers(0, 256, (4, 218, 178, 3), np.uint8)
    lines = []
    for index in range(4):
        save(folder / "img_align_celeba" / f"{index:06d}.png", pixels[index])
        lines.append(f"{index:06d}.png{separator}{(0, 0, 1, 2)[index]}")
    (folder / f"list_eval_partition.{suffix}").write_text("\n".join(lines))
    assert len(load("celeba64", "train", tmp_path)) == 2
    source = load("celeba64", "test", tmp_path)
    assert source.images.shape == (1, 64, 64, 3)
    # Rows 40 to 187 and columns 15 to 162 of the original, and no others.
    cut = PIL.Image.fromarray(pixels[3, 40:188, 15:163])
    expected = np.asarray(cut.resize((64, 64), PIL.Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(source.images[0], expected)


def test_ffhq_is_resized_from_its_originals(tmp_path):
    ramp = np.broadcast_to(np.arange(1024)[:, None, None] // 4, (1024, 1024, 3)).astype(np.uint8)
    for index in range(2):
        save(tmp_path / "ffhq256" / "train" / f"{index}.png", ramp)
    source = load("ffhq256", "train", tmp_path)
    assert source.images.shape == (2, 256, 256, 3)
    np.testing.assert_array_equal(source.images[0, :, 0, 0], np.arange(256))


def test_image_size_cuts_and_resizes(tmp_path):
    wide = np.zeros([8, 16, 3], np.uint8)
    wide[:, 4:12] = 200  # The central square, which alone must remain.
    save(tmp_path / "a.png", wide)
    save(tmp_path / "b.png", wide.transpose(1, 0, 2))
    with pytest.raises(DataError, match=r"b\.png is 8x16 pixels but .*a\.png is 16x8"):
        load(f"folder:{tmp_path}", "all")
    source = load(f"folder:{tmp_path}", "all", image_size=4)
    np.testing.assert_array_equal(source.images, np.full([2, 4, 4, 3], 200))
    assert load(f"folder:{tmp_path}", "all", image_size=(4, 2)).images.shape == (2, 4, 2, 3)


@pytest.mark.parametrize(
    ("mode", "channels"), [("L", 1), ("1", 1), ("RGB", 3), ("RGBA", 3), ("P", 3), ("LA", 1)]
)
def test_colour_modes(tmp_path, rng, mode, channels):
    for index in range(2):
        pixels = PIL.Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        pixels.convert(mode).save(tmp_path / f"{index}.png")
    assert load(f"folder:{tmp_path}", "all").images.shape == (2, 4, 4, channels)


def test_sixteen_bits_become_eight(tmp_path):
    levels = np.array([[0, 128, 129, 257], [256, 32767, 32768, 65535]], np.uint16)
    save(tmp_path / "a.png", levels)
    source = load(f"folder:{tmp_path}", "all")
    np.testing.assert_array_equal(source.images[0, ..., 0], np.rint(levels / 257))
    assert source.notes == ("images reduced from 16 to 8 bits: 1 of 1",)


def test_thirty_two_bits_are_refused(tmp_path):
    save(tmp_path / "a.tiff", np.zeros([4, 4], np.float32))
    with pytest.raises(DataError, match=r"a\.tiff has numbers of 32 bits"):
        load(f"folder:{tmp_path}", "all")


@pytest.mark.parametrize("damage", ["header", "body", "empty", "bit"])
def test_one_corrupt_file_is_named(folder, damage):
    path = folder / "b" / "07.png"
    whole = bytearray(path.read_bytes())
    if damage == "bit":
        whole[len(whole) // 2] ^= 1
    content = {"header": b"GIF?" + whole[4:], "body": whole[:-30], "empty": b"", "bit": whole}
    path.write_bytes(content[damage])
    with pytest.raises(DataError, match=r"07\.png cannot be decoded as an image .*remove it"):
        load(f"folder:{folder}", "all")


def test_large_folders_are_decoded_when_needed(folder, monkeypatch):
    eager = load(f"folder:{folder}", "all")
    monkeypatch.setattr(folders, "MEMORY_LIMIT_BYTES", 100)
    lazy = load(f"folder:{folder}", "all")
    assert isinstance(lazy.images, ImageFiles)
    assert lazy.images.shape == eager.images.shape
    np.testing.assert_array_equal(lazy.images[np.array([3, 0])], eager.images[[3, 0]])
    np.testing.assert_array_equal(lazy.images[5], eager.images[5])
    assert lazy.images[np.array([], int)].shape == (0, 6, 4, 3)
    assert len(lazy.take(7)) == 7
    for options in (dict(training=True, flip=True), dict(training=False)):
        for batch, expected in zip(
            Pipeline(lazy, 8, **options).dataset().take(3),
            Pipeline(eager, 8, **options).dataset().take(3),
        ):
            np.testing.assert_array_equal(batch["images"], expected["images"])


def test_damage_met_in_training_is_named(folder, monkeypatch):
    monkeypatch.setattr(folders, "MEMORY_LIMIT_BYTES", 100)
    path = folder / "b" / "07.png"
    path.write_bytes(path.read_bytes()[:-30])  # The header, which is checked at once, is whole.
    lazy = load(f"folder:{folder}", "all")
    with pytest.raises(tf.errors.OpError, match=r"07\.png cannot be decoded"):
        list(Pipeline(lazy, 20, training=False).dataset())


def test_folders_without_images(tmp_path):
    with pytest.raises(DataError, match="no files of PNG, JPEG"):
        load(f"folder:{tmp_path}")
    with pytest.raises(DataError, match="there is no folder"):
        load(f"folder:{tmp_path / 'absent'}")
    with pytest.raises(DataError, match="neither here nor in"):
        load("folder:absent", data_dir=tmp_path)


def test_sources_of_files_keep_their_length(folder):
    images = read_folder(folder, "all").images
    assert len(Source("made", "all", {"images": images})) == 20
