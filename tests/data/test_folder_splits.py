"""Which files of a folder are images, and to which split, class and number of channels they go."""

import os
import re
import subprocess

import numpy as np
import PIL.Image
import pytest

from tfgen.data import load
from tfgen.data.folder_splits import list_images, split_files
from tfgen.errors import DataError
from tfgen.files.names import shown


@pytest.fixture
def save(tmp_path, rng):
    """`save("a/0.png", ...)` writes images, 3 channels unless told."""

    def write(*names, channels=3):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (8, 8, channels), np.uint8)
            PIL.Image.fromarray(pixels.squeeze()).save(path)

    return write


def names(folder, split):
    return [path.relative_to(folder).as_posix() for path in split_files(folder, split)]


@pytest.mark.parametrize(
    ("folders", "found"),
    [
        (("Train", "Test"), {"train": "Train", "test": "Test"}),
        (
            ("TRAINING", "testing", "Validation"),
            dict(train="TRAINING", test="testing", validation="Validation"),
        ),
        (("train", "val"), {"train": "train", "test": "val", "validation": "val"}),
        (("Train", "VALID"), {"train": "Train", "test": "VALID", "validation": "VALID"}),
        (("train_images", "test_images"), {"train": "train_images", "test": "test_images"}),
        (("Trainset", "Testset"), {"train": "Trainset", "test": "Testset"}),
        (("train2017", "val2017"), {"train": "train2017", "test": "val2017"}),
        (("training-data", "Dev"), {"train": "training-data", "validation": "Dev"}),
    ],
)
def test_split_folders_in_any_case(tmp_path, save, folders, found):
    save(*(f"{folder}/{index}.png" for folder in folders for index in range(3)))
    for split, folder in found.items():
        assert names(tmp_path, split) == [f"{folder}/{index}.png" for index in range(3)]
    assert len(load(f"folder:{tmp_path}", "all")) == 3 * len(folders)


@pytest.mark.parametrize("beside", ["bus/0.png", "train2/deep/0.png", "loose.png"])
def test_images_beside_split_folders_are_refused(tmp_path, save, beside):
    save("train/0.png", "Test/0.png", beside)
    (tmp_path / "licences").mkdir()
    with pytest.raises(DataError, match=rf"Test{os.sep} and beside it images in {beside[:3]}"):
        load(f"folder:{tmp_path}")
    assert len(load(f"folder:{tmp_path}", "all")) == 3
    (tmp_path / beside).unlink()
    assert len(load(f"folder:{tmp_path}")) == 1


def test_a_class_called_train_is_refused(tmp_path, save):
    save(*(f"{name}/{index}.png" for name in ("bus", "car", "train") for index in range(6)))
    with pytest.raises(DataError, match="rename the one if it is a class"):
        load(f"folder:{tmp_path}")


@pytest.mark.parametrize("pair", [("train", "Train"), ("train", "training"), ("val", "valid")])
def test_two_folders_for_one_split_are_refused(tmp_path, save, pair):
    save(*(f"{name}/0.png" for name in pair))
    with pytest.raises(DataError, match="are one split"):
        load(f"folder:{tmp_path}")


@pytest.mark.parametrize(("above", "within"), [("images", ""), ("", "cat"), ("a/b", "cat")])
def test_split_folders_below_the_top_are_refused(tmp_path, save, above, within):
    place = tmp_path / "set" / above / within
    save(*(f"set/{above}/{within}/{name}/0.png" for name in ("train", "Test")))
    with pytest.raises(DataError, match=re.escape(f"but {place} has train{os.sep} and Test")):
        load(f"folder:{tmp_path / 'set'}")
    assert len(load(f"folder:{tmp_path / 'set'}", "all")) == 2
    assert len(load(f"folder:{place}")) == 1


