"""Pictures that training does not draw."""

import numpy as np
import pytest
from PIL import Image

from tfgen.runs import pictures


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (2, "L")])
def test_pixels_round_trip(tmp_path, channels, mode):
    values = np.random.default_rng(0).integers(0, 256, (9, 7, channels), dtype=np.uint8)
    pictures.save_pixels(values / 255.0, tmp_path / "new" / "a.png")
    with Image.open(tmp_path / "new" / "a.png") as image:
        assert image.mode == mode
        found = np.asarray(image).reshape(9, 7, -1)
    np.testing.assert_array_equal(found, values if mode == "RGB" else values[..., :1])
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.png"]


def test_kl_plot_is_a_picture(tmp_path):
    shapes = {"z_0": (4, 4, 2), "z_1": (8, 8, 2), "z_2": (8, 8, 2)}
    pictures.save_kl_per_group(tmp_path / "kl.png", [3.0, 1.0, 0.5], shapes)
    with Image.open(tmp_path / "kl.png") as image:
        assert image.size[0] > 300
