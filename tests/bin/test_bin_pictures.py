"""Grids and plots."""

import numpy as np
import pytest
from PIL import Image

from tfgen.bin import pictures


def test_grid_places_images_row_by_row():
    images = np.linspace(0.0, 1.0, 5)[:, None, None, None] * np.ones((5, 64, 64, 1))
    canvas = pictures.grid(images, columns=2)
    assert canvas.dtype == np.uint8
    assert canvas.shape == (3 * 66 + 2, 2 * 66 + 2, 3)
    centres = [canvas[34 + 66 * (k // 2), 34 + 66 * (k % 2)] for k in range(5)]
    np.testing.assert_array_equal(np.stack(centres)[:, 0], [0, 64, 128, 191, 255])
    assert canvas[34 + 132, 34 + 66, 0] == 96  # no sixth image: the ground


@pytest.mark.parametrize(("side", "expected"), [(8, 56), (16, 48), (28, 56), (40, 40), (256, 256)])
def test_small_images_are_enlarged_by_a_whole_factor(side, expected):
    tile = pictures.tile(np.random.default_rng(0).random((side, side, 3)))
    assert tile.shape == (expected, expected, 3)
    step = expected // side
    np.testing.assert_array_equal(tile[::step, ::step], tile[step - 1 :: step, step - 1 :: step])


def test_out_of_range_pixels_are_clipped():
    assert set(np.unique(pictures.tile(np.array([[[-1.0], [2.0]]])))) == {0, 255}


def test_png_round_trip(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    path = pictures.write_png(tmp_path / "new" / "a.png", pixels)
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


def test_kl_plot_is_a_picture(tmp_path):
    shapes = {"z_0": (4, 4, 2), "z_1": (8, 8, 2), "z_2": (8, 8, 2)}
    path = pictures.write_kl_per_group(tmp_path / "kl.png", [3.0, 1.0, 0.5], shapes)
    with Image.open(path) as image:
        assert image.size[0] > 300