@pytest.mark.parametrize(
    ("first", "second", "others"),
    [
        ("trainA", "testA", ("testB", "trainB")),
        ("my_train", "my_test", ()),
        ("MNIST train 2", "MNIST test 2", ("notes",)),
        ("tr", "te", ()),
        ("entrenamiento", "prueba", ()),
        ("Entraînement", "Validation croisée", ()),
        ("Trainingsdaten", "Testdaten", ()),
        ("训练集", "测试集", ()),
        ("set/training set a", "set/test set a", ()),
    ],
)
def test_folders_that_seem_to_be_splits_are_refused(tmp_path, save, first, second, others):
    classes = ("cat", "dog")
    save(*(f"{name}/{kind}/0.png" for name in (first, second, *others) for kind in classes))
    place = (tmp_path / first).parent
    words = " and ".join(f"{name.rpartition('/')[2]}{os.sep}" for name in (first, second))
    with pytest.raises(DataError, match=re.escape(f"{place} has {words}, which look like")):
        load(f"folder:{tmp_path}")
    assert len(load(f"folder:{tmp_path}", "all")) == 2 * (2 + len(others))


@pytest.mark.parametrize(
    "classes",
    [
        ("training shoe", "test tube", "valley"),
        ("en", "te", "tr"),  # languages
        ("tr", "tram"),
        ("prueba", "error"),
        ("train_old", "test_new"),
        ("a1", "a2"),
        ("freight train", "passenger train"),
    ],
)
def test_classes_whose_names_have_such_words_are_classes(tmp_path, save, classes):
    save(*(f"{name}/{index}.png" for name in classes for index in range(30)))
    assert load(f"folder:{tmp_path}").class_names == tuple(sorted(classes))


def test_folders_that_only_begin_like_a_split_are_classes(tmp_path, save):
    folders = ("train station", "valley", "testudo", "devil", "evaluation")
    save(*(f"{folder}/{index}.png" for folder in folders for index in range(6)))
    found = load(f"folder:{tmp_path}")
    assert len(set(found.labels)) == len(folders)


def test_links_are_followed_and_loops_noticed(tmp_path, save):
    save(*(f"real/b/{index}.png" for index in range(5)), "set/a/0.png")
    os.symlink(tmp_path / "real" / "b", tmp_path / "set" / "b")
    os.symlink(tmp_path / "real" / "b" / "0.png", tmp_path / "set" / "a" / "link.png")
    os.symlink(tmp_path / "set", tmp_path / "set" / "a" / "loop")
    os.symlink("itself", tmp_path / "set" / "itself")
    os.symlink(tmp_path / "missing.png", tmp_path / "set" / "missing.png")
    source = load(f"folder:{tmp_path / 'set'}", "all")
    assert len(source) == 7
    note = "files left out: 3 (2 no regular files, 1 folders reached a second time)"
    assert source.notes == (note,)
    for split in ("train", "test"):
        os.symlink(tmp_path / "real" / "b", tmp_path / "real" / split)
        assert len(load(f"folder:{tmp_path / 'real'}", "all")) == 5
    (tmp_path / "real" / "b").rename(tmp_path / "elsewhere")
    for split in ("train", "test"):
        (tmp_path / "real" / split).unlink()
        os.symlink(tmp_path / "elsewhere", tmp_path / "real" / split)
        assert len(load(f"folder:{tmp_path / 'real'}", split)) == 5


def test_what_is_left_out_is_counted(tmp_path, save):
    save("0.png", ".ipynb_checkpoints/0-checkpoint.png", ".Trash-1000/files/deleted.png")
    save("__MACOSX/._0.png", "@eaDir/0.png/SYNOPHOTO_THUMB_M.png")
    for name in (".DS_Store", "Thumbs.db", "a.heic", "b.HEIC", "LICENCE"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "raw.dng").write_bytes(b"II*\0" + bytes(20))  # TIFF inside
    os.mkfifo(tmp_path / "pipe.png")
    source = load(f"folder:{tmp_path}", "all")
    assert len(source) == 1
    assert source.notes == (
        "files left out: 11 (5 hidden, 2 *.heic, 1 *.db, 1 *.dng, 1 no regular files, "
        "1 without suffix)",
    )


