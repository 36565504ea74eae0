"""The study of the small language model: what it holds out, and how it counts."""

import types

import numpy as np
import pytest
from scripts import script

from tfgen.grounding.coco import Captions
from tfgen.grounding.words import WordPieces


@pytest.fixture(scope="module")
def study(root):
    with script(root / "tools" / "studies" / "grounding_language_model.py") as module:
        yield module


def test_images_are_held_out_with_all_their_captions(study):
    images = tuple(f"{number:03}" for number in range(40) for _ in range(2))
    captions = Captions(tuple(f"of {image}" for image in images), images, images)
    learnt, held = study.parts(captions)
    assert held == ["of 000", "of 000", "of 020", "of 020"]
    assert len(learnt) == 76
    assert not set(learnt) & set(held)


def test_nouns_are_masked_one_at_a_time(study):
    pieces = WordPieces(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog", "cat", "a", "and"])
    asked = []

    def predict(ids):  # "dog" is likeliest wherever something is masked
        asked.append(ids.copy())
        return np.tile(-np.abs(np.arange(9) - 5.0), (*ids.shape, 1))

    tokens = [pieces("a dog and a cat"), pieces("a zebra")]
    model = types.SimpleNamespace(predict_on_ids=predict)
    found = study.noun_accuracy(model, tokens, [[1, 4], [1]], pieces)
    assert found == {"nouns": 2, "first": 0.5, "first_five": 1.0}  # zebra is not known
    assert (asked[0] == 4).sum(1).tolist() == [1, 1]
    assert np.argwhere(asked[0] == 4).tolist() == [[0, 2], [1, 5]]
