"""From attention to boxes: the authors' values, closed forms, and intervals that cover."""

import json

import numpy as np
import pytest
from scipy import stats

from tfgen import PhraseGrounding
from tfgen.errors import ConfigError, DataError
from tfgen.grounding import boxes as geometry
from tfgen.grounding.entities import parse_boxes, parse_caption, scored_phrases
from tfgen.grounding.evaluation import Located, Protocol, cluster_intervals, evaluate_phrases
from tfgen.grounding.localisation import heat_map, peak_of, phrase_scores, rank_regions
from tfgen.grounding.official import load_official
from tfgen.grounding.words.tokens import align_words

# -- against the authors' program ------------------------------------------------------------------


@pytest.fixture(scope="module")
def values(reference_values):
    return dict(reference_values("grounding_localisation"))


@pytest.fixture(scope="module")
def official(values):
    """The authors' model, and one of the same weights that leaves padding out."""
    weights = {k.removeprefix("weights/"): v for k, v in values.items() if k.startswith("weights/")}
    models = PhraseGrounding(16, 20, 10, compat="official"), PhraseGrounding(16, 20, 10)
    for model in models:
        load_official(model, weights)
    return models


def captions_of(values, image):
    return [parse_caption(str(line)) for line in values[f"{image}/sentences"]]


@pytest.mark.parametrize("image", ["101", "102"])
def test_annotations_are_read_as_published(values, image):
    want = json.loads(str(values[f"{image}/parsed_sentences_json"]))
    for caption, expected in zip(captions_of(values, image), want, strict=True):
        assert caption.text == expected["sentence"]
        for phrase, other in zip(caption.phrases, expected["phrases"], strict=True):
            assert phrase.first_word == other["first_word_index"]
            assert phrase.text == other["phrase"]
            assert (phrase.entity, list(phrase.kinds)) == (other["phrase_id"], other["phrase_type"])
    want = json.loads(str(values[f"{image}/parsed_boxes_json"]))
    found = parse_boxes(str(values[f"{image}/annotation_xml"]))
    assert {k: v.tolist() for k, v in found.boxes.items()} == want["boxes"]
    assert found.scenes == set(want["scene"])
    assert found.without_box == set(want["nobox"])
    assert found.image_size == (want["height"], want["width"])


def attentions(values, model, image, number):
    regions = values[f"{image}/regions"]
    count = len(values[f"{image}/boxes"])
    data = {
        "regions": regions[None],
        "region_mask": (np.arange(len(regions)) < count)[None],
        "words": values[f"{image}/{number}/piece_features"][None],
        "word_mask": np.ones((1, len(values[f"{image}/{number}/pieces"]))),
    }
    return model(data).attention[0].numpy()


def test_phrases_are_located_as_published(values, official):
    located = {"official": [], None: []}
    for image in ("101", "102"):
        truth = parse_boxes(str(values[f"{image}/annotation_xml"]))
        boxes = values[f"{image}/boxes"]
        mask = np.arange(12) < len(boxes)
        for number, caption in enumerate(captions_of(values, image)):
            start = f"{image}/{number}"
            pieces = [str(piece) for piece in values[f"{start}/pieces"]]
            groups = align_words(caption.text.split(), pieces)
            assert groups == json.loads(str(values[f"{start}/word_pieces_json"]))
            for model, name in zip(official, ("attention", "attention_without_padding")):
                found = attentions(values, model, image, number)[
                    :, : values[f"{start}/{name}"].shape[1]
                ]
                np.testing.assert_allclose(found, values[f"{start}/{name}"], atol=1e-5)
            for index, phrase in enumerate(caption.phrases):
                own = groups[phrase.first_word : phrase.first_word + phrase.num_words]
                own = [piece for group in own for piece in group]
                key = f"{start}/{index}"
                assert own == values[f"{key}/pieces_of_phrase"].tolist()
                box = truth.boxes.get(phrase.entity)
                assert bool(values[f"{key}/scored"]) == (box is not None)
                for model, compat in zip(official, ("official", None)):
                    scores = phrase_scores(attentions(values, model, image, number)[own])
                    ranking = rank_regions(scores, mask, compat)
                    if compat == "official":
                        np.testing.assert_allclose(scores, values[f"{key}/attention"], atol=1e-5)
                        picked = values[f"{key}/picked_regions"].tolist()
                        assert ranking.regions.tolist() == picked
                    ranked = boxes[ranking.regions]
                    one = Located(ranked, box, image, phrase.kinds, proposals=boxes)
                    located[compat].append(one)
                    if box is not None and compat == "official":
                        _check_one(values, key, one, boxes)
    _check_totals(values, located)


def _check_one(values, key, located, boxes):
    found = evaluate_phrases([located], num_resamples=1).values
    recalls = [found[f"recall_{k}"] for k in (1, 5, 10)]
    assert recalls == values[f"{key}/recall_at_1_5_10"].tolist()
    assert found["pointing"] == values[f"{key}/pointing"]
    iou = geometry.intersection_over_union(boxes, located.truth)
    np.testing.assert_allclose(iou, values[f"{key}/iou"], atol=1e-6)


