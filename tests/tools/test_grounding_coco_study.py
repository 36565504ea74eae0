"""The study of a few pictures of COCO: what it reads, its baselines, and that it runs whole."""

import json
import sys

import numpy as np
import pytest
from PIL import Image
from scripts import script

from tfgen.grounding.coco import read_images
from tfgen.grounding.evaluation import Located
from tfgen.grounding.picture_preparation import prepare_pictures
from tfgen.grounding.words import LexiconTagger, WordPieces, build_vocabulary


@pytest.fixture(scope="module")
def study(root):
    with script(root / "tools" / "studies" / "grounding_coco.py") as module:
        yield module


@pytest.fixture
def annotations(tmp_path, rng):
    """Four pictures of 40 by 20 with two captions each."""
    images = []
    for number in range(4):
        pixels = rng.integers(0, 256, (20, 40, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        phrase = {"text": "dog", "box_ids": [7, 8]}
        images.append({
            "file_name": f"{number}.png", "image_id": number, "width": 40, "height": 20,
            "captions": [{"caption": "A dog's ball on the grass.", "phrases": [phrase]},
                         {"caption": "the zyx grass"}],
            "boxes": [{"id": 7, "bbox_xyxy": [0, 0, 20, 10]},
                      {"id": 8, "bbox_xyxy": [30, 5, 40, 20]}],
        })  # fmt: skip
    (tmp_path / "annotations.json").write_text(json.dumps({"images": images}))
    return tmp_path


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_arrays_of_pictures(annotations):
    from tfgen.data import load

    images = read_images(annotations / "annotations.json")
    captions = [caption for image in images for caption in image.captions]
    pieces = WordPieces([p for p in build_vocabulary(captions) if p != "zyx"])
    given = (annotations, (10, 10, 3), pieces, LexiconTagger())
    assert prepare_pictures(annotations / "set", "all", images, *given, 5, 12) == 8
    arrays = load(f"arrays:{annotations / 'set'}", "all").arrays
    arrays = {name: np.asarray(array[np.arange(8)]) for name, array in arrays.items()}
    assert arrays["images"].shape == (8, 10, 10, 3)
    assert arrays["image_ids"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    # [CLS] a dog ' s ball on the grass . [SEP]: of these dog's (three pieces), ball and grass.
    assert arrays["word_positions"][0].tolist() == [2, 3, 4, 5, 8]
    assert arrays["word_positions"][1].tolist() == [3, 11, 11, 11, 11]  # zyx is not known
    assert (arrays["token_ids"][:, 11] == 0).all()
    assert np.flatnonzero(arrays["phrase_words"][0, 0]).tolist() == [2, 3, 4]
    assert arrays["phrase_boxes"][0, 0].tolist() == [[0, 0, 4, 4], [7.5, 2.5, 9, 9]]
    assert not arrays["phrase_words"][1].any()


def test_baselines(study):
    windows = [[0, 0, 31, 31], [32, 32, 63, 63], [0, 0, 63, 63]]
    phrases = [Located(windows, [[10, 10, 20, 20]], 0), Located(windows, [[28, 28, 60, 60]], 1)]
    found = study.baselines(phrases)
    assert found == {"chance": pytest.approx(0.5), "centre": 0.5, "ceiling": 1.0}


@pytest.mark.slow
def test_the_study_runs(study, annotations, monkeypatch, capsys):
    given = {"annotations": annotations / "annotations.json", "pictures": annotations}
    given |= {"folder": annotations / "out", "sizes": 2, "folds": 2, "steps": 2}
    line = ["study", *(f"--{name}={value}" for name, value in given.items())]
    monkeypatch.setattr(sys, "argv", line)
    study.main()
    found = json.loads((annotations / "out" / "study.json").read_text())
    assert found["phrases"] == 4
    assert found["images"] == 4
    page = (annotations / "out" / "gallery.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "http" not in page
