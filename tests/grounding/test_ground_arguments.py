"""What `ground` says of captions and boxes that it cannot use."""

import numpy as np
import pytest
import small_grounding
from small_grounding import PICTURE

from tfgen.errors import DataError
from tfgen.grounding.pictures import read_picture


@pytest.fixture(scope="module")
def model():
    return small_grounding.make(num_blocks=1, num_heads=1, max_length=8)


def test_a_caption_longer_than_the_encoder_reads(model):
    assert len(model.ground(PICTURE, "a dog a dog a dog")) == 3
    with pytest.raises(DataError, match=r"^the caption has 10 tokens; expected at most 8, "):
        model.ground(PICTURE, "a dog " * 4)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([["a"] * 4], r"^boxes are no array of numbers \("),
        ([[True, False, True, True]], r"^boxes are no array of numbers \(they are of bool\)"),
        ([["1", "2", "3", "4"]], r"^boxes are no array of numbers \("),
        ([[1j, 2, 3, 4]], r"^boxes are no array of numbers \("),
        ([[10**400, 2, 3, 4]], r"^boxes are no array of numbers \("),
        (
            [[0.1, 0.2, 0.5, 1.0]],
            r"^boxes lie from 0.1 to 1; expected pixels of an image of 30 by 20",
        ),
        ([[0, 0, 1, 1]], r"^boxes lie from 0 to 1; expected pixels"),
        ([[0, 0, 1]], r"^boxes have shape \(1, 3\); expected"),
        ([[0, 0, 5, 5], [30, 0, 40, 9]], r"^a box is \[30.0, 0.0, 40.0, 9.0\]; expected one that "),
        ([[0, -9, 5, -1]], r"^a box is .*; expected one that meets the image of 30 by 20 pixels"),
    ],
)
def test_boxes_that_are_none_of_the_image(model, boxes, message):
    with pytest.raises(DataError, match=message):
        model.ground(PICTURE, "a dog", boxes=boxes)


def test_a_box_may_reach_beyond_the_image(model):
    (found,) = model.ground(PICTURE, "a dog", boxes=[[-3, -3, 35, 25]])
    np.testing.assert_array_equal(found.box, [-3, -3, 35, 25])


def test_a_small_picture_has_small_boxes(model):
    (found,) = model.ground(np.zeros((2, 2), np.uint8), "a dog", boxes=[[0, 0, 1, 1]])
    np.testing.assert_array_equal(found.box, [0, 0, 1, 1])


def test_a_picture_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"^there is no picture .*nothing\.png$"):
        read_picture(tmp_path / "nothing.png")