def _check_totals(values, located):
    located = {k: [p for p in v if p.truth is not None] for k, v in located.items()}
    found = evaluate_phrases(located["official"]).values
    recalls = [100 * found[f"recall_{k}"] for k in (1, 5, 10)]
    np.testing.assert_allclose(recalls, values["result_recall_at_1_5_10_percent"])
    assert 100 * found["pointing"] == float(values["result_pointing_percent"])
    result = evaluate_phrases(located[None])
    assert result.num_phrases == int(values["num_phrases"])
    found = result.values
    row = [100 * found[name] for name in ("recall_1", "recall_5", "recall_10", "pointing")]
    want = values["without_padding_recall_at_1_5_10_pointing_percent"]
    np.testing.assert_allclose(row, want)


def test_overlaps_of_pairs_as_published(values):
    a, b = values["pairs/a"], values["pairs/b"]
    found = np.diag(geometry.intersection_over_union(a, b))
    np.testing.assert_allclose(found, values["pairs/iou"], atol=1e-9)
    inside = np.diag(geometry.points_inside(geometry.centres(a), b))
    np.testing.assert_array_equal(inside, values["pairs/centre_of_a_inside_b"])


# -- closed forms ----------------------------------------------------------------------------------


def test_overlap_counts_pixels():
    iou = geometry.intersection_over_union
    assert iou([[0, 0, 9, 9]], [[5, 0, 14, 9]])[0, 0] == pytest.approx(1 / 3, abs=1e-7)
    assert iou([[3, 4, 8, 9]], [[3, 4, 8, 9]])[0, 0] == pytest.approx(1, abs=1e-6)
    assert iou([[0, 0, 4, 9]], [[4, 0, 9, 9]])[0, 0] == 0  # one column in common
    assert not iou([[5, 5, 3, 9]], [[0, 0, 9, 9]]).any()  # the other way round
    assert iou(np.zeros((0, 4)), [[0, 0, 9, 9]]).shape == (0, 1)


def test_a_centre_on_the_edge_is_a_miss():
    centre, box = [[5, 5]], [[5, 0, 9, 9]]
    assert not geometry.points_inside(centre, box)[0, 0]
    assert geometry.points_inside(centre, box, inclusive=True)[0, 0]


def test_protocols_split_where_a_phrase_has_two_boxes():
    truth, found = [[0, 0, 10, 10], [20, 0, 30, 10]], [[0, 0, 30, 10]]
    phrase = Located(found, truth, "a", image_size=(100, 100))
    any_box = evaluate_phrases([phrase], Protocol("any_box"))
    merged = evaluate_phrases([phrase], Protocol("merged_box"))
    assert any_box.values["recall_1"] == any_box.values["pointing"] == 0
    assert merged.values["recall_1"] == merged.values["pointing"] == 1
    assert any_box.protocol == "any-box, IoU from 0.5"
    assert merged.protocol == "merged-box, IoU from 0.5"
    # 341 of 10,000 pixels are below MultiGrounding's twentieth.
    with pytest.raises(
        DataError, match=r"no phrase can be scored under any-box, IoU from 0\.5, only"
    ):
        evaluate_phrases([phrase], Protocol(least_share=0.05))
    with pytest.raises(DataError, match="the size of image 'a' is not known"):
        evaluate_phrases([Located(found, truth, "a")], Protocol(least_share=0.05))


def test_a_heat_map_points_where_it_peaks():
    phrase = Located([[0, 0, 4, 4]], [[10, 10, 20, 20]], 1, point=(10, 15))
    assert evaluate_phrases([phrase]).values["pointing"] == 0
    assert evaluate_phrases([phrase], Protocol(inclusive=True)).values["pointing"] == 1


def test_heat_lies_where_attention_does():
    boxes = np.array([[0, 0, 3, 3], [4, 0, 7, 3], [0, 0, 7, 7.0]])
    heat = heat_map([0.5, 0.25, 0.25], boxes, 8, 8)
    assert heat.shape == (8, 8)
    assert heat[1, 1] == 1
    assert peak_of(heat) == (0, 0)
    want = (0.25 / 16 + 0.25 / 64) / (0.5 / 16 + 0.25 / 64)
    assert heat[1, 5] == pytest.approx(want)
    assert heat[6, 6] == pytest.approx((0.25 / 64) / (0.5 / 16 + 0.25 / 64))
    for outside in (boxes + 100, boxes - 100):
        assert not heat_map([0.5, 0.25, 0.25], outside, 8, 8).any()
    assert peak_of([[0, 1], [5, 2]]) == (0, 1)


