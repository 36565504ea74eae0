"""The study of negatives: its scenes, what each kind proposes, and that it runs whole."""

import json
import types

import numpy as np
import pytest
from scripts import script


@pytest.fixture(scope="module")
def study(root):
    with script(root / "tools" / "studies" / "grounding_negatives.py") as module:
        yield module


@pytest.fixture(scope="module")
def things():
    return [np.full((2, 14, 14), kind / 20, np.float32) for kind in range(20)]


@pytest.fixture(scope="module")
def part(study, things):
    return study.scenes(things, 200, 0)


def test_captions_name_what_the_regions_hold(study, part):
    rooms = list(study.ROOMS)
    means = part["regions"].mean(-1)
    for row, caption in enumerate(part["captions"]):
        _, _, room, _, first, _, _, second = caption.split()
        kinds = [study.KINDS.index(first), study.KINDS.index(second)]
        assert {kind % 5 for kind in kinds} == {rooms.index(room)}
        np.testing.assert_allclose(means[row, part["places"][row]] * 20, kinds, atol=0.9)


def test_both_kinds_are_as_many_and_never_the_noun(study, part):
    pieces = study.WordPieces(study.vocabulary())
    nouns = {pieces.number(kind) for kind in study.KINDS}

    def predict(ids):  # of the right room, and the noun itself where it stands
        logits = np.full((*ids.shape, len(pieces.vocabulary)), -5.0)
        for row, room in enumerate(ids[:, 3]):
            room = study.ROOMS.index(pieces.vocabulary[room])
            logits[row, :, [pieces.number(kind) for kind in study.KINDS[room::5]]] = 1.0
        return logits + 9.0 * (np.arange(len(pieces.vocabulary)) == ids[..., None])

    model = types.SimpleNamespace(predict_on_ids=predict)
    for name, found in (
        ("language_model", study.proposed(part["captions"], pieces, model)),
        ("random", study.random_words(part["captions"], pieces, 0)),
    ):
        words = found["noun_negatives"]
        assert words.shape == (200, 2, 4)
        assert (found["noun_count"] == 2).all()
        assert set(words.ravel()) <= nouns
        assert not (words[..., 1:] == words[..., :1]).any()
        kinds = np.vectorize(lambda n: study.KINDS.index(pieces.vocabulary[n]))(words) % 5
        share = (kinds[..., 1:] == kinds[..., :1]).mean()
        assert share == 1.0 if name == "language_model" else share < 0.3


def test_differences_by_seed(study):
    found = study.difference({"language_model": [0.5, 0.7], "random": [0.4, 0.4]})
    assert found["difference"] == pytest.approx(0.2)
    assert found["standard_error"] == pytest.approx(0.1)


@pytest.mark.slow
def test_the_study_runs(study, things, monkeypatch, tmp_path):
    monkeypatch.setattr(study, "pictures", lambda *_: things)
    found = study.study(None, 1, 60, 2)
    assert len(found["curves"]) == 2
    assert 0 <= min(found["random"]) <= 1
    (tmp_path / "found.json").write_text(json.dumps(found))
