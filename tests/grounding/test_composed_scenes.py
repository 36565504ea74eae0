"""Scenes of clothes and digits: what is where, and what no two splits share."""

import numpy as np
import pytest

from tfgen.data import composed_scenes as scenes
from tfgen.data.scenes import PHRASE_KINDS
from tfgen.errors import DataError


def things(name, split):
    """Pictures whose brightness says which kind and split they are of."""
    labels = np.repeat(np.arange(10), 4)
    first = 20 if name == "mnist" else 120
    level = first + 5 * labels + (split == "test")
    return np.tile(level[:, None, None, None], (1, 28, 28, 1)).astype(np.uint8), labels


@pytest.fixture(scope="module")
def arrays():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes, "NUM_SCENES", {"train": 60, "validation": 20, "test": 30})
        patch.setattr(scenes, "_NOISE", 0.0)
        return {split: scenes.composed_scenes(split, things) for split in scenes.NUM_SCENES}


def test_every_phrase_is_where_its_box_says(arrays):
    found = arrays["test"]
    words = found["token_ids"][:, scenes.NOUNS]
    for image, ids, boxes in zip(found["images"], words, found["phrase_boxes"][:, :, 0]):
        for number, (x1, y1, x2, y2) in zip(ids, boxes.astype(int)):
            kind = scenes.KINDS.index(scenes.VOCABULARY[number])
            level = (20 if kind < 10 else 120) + 5 * (kind % 10) + 1
            assert (image[y1 : y2 + 1, x1 : x2 + 1] == level).all()
            assert scenes.SIZES[0] <= x2 - x1 + 1 == y2 - y1 + 1 <= scenes.SIZES[1]


def test_no_four_kinds_are_in_two_splits(arrays):
    fours = [{tuple(four) for four in scenes._compositions(split)} for split in range(3)]
    assert sum(map(len, fours)) == len(set.union(*fours)) == 4845
    assert len(fours[0]) == 3876
    for split, found in arrays.items():
        allowed = fours[list(arrays).index(split)]
        named = found["token_ids"][:, scenes.NOUNS] - scenes.VOCABULARY.index("zero")
        triples = {tuple(sorted(set(four) - {gone})) for four in allowed for gone in four}
        assert {tuple(sorted(three)) for three in named.tolist()} <= triples


def test_things_do_not_touch_and_negatives_are_other_kinds(arrays):
    found = arrays["train"]
    for boxes in found["phrase_boxes"][:, :, 0]:
        for i in range(3):
            assert all(scenes._apart(boxes[i], boxes[j]) for j in range(i))
    rows = np.arange(len(found["token_ids"]))
    own = found["token_ids"][rows, found["noun_position"]]
    np.testing.assert_array_equal(found["negative_ids"][:, 0], own)
    named = found["token_ids"][:, scenes.NOUNS]
    assert not (found["negative_ids"][:, 1:, None] == named[:, None]).any()
    kinds = found["phrase_kinds"]
    assert (kinds.sum(-1) == 1).all()
    clothing = kinds[..., PHRASE_KINDS.index("clothing")] == 1
    np.testing.assert_array_equal(clothing, named >= scenes.VOCABULARY.index("top"))


def test_the_best_window_s_middle_is_always_inside():
    from tfgen.grounding import boxes as geometry
    from tfgen.grounding.regions import windows

    points = geometry.centres(windows(96, 96, (3, 4), 0.5))
    rng = np.random.default_rng(0)
    boxes = np.array(
        scenes._places(rng, 4) + [b for _ in range(300) for b in scenes._places(rng, 4)]
    )
    assert geometry.points_inside(points, boxes).any(0).all()


def test_recipes_have_the_words_of_the_data():
    from tfgen import recipes
    from tfgen.data import scenes as digits

    for recipe, module in ((recipes.composed_scenes, scenes), (recipes.grounding_scenes, digits)):
        assert recipe().model.word_encoder.vocabulary == module.VOCABULARY


def test_things_are_found_by_the_tagger_that_comes_along():
    from tfgen.grounding.words import LexiconTagger, noun_phrases

    for template in scenes.TEMPLATES:
        for kinds in np.array(scenes.KINDS[:18]).reshape(6, 3):
            caption = template.format(*kinds)
            found = noun_phrases(caption, LexiconTagger())
            assert [phrase.words[-1] for phrase in found] == kinds.tolist()


def test_splits_and_missing_kinds():
    with pytest.raises(DataError, match=r"composed_scenes has no split 'dev'"):
        scenes.composed_scenes("dev", things)
    few = [part for part in range(40) if part // 4 != 4]
    with pytest.raises(DataError, match=r"there is no picture of four, coat"):
        scenes.composed_scenes("train", lambda *args: [part[few] for part in things(*args)])