def test_a_perfect_and_a_random_ranking(rng):
    grid = np.array([[20 * x, 20 * y, 20 * x + 9, 20 * y + 9] for x in range(6) for y in range(5)])
    perfect = [Located(grid[[k]], grid[[k]], k) for k in range(30)]
    assert set(evaluate_phrases(perfect).values.values()) == {1.0}
    orders = [rng.permutation(30) for _ in range(1500)]
    phrases = [Located(grid[o], grid[[7]], i, proposals=grid) for i, o in enumerate(orders)]
    found = evaluate_phrases(phrases, num_resamples=1).values
    for k in (1, 5, 10):
        # Each fails once in 10^5 if the ranking is uniform.
        low, high = stats.binom.ppf([5e-6, 1 - 5e-6], 1500, k / 30) / 1500
        assert low <= found[f"recall_{k}"] <= high
    assert found["recall_1"] <= found["recall_5"] <= found["recall_10"] <= found["upper_bound"]
    assert found["upper_bound"] == 1


def test_types_count_wherever_a_phrase_has_them():
    hit, miss = [[0, 0, 9, 9]], [[50, 50, 59, 59]]
    phrases = [
        Located(hit, hit, "a", ("people",)),
        Located(miss, hit, "a", ("people", "other")),
        Located([], hit, "b", ("other",), proposals=hit),
        Located(hit, [], "b"),
    ]
    found = evaluate_phrases(phrases)
    assert (found.num_phrases, found.num_images) == (3, 2)
    assert found.kinds["people"]["recall_1"] == 0.5
    assert found.kinds["other"] == {
        "pointing": 0,
        "recall_1": 0,
        "recall_5": 0,
        "recall_10": 0,
        "upper_bound": 0.5,
        "num_phrases": 2,
    }
    assert json.loads(json.dumps(found.as_dict()))["values"]["upper_bound"] == pytest.approx(2 / 3)
    assert "of 3 phrases of 2 images; any-box, IoU from 0.5" in list(found.lines())


def test_a_phrase_is_as_sure_as_its_surest_piece():
    seen = np.array([[0.9, 0.1, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(phrase_scores(seen), [0.9, 1 / 3, 1 / 3])
    np.testing.assert_allclose(phrase_scores(seen, "noisy_or"), [1 - 0.1 * 2 / 3, 0.4, 1 / 3])
    np.testing.assert_allclose(phrase_scores(seen, "mean"), seen.mean(0))
    with pytest.raises(ConfigError, match="pool is 'sum'"):
        phrase_scores(seen, "sum")


def test_padding_is_ranked_in_the_official_way_only():
    scores, mask = np.linspace(1, 0, 14), np.arange(14) % 2
    official = rank_regions(scores, mask, "official")
    assert official.regions.tolist() == [1, 3, 5, 7, 9]
    assert rank_regions(scores, mask).regions.tolist() == [1, 3, 5, 7, 9, 11, 13]
    assert "10 best slots" in official.protocol
    # Equal scores keep the order of the image.
    assert rank_regions(np.ones(4), np.ones(4)).regions.tolist() == [0, 1, 2, 3]


def test_a_scene_with_a_box_elsewhere_is_scored():
    caption = parse_caption(
        "[/EN#1/scene A park] and [/EN#2/scene a lake] and [/EN#0/notvisual x] ."
    )
    truth = parse_boxes(
        "<annotation><size><width>9</width><height>9</height></size>"
        "<object><name>1</name><scene>1</scene></object><object><name>1</name><bndbox><xmin>1</xmin>"
        "<ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object>"
        "<object><name>2</name><scene>1</scene><nobndbox>1</nobndbox></object></annotation>"
    )
    assert [phrase.entity for _, phrase, _ in scored_phrases([caption], truth)] == ["1"]


# -- intervals -------------------------------------------------------------------------------------


def test_intervals_cover_what_they_say():
    # Images of 1 to 9 phrases whose chance of a hit is the image's own: phrases are not
    # independent. 200 data sets of 60 images; a 90 % interval that covers holds the truth in 78 %
    # to 98 % of them (four standard errors of 0.021 and what 60 images leave to the bootstrap).
    rng, truth, covered, naive = np.random.default_rng(5), 0.5, 0, 0
    for trial in range(200):
        sizes = rng.integers(1, 10, 60)
        chances = np.repeat(rng.beta(0.5, 0.5, 60), sizes)
        hits = (rng.random(len(chances)) < chances).astype(float)[:, None]
        clusters = np.repeat(np.arange(60), sizes)
        low, high = cluster_intervals(hits, clusters, 0.9, 100, trial)
        covered += low[0] <= truth <= high[0]
        low, high = cluster_intervals(hits, np.arange(len(hits)), 0.9, 100, trial)
        naive += low[0] <= truth <= high[0]
    assert 0.78 <= covered / 200 <= 0.98
    assert naive < covered - 30  # phrases taken one by one promise too much


def test_intervals_of_one_image_and_of_no_spread():
    low, high = cluster_intervals(np.array([[1.0], [0.0]]), np.array([0, 0]))
    assert low == high == 0.5
    low, high = cluster_intervals(np.ones((5, 1)), np.arange(5))
    assert low == high == 1
