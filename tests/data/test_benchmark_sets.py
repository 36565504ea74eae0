"""Lists of image files, and corrupted sets as CIFAR-10-C keeps them."""

import numpy as np
import PIL.Image
import pytest

from tfgen.data import load
from tfgen.errors import DataError


@pytest.fixture
def pictures(tmp_path, rng):
    """Ten 6x4 images in two folders, one of which has a blank in its name."""
    pixels = rng.integers(0, 256, (10, 6, 4, 3), np.uint8)
    for index, image in enumerate(pixels):
        path = tmp_path / "images" / ("a b" if index % 2 else "c") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(image).save(path)
    return tmp_path, pixels


def names(order):
    return [f"images/{'a b' if k % 2 else 'c'}/{k}.png" for k in order]


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_images_are_in_the_order_of_the_list(pictures):
    folder, pixels = pictures
    order = [7, 2, 3, 3]
    lines = [f"{name} {k % 3}" for name, k in zip(names(order), order, strict=True)]
    write(folder / "list.txt", ["", *lines, "   "])
    source = load(f"imglist:{folder / 'list.txt'}", "test")
    np.testing.assert_array_equal(source.images, pixels[order])
    assert source.labels.tolist() == [1, 2, 0, 0]


def test_paths_may_start_at_the_data_folder(pictures):
    folder, pixels = pictures
    write(folder / "lists" / "test.txt", [f"{name} 1" for name in names([4])])
    source = load("imglist:lists/test.txt", "test", folder)
    np.testing.assert_array_equal(source.images, pixels[[4]])


def test_lists_of_splits(pictures):
    folder, _ = pictures
    for split, order in (("train", [0, 2]), ("test", [4])):
        write(folder / f"{split}_x.txt", [f"{name} 0" for name in names(order)])
    name = "imglist:{split}_x.txt"
    assert [len(load(name, split, folder)) for split in ("train", "test")] == [2, 1]
    with pytest.raises(DataError, match=r"there is no file validation_x\.txt"):
        load(name, "validation", folder)
    with pytest.raises(DataError, match="does not say what its 'train' split is"):
        load("imglist:test_x.txt", "train", folder)


def test_labels_of_all_kinds(pictures):
    folder, _ = pictures
    for labels, wanted, words in (
        (["dog", "cat", "dog"], [1, 0, 1], ("cat", "dog")),
        (["-1", "-1", "-1"], None, None),
        (["4", "-1", "2"], [4, -1, 2], None),
        ([""] * 3, None, None),
    ):
        lines = [f"{name} {label}".strip() for name, label in zip(names([0, 2, 4]), labels)]
        write(folder / "list.txt", lines)
        source = load("imglist:list.txt", "test", folder)
        assert (None if source.labels is None else source.labels.tolist()) == wanted
        assert source.class_names == words


def test_listed_images_are_brought_to_a_size(pictures):
    folder, _ = pictures
    write(folder / "list.txt", [f"{name} 0" for name in names([0, 1])])
    source = load("imglist:list.txt", "test", folder, image_size=2, channels=1)
    assert source.image_shape == (2, 2, 1)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "lists no images"),
        (["images/c/0.png 1", "images/c/2.png"], "has 0 labels in line 2 and 1 in line 1"),
        (["images/c/99.png 1"], "which is neither in"),
        (["images/c/0.png 1", "images/c/99.png 1"], "99.png, which is not in"),
        (["list.txt 1"], "cannot be decoded as an image"),
        (["images/c/0.png 1", "images/c 1"], "is a folder"),
    ],
)
def test_lists_that_are_none(pictures, lines, words):
    folder, _ = pictures
    write(folder / "list.txt", lines)
    with pytest.raises(DataError, match=words):
        load("imglist:list.txt", "test", folder)


@pytest.fixture
def corrupted(tmp_path, rng):
    folder = tmp_path / "CIFAR-10-C"
    folder.mkdir()
    images = rng.integers(0, 256, (10, 4, 4, 3), np.uint8)
    np.save(folder / "fog.npy", images)
    np.save(folder / "labels.npy", np.tile([3, 7], 5))
    return folder, images


def test_one_severity_is_its_part(corrupted):
    folder, images = corrupted
    for severity in range(1, 6):
        source = load(f"cifar_c:{folder}:fog:{severity}", "test")
        np.testing.assert_array_equal(
            source.images[np.arange(2)], images[2 * severity - 2 : 2 * severity]
        )
        assert source.labels.tolist() == [3, 7]
    everything = load("cifar_c:CIFAR-10-C:fog", "test", folder.parent)
    np.testing.assert_array_equal(everything.images, images)
    np.save(folder / "labels.npy", np.array([3, 7]))
    assert load(f"cifar_c:{folder}:fog", "test").labels.tolist() == [3, 7] * 5
    (folder / "labels.npy").unlink()
    assert load(f"cifar_c:{folder}:fog:2", "test").labels is None


def test_corrupted_sets_that_are_none(corrupted):
    folder, images = corrupted
    np.save(folder / "odd.npy", images[:9])
    (folder / "torn.npy").write_bytes((folder / "fog.npy").read_bytes()[:200])
    for name, words in (
        (f"{folder}:rain", "has no file rain.npy; it has fog, odd, torn"),
        (f"{folder}:odd:1", "holds 9 images; expected as many of each of five severities"),
        (f"{folder}:torn:1", "cannot be read as a NumPy array"),
        (f"{folder}:fog:6", "names no corrupted set"),
        (":fog", "names no corrupted set"),
        ("nowhere:fog", "there is no folder nowhere"),
    ):
        with pytest.raises(DataError, match=words):
            load(f"cifar_c:{name}", "test")
    with pytest.raises(DataError, match="no 'train' split"):
        load(f"cifar_c:{folder}:fog:1", "train")
