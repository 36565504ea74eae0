"""The model as it is used: trained by fit, asked about pictures, saved, served, and abstaining."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfgen
from tfgen import PhraseGrounding
from tfgen.data import load
from tfgen.data.scenes import NUMERALS, VOCABULARY
from tfgen.errors import ConfigError, DataError
from tfgen.grounding.pictures import as_pixels
from tfgen.grounding.selection import WordChoiceSelection
from tfgen.grounding.words import LexiconTagger
from tfgen.systems.presets import save_preset

NAMES = ("red", "green", "blue", "cyan", "pink", "yellow")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", *NAMES, "and"]
COLOURS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0]], np.float32)


def coloured(rng, number):
    """Pictures of two squares of two colours, and captions that name both."""
    images = np.zeros((number, 16, 16, 3), np.float32)
    ids, places = np.zeros((number, 7), np.int32), np.zeros((number, 2), int)
    for row in range(number):
        colours, cells = rng.permutation(6)[:2], rng.permutation(4)[:2]
        for colour, cell in zip(colours, cells):
            top, left = 8 * (cell // 2), 8 * (cell % 2)
            images[row, top : top + 8, left : left + 8] = COLOURS[colour]
        ids[row] = [2, 5, 6 + colours[0], 12, 5, 6 + colours[1], 3]
        places[row] = cells
    return images, ids, places


def with_absent(ids):
    """The first colour of each caption, and the four that it does not name."""
    rest = [[c for c in range(6, 12) if c not in (row[2], row[5])] for row in ids]
    return np.concatenate([ids[:, 2:3], rest], axis=1)


@pytest.fixture(scope="module")
def model():
    """Trained on captions alone for a few seconds."""
    rng = np.random.default_rng(0)
    images, ids, _ = coloured(rng, 128)
    model = PhraseGrounding(
        dims=8,
        num_layers=1,
        num_words=7,
        region_features=dict(image_shape=(16, 16, 3), grids=[2], overlap=0.0, crop_size=1),
        word_encoder=dict(vocabulary=WORDS, dims=8),
        seed=1,
    )
    data = {
        "images": images,
        "token_ids": ids,
        "word_positions": np.tile([2, 5], (128, 1)),
        "noun_position": np.full(128, 2),
        "negative_ids": with_absent(ids),
    }
    model.compile(keras.optimizers.Adam(0.02))
    batches = tf.data.Dataset.from_tensor_slices(data).repeat().shuffle(128, seed=0).batch(16)
    history = model.fit(batches, steps_per_epoch=100, verbose=0, shuffle=False).history
    assert history["language_loss"][-1] < 0.6
    return model


TAGGER = LexiconTagger(dict.fromkeys(NAMES, "NN"))


def test_phrases_of_new_pictures_are_found(model):
    images, ids, places = coloured(np.random.default_rng(9), 20)
    right = 0
    for image, row, cells in zip(images, ids, places):
        caption = f"a {WORDS[row[2]]} and a {WORDS[row[5]]}"
        found = model.ground(image, caption, tagger=TAGGER)
        assert [one.phrase for one in found] == [f"a {WORDS[row[i]]}" for i in (2, 5)]
        for one, cell in zip(found, cells):
            top, left = 8 * (cell // 2), 8 * (cell % 2)
            right += one.box.tolist() == [left, top, left + 7, top + 7]
    assert right == 40  # a guess is right in 10


def test_pictures_of_any_size_and_form(model, tmp_path):
    images, ids, _ = coloured(np.random.default_rng(3), 1)
    caption = f"a {WORDS[ids[0, 2]]}"
    (want,) = model.ground(images[0], caption, phrases=[caption])
    levels = np.round(255 * images[0]).astype(np.uint8)
    large = np.kron(levels, np.ones((4, 2, 1), np.uint8))
    for image in (levels, large):
        (found,) = model.ground(image, caption, phrases=[caption])
        scale = np.array([image.shape[1], image.shape[0]] * 2) / 16
        one = np.array([0, 0, 1, 1])
        edges = (want.box + one) * scale - one
        np.testing.assert_allclose(found.box, edges, atol=1e-4)
        np.testing.assert_allclose(found.attention, want.attention, atol=0.02)
    # A photograph turned by its EXIF data is seen as a viewer shows it.
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(levels[::-1, ::-1]).save(tmp_path / "turned.png", exif=exif)
    (found,) = model.ground(tmp_path / "turned.png", caption, phrases=[caption])
    np.testing.assert_allclose(found.attention, want.attention, atol=1e-5)
    grey, size = as_pixels(levels[..., 0], (16, 16, 3))
    assert grey.shape == (16, 16, 3)
    assert size == (16, 16)
    (found,) = model.ground(levels, caption, phrases=[caption], boxes=[want.box, [0, 0, 15, 15]])
    assert found.attention.shape == (2,)
    for bad in (
        np.zeros((2, 3, 4, 5)),
        np.zeros((4, 4, 2)),
        np.zeros((0, 4, 3)),
        np.full((4, 4), np.nan),
    ):
        with pytest.raises(DataError):
            model.ground(bad, caption, phrases=[caption])


def test_boxes_of_a_picture_smaller_than_the_windows(model):
    for height, width in ((1, 1), (1, 50), (3, 2)):
        (found,) = model.ground(np.zeros((height, width)), "a red", phrases=["a red"])
        assert np.all(found.boxes[:, :2] >= 0)
        assert np.all(found.boxes[:, 2:] >= found.boxes[:, :2])
        assert np.all(found.boxes[:, 2:] <= [width - 1, height - 1])


@pytest.mark.parametrize(
    ("boxes", "sentence"),
    [
        ([[0, 0, 5, 5], [9, 0, 5, 5]], r"a box is \[9\.0, 0\.0, 5\.0, 5\.0\]; expected x1 <= x2"),
        ([[0, np.nan, 5, 5]], "a box is .*nan"),
        (np.zeros((0, 4)), r"boxes have shape \(0, 4\)"),
        ([[1, 2, 3]], r"boxes have shape \(1, 3\)"),
    ],
)
def test_boxes_that_are_none(model, boxes, sentence):
    with pytest.raises(DataError, match=sentence):
        model.ground(np.zeros((16, 16, 3)), "a red", phrases=["a red"], boxes=boxes)


def test_captions_of_any_kind(model):
    image = np.zeros((16, 16, 3), np.float32)
    assert model.ground(image, "") == []
    assert model.ground(image, "and quickly !") == []
    (found,) = model.ground(image, "a \u200b", phrases=["\u200b"])
    assert found.box is None  # a word that leaves no piece
    assert found.score == -np.inf
    (found,) = model.ground(image, "the Ünknown 🐕", phrases=["ünknown 🐕"])
    assert found.first_word == 1
    assert found.box is None  # of words that it has never seen
    (found,) = model.ground(image, "a nice red thing", phrases=["a nice red thing"])
    (red,) = model.ground(image, "a red", tagger=TAGGER)
    np.testing.assert_array_equal(found.attention, red.attention)  # "a" says nothing
    with pytest.raises(DataError, match="the phrase 'a dog' does not occur in the caption 'a cat'"):
        model.ground(image, "a cat", phrases=["a dog"])
    with pytest.raises(DataError, match="a caption is 3; expected a text"):
        model.ground(image, 3)


def test_it_abstains_on_what_is_not_there(model):
    rng = np.random.default_rng(5)
    images, ids, _ = coloured(rng, 60)
    absent = with_absent(ids)
    batch = {"images": images[:30], "token_ids": ids[:30], "noun_position": np.full(30, 2)}
    batch["negative_ids"] = absent[:30]
    before = model.threshold
    threshold = model.calibrate([batch], 0.1)
    assert threshold == model.threshold == model.get_config()["threshold"]
    kept, wrong = 0, 0
    for image, row, other in zip(images[30:], ids[30:], absent[30:, 1]):
        (found,) = model.ground(image, f"a {WORDS[row[2]]}", tagger=TAGGER)
        kept += found.box is not None
        (found,) = model.ground(image, f"a {WORDS[other]}", tagger=TAGGER)
        wrong += found.box is not None
    model.threshold = before
    assert kept >= 27
    assert wrong <= 9  # at most a tenth of 30 is expected
    with pytest.raises(DataError, match="no caption has negatives"):
        model.calibrate([{"images": images, "token_ids": ids}])


def test_what_a_model_without_parts_needs():
    model = PhraseGrounding(4, 3, 2)
    with pytest.raises(ConfigError, match="this model has no region_features; give regions="):
        model.ground(np.zeros((4, 4, 3)), "a dog")
    regions, boxes = np.ones((3, 4)), np.array([[0, 0, 1, 1], [1, 1, 2, 2], [0, 0, 2, 2]])
    with pytest.raises(ConfigError, match="this model has no word_encoder; give words="):
        model.ground(None, "a dog", regions=regions, boxes=boxes)
    (found,) = model.ground(
        None,
        "a dog",
        regions=regions,
        boxes=boxes,
        words=np.random.default_rng(0).normal(size=(4, 3)),
        word_pieces=[[1], [2]],
    )
    assert found.phrase == "a dog"
    assert found.box.tolist() == [0, 0, 1, 1]  # all alike: the first
    with pytest.raises(DataError, match="regions are given without boxes"):
        model.ground(None, "a dog", regions=regions)
    good = dict(regions=regions, boxes=boxes, words=np.ones((4, 3)), word_pieces=[[1], [2]])
    for bad, sentence in (
        (dict(regions=np.full((3, 4), np.nan)), "regions hold NaN"),
        (dict(regions=np.ones((3, 5))), r"regions have shape \(3, 5\); expected .* 4 numbers"),
        (dict(regions=np.ones((0, 4)), boxes=np.ones((0, 4))), r"regions have shape \(0, 4\)"),
        (dict(words=np.full((4, 3), np.inf)), "words hold NaN or infinite"),
        (dict(word_pieces=[[1], [4]]), "expected 2 words and rows below 4"),
        (dict(word_pieces=[[1]]), "word_pieces are of 1 words"),
        (dict(phrases="dog"), "phrases is 'dog'; expected a list"),
    ):
        with pytest.raises(DataError, match=sentence):
            model.ground(None, "a dog", **good | bad)


def test_it_comes_back_from_every_kind_of_file(model, tmp_path):
    images, ids, _ = coloured(np.random.default_rng(2), 3)
    want = model({"images": images, "token_ids": ids})
    model.save(tmp_path / "model.keras")
    preset = save_preset(model, tmp_path / "preset")
    for again in (keras.models.load_model(tmp_path / "model.keras"), tfgen.from_preset(preset)):
        found = again({"images": images, "token_ids": ids})
        np.testing.assert_array_equal(found.attention, want.attention)
        np.testing.assert_array_equal(found.logits, want.logits)
    assert json.loads((preset / "config.json").read_text())["model"]["name"] == "phrase_grounding"


class Fixed(WordChoiceSelection):
    """Judges epochs by a list instead of a data set."""

    def __init__(self, scores, *args, **kwargs):
        super().__init__((), *args, **kwargs)
        self.scores = iter(scores)

    def word_choice(self):
        return next(self.scores)


def tiny_run(scores, folder=None, epochs=None, model=None):
    """A small model after some epochs, and its weights after each of them."""
    if model is None:
        model = PhraseGrounding(3, 3, 2, 1)
        model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    rng, after = np.random.default_rng(0), []
    data = {name: rng.normal(size=(4, 2, 3)).astype(np.float32) for name in ("regions", "words")}
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: after.append([w.numpy() for w in model.weights])
    )
    selection = Fixed(scores, folder)
    model.fit(data, epochs=len(scores), batch_size=4, verbose=0, callbacks=[note, selection])
    return model, after, selection


def test_the_epoch_that_chooses_words_best_is_kept(tmp_path):
    model, after, _ = tiny_run([0.2, 0.9, 0.9, 0.4], tmp_path)
    floats = [i for i, w in enumerate(model.weights) if "float" in w.dtype]
    for i in floats:
        np.testing.assert_array_equal(model.weights[i], after[1][i])
    # A run that goes on remembers what it had, and whether it was better.
    model, _, selection = tiny_run([0.5], tmp_path, model=model)
    assert selection.best == 0.9
    for i in floats:
        np.testing.assert_array_equal(model.weights[i], after[1][i])
    # A damaged file, or that of another model, is no reason not to train.
    (tmp_path / "selection.npz").write_bytes(b"PK")
    _, _, selection = tiny_run([0.5], tmp_path, model=model)
    assert selection.best == 0.5


def test_a_run_that_sets_captions_aside_ends_with_its_best_epoch(tmp_path):
    model = PhraseGrounding(3, 3, 2, 1)
    assert model.training_callbacks(None) == []
    assert not model.finish()
    rng = np.random.default_rng(0)
    shapes = {"regions": (2, 3), "words": (2, 3), "negatives": (4, 3)}
    data = {name: rng.normal(size=(8, *s)).astype(np.float32) for name, s in shapes.items()}
    callbacks = model.training_callbacks([data], tmp_path)
    model.compile(keras.optimizers.SGD(0.5), run_eagerly=True)
    history = model.fit(data, epochs=4, batch_size=4, verbose=0, callbacks=callbacks).history
    found = history["held_out_word_choice"]
    assert callbacks[0].best == max(found)
    assert model.finish()
    assert callbacks[0].word_choice() == max(found)
    assert (tmp_path / "selection.npz").is_file()


def test_word_choice_is_of_captions_with_a_noun(model):
    images, ids, _ = coloured(np.random.default_rng(8), 6)
    batch = {"images": images, "token_ids": ids, "noun_position": np.full(6, 2)}
    batch["negative_ids"] = with_absent(ids)
    batch["noun_valid"] = np.array([1, 1, 1, 0, 0, 0], np.float32)
    batch["negative_ids"][2] = batch["negative_ids"][2, 0]  # no better than itself
    selection = WordChoiceSelection([batch])
    selection.set_model(model)
    assert selection.word_choice() == pytest.approx(2 / 3)
    selection = WordChoiceSelection([{"images": images, "token_ids": ids}])
    selection.set_model(model)
    assert np.isnan(selection.word_choice())


def test_predict_goes_over_whole_data_sets():
    model = PhraseGrounding(4, 3, 2, 1)
    rng = np.random.default_rng(0)
    shapes = {"regions": (2, 4), "words": (3, 3)}
    data = {name: rng.normal(size=(5, *s)).astype(np.float32) for name, s in shapes.items()}
    want = model(data)
    model.compile(run_eagerly=True)
    found = model.predict(data, batch_size=2, verbose=0)
    np.testing.assert_allclose(found["attention"], want.attention, atol=1e-6)
    np.testing.assert_allclose(found["scores"], want.logits, atol=1e-6)


def test_served_answers_are_its_own(model):
    images, ids, _ = coloured(np.random.default_rng(4), 2)
    signatures = model.signatures()
    found = signatures["ground_image"].function(images=tf.constant(images), token_ids=ids)
    want = model({"images": images, "token_ids": ids})
    np.testing.assert_array_equal(found["attention"], want.attention)
    boxes = model.region_features.boxes
    np.testing.assert_array_equal(found["boxes"], np.stack([boxes, boxes]))
    same = signatures["ground"].function(
        regions=model.region_features(images), region_mask=tf.ones((2, 4)), token_ids=ids
    )
    assert set(same) == {"attention", "scores"}
    for name, value in same.items():
        np.testing.assert_allclose(value, found[name], atol=1e-6)


def test_digit_scenes_are_what_they_say():
    source = load("digit_scenes", "validation")
    arrays = source.arrays
    assert len(source) == 500
    for row in range(0, 500, 50):
        ids, positions = arrays["token_ids"][row], arrays["word_positions"][row]
        nouns = [VOCABULARY[ids[position]] for position in positions]
        assert set(nouns) <= set(NUMERALS)
        negatives = [VOCABULARY[word] for word in arrays["negative_ids"][row]]
        assert negatives[0] == VOCABULARY[ids[arrays["noun_position"][row]]]
        assert not set(negatives[1:]) & set(nouns)
        for box in arrays["phrase_boxes"][row, :, 0].astype(int):
            x1, y1, x2, y2 = box
            inside = arrays["images"][row, y1 : y2 + 1, x1 : x2 + 1]
            assert 18 <= x2 - x1 + 1 <= 28
            assert inside.max() > 180  # a digit, not noise
        np.testing.assert_array_equal(arrays["phrase_words"][row].argmax(-1), positions)
    with pytest.raises(DataError, match="digit_scenes has no split 'extra'"):
        load("digit_scenes", "extra")


def test_folders_of_named_arrays(tmp_path, rng):
    from tfgen.data.named_arrays import save_arrays

    regions = rng.random((3, 4, 5)).astype(np.float32)
    rows = np.array([2, 0, 0, 1, 2])
    words = rng.random((5, 2, 6)).astype(np.float32)
    arrays = {"regions": regions, "words": words, "image_row": rows}
    save_arrays(tmp_path, "train", arrays)
    source = load(f"arrays:{tmp_path}")
    assert len(source) == 5
    np.testing.assert_array_equal(source.arrays["regions"][np.arange(5)], regions[rows])
    np.testing.assert_array_equal(source.arrays["image_ids"], rows)
    batch = tfgen.data.Pipeline(source, 2).batch(0)
    index = [np.flatnonzero((words == word).all((1, 2)))[0] for word in batch["words"].numpy()]
    np.testing.assert_array_equal(batch["regions"], regions[rows[index]])
    with pytest.raises(DataError, match="no arrays of the 'test' split; expected NAME_test"):
        load(f"arrays:{tmp_path}", "test")
    save_arrays(tmp_path, "train", {"image_row": rows + 1})
    with pytest.raises(DataError, match="regions has 3 rows, neither one for each of 5 examples"):
        load(f"arrays:{tmp_path}")
    turned = {"regions": regions, "words": words[:3], "image_row": np.array([2, 0, 1])}
    save_arrays(tmp_path, "turned", turned)
    with pytest.raises(DataError, match="3 examples as many images in another order"):
        load(f"arrays:{tmp_path}", "turned")
    (tmp_path / "words_train.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match=r"words_train\.npy cannot be read"):
        load(f"arrays:{tmp_path}")
