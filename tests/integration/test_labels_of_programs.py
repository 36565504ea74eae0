"""Labels of a file are looked at by every program before it trains or scores anything."""

import re

import numpy as np
import pytest

FOUND = """
from tfgen import recipes

NODE = [[["dilated_3x3", 0], ["skip", 1]]]

def get_config():
    return recipes.searched(
        "runlocal", "digits", {"normal": NODE, "reduction": NODE}, image_shape=(16, 16, 1),
        num_classes=10,
    )
"""


@pytest.fixture(scope="module")
def programs(root, tmp_path_factory):
    """What takes labelled images, as a program and its recipe."""
    path = tmp_path_factory.mktemp("recipes") / "found.py"
    path.write_text(FOUND)
    all_classes = ("--config.data.classes=None", "--config.model.num_classes=10")
    return {
        "detector": ("train", f"--config={root}/configs/ood/digits.py:runlocal", *all_classes),
        "searched network": ("train", f"--config={path}"),
        "transformation": ("transform", f"--config={root}/configs/hant/digits.py:runlocal"),
        "audit": ("audit", f"--config={root}/configs/gradinversion/digits.py:runlocal"),
    }


WRONG = {
    "negative": (lambda labels: labels - 1, "labels? (-1 to 8; expected 0 to 9|-1 is outside)"),
    "255": (lambda labels: np.where(labels == 3, 255, labels), "labels? (0 to 255|255 is outside)"),
    "halves": (lambda labels: labels + 0.5, "expected 200 integers, one for each image"),
    "none": (None, "has no labels"),
}


@pytest.mark.parametrize("name", ["detector", "searched network", "transformation", "audit"])
def test_labels_that_name_no_class(cli, programs, name, tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (200, 16, 16), np.uint8), np.arange(200) % 10
    for case, (change, words) in WRONG.items():
        arrays = {"x_train": images, "x_test": images}
        if change is not None:
            arrays |= {"y_train": change(labels), "y_test": change(labels)}
        path = tmp_path / f"{case}.npz"
        np.savez(path, **arrays)
        program, *flags = programs[name]
        said = cli(
            program, *flags, f"--config.data.name=npz:{path}", f"--workdir={tmp_path / case}"
        )
        assert re.search(words, said.mistake()), said.err
