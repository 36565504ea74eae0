"""Captions of any signs and length: what is answered, printed and drawn of them."""

import json
import unicodedata
import warnings

import numpy as np
import pytest
import small_grounding
from PIL import Image
from small_grounding import PICTURE

from tfgen.bin.ground import _one_line
from tfgen.errors import DataError
from tfgen.grounding.drawing import MOST_DRAWN, picture_of
from tfgen.runs.evaluators.grounding_gallery import write_page

CAPTIONS = {
    "tags": 'a <script>alert(1)</script> and a "dog" & a <b>dog</b>',
    "control": "a \x00dog\x1b[2J \x08and a \x9b2Jdog",
    "direction": "a \u202edog\u202c and حذاء a dog",
    "emoji": "a dog 👩‍👩‍👧 🏴\U000e0067\U000e0062 and a d\xadog",
    "surrogate": "a dog \ud83d and a dog",
    "formula": r"a $dog$ and a $\frac{1}{0}$ dog",
    "accents": "a dog " + "\u0301" * 500,
    "one word": "a " + "b" * 10_000,
    "long": "a dog and " * 1_000,
}


@pytest.fixture(scope="module")
def model():
    return small_grounding.make()


@pytest.mark.parametrize("name", CAPTIONS)
def test_captions_of_any_signs(model, name, tmp_path):
    caption = CAPTIONS[name]
    found = model.ground(PICTURE, caption)
    assert found
    line = _one_line({"phrases": [one.phrase for one in found]})
    assert line.isprintable()
    assert json.loads(line) == {"phrases": [one.phrase for one in found]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = picture_of(PICTURE, found, caption)
    (tmp_path / "a.png").write_bytes(picture)
    with Image.open(tmp_path / "a.png") as drawn:
        assert max(drawn.size) < 4_000
    write_page(tmp_path / "a.html", caption, [(caption, picture)])
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<b>" not in page
    assert {c for c in page if unicodedata.category(c) == "Cc"} == {"\n"}


@pytest.mark.parametrize("caption", ["", " \t\n", "... !!! ,,, ???", "is very quickly", "🥾"])
def test_captions_without_a_noun(model, caption):
    assert model.ground(PICTURE, caption) == []


@pytest.mark.parametrize("phrases", [[3], [None], 5, "a dog", [b"dog"]])
def test_phrases_that_are_no_texts(model, phrases):
    with pytest.raises(DataError, match=r"^phrases is .*; expected a list of texts$"):
        model.ground(PICTURE, "a dog", phrases=phrases)


def test_a_picture_of_more_phrases_than_it_shows(model):
    found = model.ground(PICTURE, "a dog and " * 100)
    assert len(found) == 100 > MOST_DRAWN
    assert picture_of(PICTURE, found) != picture_of(PICTURE, found[:MOST_DRAWN])  # which it says


@pytest.mark.parametrize("shape", [(3, 9_000), (9_000, 3), (1, 1)])
def test_pictures_of_extreme_proportions(model, shape):
    image = np.zeros(shape, np.uint8)
    found = model.ground(image, "a dog")
    width = shape[1]
    assert 0 <= found[0].box[0] <= found[0].box[2] <= width - 1
    assert len(picture_of(image, found, "a dog")) < 1_000_000