def test_images_without_the_name_of_one_are_found(tmp_path, save):
    save("a.png")
    (tmp_path / "a.png").rename(tmp_path / "b39f01")
    assert len(load(f"folder:{tmp_path}", "all")) == 1


def test_a_directory_called_like_an_image(tmp_path, save):
    save("x.png/a.png")
    assert len(load(f"folder:{tmp_path}", "all")) == 1


def test_folders_deeper_than_python_calls(tmp_path, save):
    save("0.png")
    place = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(1200):  # one at a time: the whole path is longer than a call takes
            os.mkdir("d", dir_fd=place)
            deeper = os.open("d", os.O_RDONLY, dir_fd=place)
            os.close(place)
            place = deeper
        assert len(list_images(tmp_path)) == 1
    finally:
        os.close(place)
        subprocess.run(["rm", "-r", tmp_path / "d"], check=True)  # shutil calls itself


def test_names_that_are_no_utf8(tmp_path, save):
    save(*(f"{index}.png" for index in range(30)))
    strange = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\x1b[2J.png")
    (tmp_path / "0.png").rename(strange)
    assert len(load(f"folder:{tmp_path}", "all")) == 30
    assert sum(len(load(f"folder:{tmp_path}", split)) for split in ("train", "test")) == 30
    with open(strange, "wb") as file:
        file.write(b"no image")
    with pytest.raises(DataError) as error:
        load(f"folder:{tmp_path}", "all")
    assert r"caf\xe9\x1b[2J.png cannot be decoded" in str(error.value)
    assert str(error.value).isprintable()


def test_names_are_shown_as_one_printable_line():
    assert shown("ordinary/name 1.png") == "ordinary/name 1.png"
    assert shown("zażółć 猫.png") == "zażółć 猫.png"
    assert shown("a\nb\x1b[31m\u202e.png") == r"a\nb\x1b[31m\u202e.png"


def test_channels_are_those_of_all_splits_or_as_asked(tmp_path, save):
    save("train/0.png", "train/1.png", "test/0.png", channels=1)
    assert load(f"folder:{tmp_path}").image_shape == (8, 8, 1)
    save("train/2.png")
    for split in ("train", "test"):
        assert load(f"folder:{tmp_path}", split).image_shape == (8, 8, 3)
    grey = load(f"folder:{tmp_path}", "train", channels=1)
    assert grey.image_shape == (8, 8, 1)
    assert grey.notes == ("images converted from colour to grey (ITU-R 601 luma): 1 of 3",)
    colour = load(f"folder:{tmp_path}", "test", channels=3)
    assert (colour.images == colour.images[..., :1]).all()
    assert colour.notes == ("images grey, repeated in three channels: 1 of 1",)


def test_grey_saved_as_colour_comes_back(tmp_path, save):
    save("0.png", channels=1)
    grey = load(f"folder:{tmp_path}", "all")
    PIL.Image.fromarray(grey.images[0, ..., 0]).convert("RGB").save(tmp_path / "0.png")
    assert load(f"folder:{tmp_path}", "all").image_shape == (8, 8, 3)
    again = load(f"folder:{tmp_path}", "all", channels=1)
    np.testing.assert_array_equal(again.images, grey.images)
    np.savez(tmp_path / "a.npz", x_train=np.repeat(grey.images, 3, axis=-1))
    archived = load(f"npz:{tmp_path / 'a.npz'}", channels=1)
    np.testing.assert_array_equal(archived.images, grey.images)
    assert archived.notes == ("images converted from colour to grey (ITU-R 601 luma): all 1",)


def test_labels_count_over_all_splits(tmp_path, save):
    save("train/cat/0.png", "train/dog/0.png", "test/dog/0.png", "test/emu/0.png")
    train, test = (load(f"folder:{tmp_path}", split) for split in ("train", "test"))
    assert train.class_names == test.class_names == ("cat", "dog", "emu")
    np.testing.assert_array_equal(train.labels, [0, 1])
    np.testing.assert_array_equal(test.labels, [1, 2])
