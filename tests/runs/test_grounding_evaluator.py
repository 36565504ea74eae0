"""The evaluator of phrase grounding: a model that knows, data in parts, and what is missing."""

import contextlib
import re
import types

import numpy as np
import pytest

from tfgen.data import Pipeline, Source
from tfgen.errors import ConfigError, DataError
from tfgen.grounding import PhraseGrounding
from tfgen.runs.evaluators.grounding import Grounding
from tfgen.runs.evaluators.grounding_gallery import GroundingGallery


@pytest.fixture
def model():
    """Attends to the region that is the same one-hot vector as the word."""
    model = PhraseGrounding(4, 4, 4, 1)
    model.build()
    for network in model._networks.values():
        network.last.kernel.assign(9 * np.eye(4))
        network.last.bias.assign(np.zeros(4))
    return model


@pytest.fixture
def arrays():
    """Five images of three regions; the second phrase of each means region 1, in two boxes."""
    boxes = np.array([[0, 0, 9, 9], [20, 0, 29, 9], [0, 20, 9, 29], [0, 0, 0, 0.0]])
    none = [0, 0, -1, -1]
    truth = [[[0, 0, 9, 9], none], [[20, 0, 29, 9], [40, 0, 49, 9]], [none, none]]
    words = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    found = {
        "regions": np.eye(4)[[0, 1, 2, 3]],
        "region_mask": [1, 1, 1, 0],
        "boxes": boxes,
        "words": np.eye(4)[[0, 1, 2]],
        "phrase_words": words,
        "phrase_boxes": truth,
    }
    return {k: np.tile(np.asarray(v, np.float32), (5, *[1] * np.ndim(v))) for k, v in found.items()}


def subject_of(model, arrays, folder=None):
    source = Source("made", "test", arrays)
    return types.SimpleNamespace(
        model=model,
        split="test",
        num_images=5,
        seed=0,
        load=lambda split: source,
        folder=folder,
        config={"data": {"name": "made <by hand>"}},
        source=lambda: source,
        pipeline=lambda part=source: Pipeline(part, 2, training=False),
        progress=lambda *_: contextlib.nullcontext(lambda done: None),
    )


def test_a_model_that_knows(model, arrays):
    evaluator, subject = Grounding(), subject_of(model, arrays)
    evaluator.check(subject)
    found = evaluator.measure(subject, {})
    assert (found["num_phrases"], found["num_images"]) == (10, 5)  # one of three has no box
    assert found["pointing"] == found["recall_1"] == found["upper_bound"] == 1
    assert found["pointing_interval"] == [1, 1]
    assert found["protocol"] == "any-box, IoU from 0.5, real regions ranked"
    assert "pointing 100.00%" in next(iter(evaluator.lines(found)))
    assert Grounding.measured({"test": found})
    assert not Grounding.left_out({"test": found})
    assert any("| test | 5 | 10 | 100.00%" in line for line in Grounding.table({"test": found}))
    # Both boxes together are where no region is.
    merged = Grounding("merged_box").measure(subject, {})
    assert merged["recall_1"] == merged["upper_bound"] == 0.5


def test_numbers_of_each_type_of_phrase(model, arrays):
    kinds = np.zeros((5, 3, 8), np.uint8)
    kinds[:, 0, 0] = kinds[:, 1, [0, 3]] = kinds[:, 2, 6] = 1
    arrays["phrase_boxes"][:, 1] = [[0, 0, 9, 9], [0, 0, -1, -1]]  # where nobody looks for it
    subject = subject_of(model, {**arrays, "phrase_kinds": kinds})
    found = Grounding().measure(subject, {})
    points = {kind: (n["pointing"], n["num_phrases"]) for kind, n in found["kinds"].items()}
    assert points == {"people": (0.5, 10), "animals": (0.0, 5)}
    assert "  people: pointing 50.00%, R@1 50.00% of 10 phrases" in list(Grounding().lines(found))
    table = list(Grounding.table({"test": found}))
    assert table[-2:] == [
        "| test | animals | 5 | 0.00% | 0.00% | 100.00% |",
        "| test | people | 10 | 50.00% | 50.00% | 100.00% |",
    ]
    assert "" in table  # between two tables
    # Anyone may have written what metrics.json holds.
    for kinds_there in ("x", {"a | b": found["kinds"]["people"]}, {"people": {"pointing": "1"}}):
        assert len(list(Grounding.table({"test": {**found, "kinds": kinds_there}}))) == 3
    assert "kinds" not in Grounding().measure(subject_of(model, arrays), {})
    wrong = subject_of(model, {**arrays, "phrase_kinds": kinds[..., :5]})
    with pytest.raises(DataError, match=r"phrase_kinds of the 'test' split has shape \(5, 3, 5\)"):
        Grounding().check(wrong)


