"""Pictures that training does not draw."""

import weakref

import numpy as np
import pytest
from PIL import Image

from tfgen.errors import UserError
from tfgen.files.images import grid, grid_of_batches
from tfgen.runs import pictures


def batches_of(images, size=2):
    for start in range(0, len(images), size):
        yield images[start : start + size]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (2, "L")])
def test_pixels_round_trip(tmp_path, channels, mode):
    values = np.random.default_rng(0).integers(0, 256, (3, 9, 7, channels), dtype=np.uint8)
    pictures.save_individually(batches_of(values / 255.0), 3, tmp_path / "new")
    assert names(tmp_path / "new") == ["0.png", "1.png", "2.png"]
    for index, value in enumerate(values):
        with Image.open(tmp_path / "new" / f"{index}.png") as image:
            assert image.mode == mode
            found = np.asarray(image).reshape(9, 7, -1)
        np.testing.assert_array_equal(found, value if mode == "RGB" else value[..., :1])


def test_fewer_samples_leave_none_of_an_earlier_call(tmp_path):
    images = np.zeros((12, 4, 4, 1))
    pictures.save_individually(batches_of(images), 12, tmp_path / "a")
    pictures.save_individually(batches_of(images[:3]), 3, tmp_path / "a")
    assert names(tmp_path / "a") == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize("name", ["1.png", "notes.txt", "2.PNG"])
def test_what_is_not_ours_is_never_removed(tmp_path, name):
    folder = tmp_path / "a"
    pictures.save_individually(batches_of(np.zeros((1, 4, 4, 1))), 1, folder)
    Image.new("L", (4, 4)).save(folder / name, format="PNG")
    with pytest.raises(UserError, match=f"holds '{name}', which is no sample"):
        pictures.save_individually(batches_of(np.ones((1, 4, 4, 1))), 1, folder)
    assert names(folder) == sorted(["0.png", name])
    pictures.save_individually(batches_of(np.ones((1, 4, 4, 1))), 1, folder, ours=True)
    assert names(folder) == ["0.png"]


@pytest.mark.parametrize("write", ["grid", "individually"])
def test_batches_are_not_kept(tmp_path, write):
    alive = []

    def batches():
        for number in range(10):
            images = np.full((2, 4, 4, 1), number / 10)
            assert sum(reference() is not None for reference in alive) <= 1
            alive.append(weakref.ref(images))
            yield images

    if write == "individually":
        pictures.save_individually(batches(), 20, tmp_path / "a")
        assert len(names(tmp_path / "a")) == 20
    else:
        whole = np.repeat(np.arange(10) / 10, 2)[:, None, None, None] * np.ones((20, 4, 4, 1))
        np.testing.assert_array_equal(grid_of_batches(batches(), 20, 3), grid(whole, 3))


def test_kl_plot_is_a_picture(tmp_path):
    shapes = {"z_0": (4, 4, 2), "z_1": (8, 8, 2), "z_2": (8, 8, 2)}
    pictures.save_kl_per_group(tmp_path / "kl.png", [3.0, 1.0, 0.5], shapes)
    with Image.open(tmp_path / "kl.png") as image:
        assert image.size[0] > 300
