"""From raw annotations to arrays, a trained model and its score: the whole way, on small files."""

import h5py
import keras
import numpy as np
import pytest
from PIL import Image

from tfgen import PhraseGrounding
from tfgen.data import Pipeline, load
from tfgen.errors import DataError
from tfgen.grounding import drawing
from tfgen.grounding.entities import EntityPhrase, parse_caption
from tfgen.grounding.inference import Grounded
from tfgen.grounding.negatives import propose_negatives
from tfgen.grounding.preparation import prepare_captions, prepare_phrases
from tfgen.grounding.regions import OfficialRegions
from tfgen.grounding.words import LexiconTagger, WordPieces, build_vocabulary, noun_words

SENTENCES = {
    "11": [
        "[/EN#1/people A man] in [/EN#2/clothing a red shirt] .",
        "[/EN#3/animals A dog] runs .",
    ],
    "12": ["[/EN#1/animals A big cat] near [/EN#2/animals a dog]", "and now !"],
    "13": ["[/EN#4/vehicles The red car] by [/EN#5/people a woman] ."],
}


@pytest.fixture
def prepared(tmp_path, rng):
    """Regions in the authors' files, captions in Flickr30K's form, features by a stand-in."""
    with (
        h5py.File(tmp_path / "features.hdf5", "w") as features,
        h5py.File(tmp_path / "boxes.hdf5", "w") as boxes,
    ):
        for image, count in zip(SENTENCES, (3, 9, 5)):
            features[image] = rng.random((count, 6)).astype(np.float32)
            corner = rng.integers(0, 50, (count, 2))
            boxes[image] = np.concatenate([corner, corner + 20], 1).astype(np.float32)
    texts = [
        (image, parse_caption(line).text) for image, lines in SENTENCES.items() for line in lines
    ]
    vocabulary = build_vocabulary([text for _, text in texts], least=1)
    pieces = WordPieces(vocabulary)
    captions = [(image, pieces(text)) for image, text in texts]
    table = rng.normal(size=(len(vocabulary), 4)).astype(np.float32)

    def encode(tokens):  # a word, and a little of the whole caption
        return [table[list(t.ids)] + 0.1 * table[list(t.ids)].mean(0) for t in tokens]

    tokens, tagger = [found for _, found in captions], LexiconTagger()
    nouns = [noun_words(text, tagger) for _, text in texts]
    logits = rng.normal(size=len(vocabulary))
    predict = lambda ids: np.tile(logits, (*ids.shape, 1))  # noqa: E731
    negatives = propose_negatives(tokens, nouns, predict, pieces, 5, 3)
    count = prepare_captions(
        tmp_path / "set", "train", captions, OfficialRegions(tmp_path), encode, tagger, negatives,
        num_regions=5, num_words=3, pieces_of=vocabulary,
    )  # fmt: skip
    assert count == 5
    return tmp_path / "set", captions, encode, negatives


def test_from_annotations_to_training(prepared):
    folder, captions, encode, negatives = prepared
    source = load(f"arrays:{folder}")
    arrays = {name: np.asarray(array[np.arange(5)]) for name, array in source.arrays.items()}
    assert arrays["regions"].shape == (5, 5, 6)
    assert arrays["region_mask"].sum(1).tolist() == [3, 3, 5, 5, 5]
    assert arrays["image_ids"].tolist() == [0, 0, 1, 1, 2]
    assert arrays["word_mask"].sum(1).tolist() == [3, 1, 3, 0, 3]  # man red shirt; dog; big cat dog
    tokens = captions[0][1]
    np.testing.assert_allclose(arrays["words"][0, 0], encode([tokens])[0][2])
    # The first row is the true caption's own feature at the noun; a caption without one has none.
    assert arrays["negative_mask"][:, 0].tolist() == [1, 1, 1, 0, 1]
    rows = [r for r in range(len(negatives)) if negatives.caption[r] == 0]
    own = [encode([tokens])[0][negatives.position[r]] for r in rows]
    assert any(np.allclose(arrays["negatives"][0, 0], feature) for feature in own)
    model = PhraseGrounding(6, 4, 8)
    model.compile(keras.optimizers.Adam(1e-2), run_eagerly=True)
    pipeline = Pipeline(source, 4)
    history = model.fit(pipeline.dataset(), steps_per_epoch=3, verbose=0, shuffle=False).history
    assert np.isfinite(history["loss"][0])
    assert 0 < history["language_loss"][0] < 3