def test_small_things_are_left_out_where_sizes_are_known(model, arrays):
    """Both phrases cover 100 and 500 pixels, of 2,500 in three images and of 7,500 in two."""
    arrays["phrase_boxes"][:, 1, 1] = [30, 0, 69, 9]  # and the first is [20, 0, 29, 9]
    sizes = np.array([[50, 50]] * 3 + [[75, 100]] * 2)
    evaluator = Grounding("large_only")
    subject = subject_of(model, {**arrays, "image_sizes": sizes})
    evaluator.check(subject)
    found = evaluator.measure(subject, {})
    assert (found["num_phrases"], found["num_images"]) == (5, 5)
    assert "only phrases covering 5% of the image" in found["protocol"]
    with pytest.raises(DataError, match="neither images nor image_sizes"):
        evaluator.check(subject_of(model, arrays))
    for wrong in (sizes[:, :1], 0 * sizes):
        with pytest.raises(DataError, match="image_sizes of the 'test' split has shape"):
            evaluator.check(subject_of(model, {**arrays, "image_sizes": wrong}))
    Grounding().check(subject_of(model, arrays))  # who needs no size asks for none


def test_boxes_the_other_way_round_are_none_and_nan_is_said(model, arrays):
    arrays["phrase_boxes"][0, 0, 0] = [0, 9, 9, 0]  # the other way round: no box
    assert Grounding().measure(subject_of(model, arrays), {})["num_phrases"] == 9
    arrays["regions"][3, 0] = np.nan
    with pytest.raises(DataError, match="the attention of example 1 of a batch is NaN"):
        Grounding().measure(subject_of(model, arrays), {})


def test_what_is_missing_is_said(model, arrays):
    with pytest.raises(ConfigError, match=r"config\.evaluation\.protocol is 'all'"):
        Grounding("all").check(subject_of(model, arrays))
    del arrays["phrase_boxes"]
    with pytest.raises(DataError, match="the 'test' split has no phrase_boxes"):
        Grounding().check(subject_of(model, arrays))
    arrays |= {"phrase_boxes": np.zeros((5, 3, 1, 4), np.float32)}
    with pytest.raises(DataError, match="the size of image 0 is not known"):
        Grounding("large_only").measure(subject_of(model, arrays), {})


def test_a_page_of_pictures(model, arrays, tmp_path):
    subject = subject_of(model, arrays, tmp_path)
    assert GroundingGallery().measure(subject, {}) == {}  # nothing to show
    arrays = {name: array[:2] for name, array in arrays.items()}
    arrays["images"] = np.zeros((2, 50, 50, 3), np.uint8)
    subject = subject_of(model, arrays, tmp_path)
    assert GroundingGallery(False).measure(subject, {}) == {}
    (path,) = GroundingGallery().measure(subject, {})["files"]
    page = (tmp_path / "grounding.html").read_text()
    assert path == f"{tmp_path.name}/grounding.html"
    assert page.count("data:image/png;base64,") == 2
    assert "made &lt;by hand&gt;, test" in page
    # Nothing is fetched: no address, no script, and nothing but data in what is loaded.
    assert not re.search(
        r"https?:|//|<script|<link|@import|url\(", re.sub(r"base64,[^\"]*", "", page)
    )
    assert all(found.startswith("data:") for found in re.findall(r'src="([^"]*)"', page))