def test_phrases_with_their_boxes_and_types(prepared, tmp_path):
    _, captions, encode, _ = prepared
    lines = [parse_caption(line) for image in SENTENCES.values() for line in image]
    boxes = np.float32([[0, 0, 9, 9], [20, 0, 29, 9]])
    phrases = [[(phrase, boxes[: 1 + n % 2]) for n, phrase in enumerate(c.phrases)] for c in lines]
    regions = OfficialRegions(tmp_path)
    count = prepare_phrases(tmp_path / "set", "test", captions, phrases, regions, encode, 5)
    assert count == 7
    arrays = load(f"arrays:{tmp_path / 'set'}", "test").arrays
    arrays = {name: np.asarray(array[np.arange(4)]) for name, array in arrays.items()}
    assert arrays["image_ids"].tolist() == [0, 0, 1, 2]  # "and now !" has none
    assert arrays["phrase_words"][0].argmax(-1).tolist() == [1, 4]  # a man in a red shirt
    assert arrays["phrase_words"][0].sum(-1).tolist() == [2, 3]
    assert arrays["word_mask"].sum(-1).tolist() == [9, 6, 8, 9]
    np.testing.assert_allclose(arrays["words"][0, 2], encode([captions[0][1]])[0][2], rtol=1e-6)
    assert arrays["phrase_boxes"][0, 1].tolist() == boxes.tolist()
    assert arrays["phrase_boxes"][1, 1].tolist() == [[0, 0, -1, -1]] * 2  # no second phrase
    kinds = [np.flatnonzero(row).tolist() for row in arrays["phrase_kinds"][0]]
    assert kinds == [[0], [1]]
    with pytest.raises(DataError, match="no caption has a phrase with a box"):
        prepare_phrases(tmp_path / "x", "test", captions, [[]] * 5, regions, encode)


def test_one_caption_an_image_in_any_order(prepared, tmp_path):
    """As many images as captions: each caption keeps its own image's regions, and size."""
    _, captions, encode, _ = prepared
    folder = tmp_path / "turned"
    own = {image: (image, tokens) for image, tokens in captions}
    turned = list(own.values())[::-1]
    phrase = EntityPhrase("a", 0, "1", ("people",))
    truth = [[(phrase, np.float32([[0, 0, 9, 9]]))]] * len(turned)
    regions = OfficialRegions(tmp_path)
    sizes = {image: (10 + row, 20) for row, (image, _) in enumerate(turned)}
    prepare_captions(folder, "train", turned, regions, encode, LexiconTagger())
    prepare_phrases(folder, "test", turned, truth, regions, encode, image_sizes=sizes)
    for split in ("train", "test"):
        arrays = load(f"arrays:{folder}", split).arrays
        for row, (image, _) in enumerate(turned):
            want = regions[image].features
            np.testing.assert_array_equal(np.asarray(arrays["regions"][row])[: len(want)], want)
        if split == "test":
            assert np.asarray(arrays["image_sizes"][:]).tolist() == list(map(list, sizes.values()))


def test_what_cannot_be_prepared(prepared, tmp_path):
    _, captions, encode, negatives = prepared
    regions = OfficialRegions(tmp_path)
    with pytest.raises(DataError, match="there are no captions to prepare"):
        prepare_captions(tmp_path / "x", "train", [], regions, encode, LexiconTagger())
    other = [("99", captions[0][1])]
    with pytest.raises(DataError, match=r"features\.hdf5 has no image '99'"):
        prepare_captions(tmp_path / "x", "train", other, regions, encode, LexiconTagger())
    with pytest.raises(DataError, match="negatives are given without pieces_of"):
        prepare_captions(
            tmp_path / "x", "train", captions, regions, encode, LexiconTagger(), negatives
        )
    assert not (tmp_path / "x").exists()


# -- pictures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [0, 1, 3])
def test_pictures_of_phrases(tmp_path, rng, channels):
    image = rng.random((20, 30, channels) if channels else (20, 30))
    boxes = np.array([[2, 3, 9, 9], [10, 10, 29, 19.0]])
    found = [
        Grounded("a $dog$ 🐕", 0, boxes[0], 1.0, np.array([0.9, 0.1]), boxes),
        Grounded("nothing", 3, None, -np.inf, np.zeros(2), boxes),
    ]
    drawing.draw_phrases(image, found, tmp_path / "a.png", "a $dog$ and nothing")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > picture.height > 100
    drawing.draw_phrases((255 * image).astype(np.uint8), [], tmp_path / "b.png")
    assert (tmp_path / "b.png").stat().st_size > 1000
