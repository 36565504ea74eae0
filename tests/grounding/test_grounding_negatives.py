"""Words in a noun's place: ranked as published, kept in a file, learnt from captions."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen import PhraseGrounding
from tfgen.errors import ConfigError, DataError
from tfgen.grounding import losses, negatives
from tfgen.grounding.words import (
    LexiconTagger,
    WordEncoder,
    WordPieces,
    build_vocabulary,
    noun_words,
    padded_ids,
)

CAPTIONS = [
    f"a {adjective} {animal} on the {place} ."
    for adjective in ("red", "big", "small")
    for animal in ("dog", "cat", "horse", "bird")
    for place in ("street", "field", "beach")
]


@pytest.mark.parametrize("case", ["reranked", "not_reranked"])
def test_words_are_ranked_as_published(reference_values, case):
    values = dict(reference_values("grounding_negatives"))
    vocabulary, mask = values["vocabulary"], values["noun_mask"]
    nouns = set(values["nouns"].tolist())
    rank, select = int(values["rank"]), int(values["select"])
    samples = json.loads(str(values[f"{case}/samples_json"]))
    for row, group in enumerate(json.loads(str(values["noun_pieces_json"]))):
        if not group:
            continue
        p = negatives.noun_probabilities(values["logits_masked_caption"][row], mask)
        q = negatives.noun_probabilities(values["logits_unmasked_caption"][row], mask)
        np.testing.assert_allclose(p, values["p_masked"][row], atol=1e-6)
        np.testing.assert_allclose(q, values["q_unmasked"][row], atol=1e-6)
        p, q = p[group[0]], q[group[0]]
        again = case == "reranked"
        found = negatives.ranked_words(p, q, mask, rank, rank, again, compat="official")
        assert vocabulary[found].tolist() == values[f"{case}/{row}/order"].tolist()
        want = values[f"{case}/{row}/rounded_scores"]
        score = p[found] / (q[found] + 1e-6) if again else p[found]
        np.testing.assert_allclose(score, want, rtol=1e-4, atol=6e-4)
        if again:
            exact = negatives.ranked_words(p, q, mask, rank, rank)
            want = values[f"{case}/{row}/order_without_rounding"].tolist()
            assert vocabulary[exact].tolist() == want
            assert set(vocabulary[exact]) <= nouns
        # The captions that are made of them.
        pieces = values["pieces"][row].tolist()
        pieces = pieces[: pieces.index("[SEP]") + 1]
        ((_, found_caption),) = samples[str(500 + row)].items()
        (captions,) = found_caption["negs"].values()
        made = [negatives.substituted(pieces, group, vocabulary[word]) for word in found[:select]]
        assert made == captions
        assert all(len(caption) == len(pieces) - len(group) + 1 for caption in made)


def test_a_ranking_by_hand():
    # horse, cat, puppy, dog: the word itself, however likely, is what q knows best.
    p, q = [0.30, 0.20, 0.15, 0.05], [0.90, 0.01, 0.08, 0.0001]
    assert negatives.ranked_words(p, q, np.ones(4), 4, 4).tolist() == [3, 1, 2, 0]
    scores = np.array(p) / (np.array(q) + 1e-6)
    np.testing.assert_allclose(scores, [0.3333, 19.998, 1.875, 495.05], rtol=1e-4)
    assert negatives.ranked_words(p, q, [1, 1, 0, 1], 4, 3).tolist() == [3, 1, 0]
    assert negatives.ranked_words(p, q, np.zeros(4), 4, 4).tolist() == []
    with pytest.raises(ConfigError, match="select is 5; expected 1 to 4"):
        negatives.ranked_words(p, q, np.ones(4), 4, 5)


@pytest.fixture(scope="module")
def captions():
    pieces = WordPieces(build_vocabulary(CAPTIONS))
    tokens = [pieces(caption) for caption in CAPTIONS]
    nouns = [noun_words(caption, LexiconTagger()) for caption in CAPTIONS]
    return pieces, tokens, nouns


@pytest.fixture(scope="module")
def trained(captions):
    """A language model of the few captions there are."""
    pieces, tokens, _ = captions
    model = negatives.MaskedLanguageModel(pieces.vocabulary, 32, 1, 2, seed=1)
    model.compile(keras.optimizers.Adam(1e-2))
    batches = tf.data.Dataset.from_tensors({"token_ids": padded_ids(tokens)}).repeat()
    model.fit(batches, steps_per_epoch=40, verbose=0, shuffle=False)
    return model


def test_a_small_model_learns_what_fits(captions, trained):
    pieces, tokens, nouns = captions
    found = negatives.propose_negatives(tokens, nouns, trained.predict_on_ids, pieces, 3, 2)
    assert len(found) == 2 * len(CAPTIONS)
    animals = {pieces.number(word) for word in ("dog", "cat", "horse", "bird")}
    places = {pieces.number(word) for word in ("street", "field", "beach")}
    for caption, position, words in zip(found.caption, found.position, found.words):
        own = tokens[caption].ids[position]
        kind = animals if own in animals else places
        assert set(words) <= kind - {own}, "words of the other kind do not fit the sentence"


def test_a_file_and_the_arrays_of_a_data_set(captions, trained, tmp_path):
    pieces, tokens, nouns = captions
    found = negatives.propose_negatives(tokens, nouns, trained.predict_on_ids, pieces, 4, 2)
    small = negatives.propose_negatives(
        tokens, nouns, trained.predict_on_ids, pieces, 4, 2, batch_size=7
    )
    np.testing.assert_array_equal(found.words, small.words)
    found.save(tmp_path / "negatives.npz")
    again = negatives.WordNegatives.load(tmp_path / "negatives.npz")
    arrays = again.arrays(tokens, max_nouns=2)
    assert (arrays["noun_count"] == 2).all()
    for row, caption in enumerate(tokens):
        for slot in range(2):
            position = arrays["noun_positions"][row, slot]
            assert arrays["noun_negatives"][row, slot, 0] == caption.ids[position]
    one = again.arrays(tokens, max_nouns=1)
    assert (one["noun_count"] == 1).all()
    np.testing.assert_array_equal(one["noun_positions"][:, 0], arrays["noun_positions"][:, 0])
    (tmp_path / "negatives.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"negatives\.npz cannot be read"):
        negatives.WordNegatives.load(tmp_path / "negatives.npz")


def test_nothing_to_replace(captions):
    pieces, tokens, _ = captions
    found = negatives.propose_negatives(tokens[:2], [[], []], lambda ids: 1 / 0, pieces)
    assert len(found) == 0
    arrays = found.arrays(tokens[:2])
    assert not arrays["noun_count"].any()


def test_a_noun_is_drawn_anew_in_every_step(captions, trained):
    pieces, tokens, nouns = captions
    words = negatives.propose_negatives(tokens, nouns, trained.predict_on_ids, pieces, 4, 2)
    model = PhraseGrounding(
        4, dims=4, word_encoder={"vocabulary": pieces.vocabulary, "dims": 4}, num_words=9
    )
    rng = np.random.default_rng(0)
    batch = {
        "regions": rng.normal(size=(36, 3, 4)).astype(np.float32),
        "token_ids": padded_ids(tokens),
        **words.arrays(tokens),
    }
    seeds = [tf.constant([0, step]) for step in range(40)]
    drawn = np.stack(
        [model.negatives(batch, seed).words.numpy()[:, 0] for seed in seeds]
    )  # [steps, captions, dims] of the true noun
    first = model.negatives(batch).words.numpy()[:, 0]
    share = (drawn == first).all(-1).mean()
    assert 0.45 < share < 0.55  # of 1,440 fair coins, beyond this once in 5,000
    before = float(model.training_loss(batch).loss)
    assert float(model.training_loss(batch).loss) == before
    model.train_steps.assign(1)
    assert float(model.training_loss(batch).loss) != before
    # Captions without nouns take no part.
    batch["noun_count"] = np.zeros(36, np.int32)
    logs = model.training_loss(batch).logs
    assert logs["language_loss"] == 0


def test_negative_captions_differ_in_one_place_only(captions):
    pieces, tokens, _ = captions
    model = PhraseGrounding(
        4,
        dims=4,
        word_encoder=dict(vocabulary=pieces.vocabulary, dims=8, num_blocks=1, num_heads=2),
    )
    ids = padded_ids(tokens[:3])
    own = ids[[0, 1, 2], 3]
    batch = {
        "token_ids": ids,
        "negative_ids": np.stack([own, own + 1], 1),
        "noun_position": [3] * 3,
    }
    found = model.negatives(batch)
    # The true noun's features are those of the caption itself, whoever else is in the batch.
    whole = model.word_encoder(ids).numpy()
    np.testing.assert_allclose(found.words[:, 0], whole[:, 3], atol=1e-5)
    alone = {name: np.asarray(value)[1:2] for name, value in batch.items()}
    np.testing.assert_allclose(model.negatives(alone).words[0], found.words[1], atol=1e-5)
    changed = ids.copy()
    changed[:, 3] += 1
    np.testing.assert_allclose(found.words[:, 1], model.word_encoder(changed)[:, 3], atol=1e-5)
    assert losses.language_contrastive(tf.zeros((3, 2)), found.valid).shape == (3,)


def test_guesses_are_of_words_only(trained, captions):
    _, tokens, _ = captions
    ids = padded_ids(tokens, 12)
    places, counted = trained._places(ids, tf.constant([1, 2]))
    guessed = np.take_along_axis(ids, places.numpy(), 1)[counted.numpy() > 0]
    assert (guessed >= 5).all()
    assert (counted.numpy().sum(1) == np.maximum(np.round(0.15 * (ids >= 5).sum(1)), 1)).all()
    logs = trained.evaluation_logs({"token_ids": ids})
    assert logs["accuracy"].shape == (36,)
    assert not trained._guesses(np.array([[2, 3, 0]]), tf.constant([1, 2]))[2].numpy().any()
    # Each word is as likely as any other.
    shares = np.zeros(8)
    for seed in range(200):
        places, counted = trained._places(np.array([[2, *range(5, 13), 3]]), tf.constant([seed, 0]))
        shares[places.numpy()[counted.numpy() > 0] - 1] += 1
    assert shares.sum() == 200
    assert shares.min() > 8  # of 25 in the mean, beyond either once in 3,000
    assert shares.max() < 46


def test_guesses_are_scored_by_the_logits_of_all_places(trained, captions, monkeypatch):
    """The places that are asked are looked up before the vocabulary is; nothing else changes."""
    ids = padded_ids(captions[1], 12)
    seed = tf.constant([3, 4])
    losses_, _, counted = trained._guesses(ids, seed)
    places = trained._places(ids, tf.unstack(tf.random.split(seed, 3))[0])[0].numpy()
    asked = np.take_along_axis(ids, places, 1)
    seen = []
    call = WordEncoder.call
    monkeypatch.setattr(WordEncoder, "call", lambda self, x: seen.append(x) or call(self, x))
    trained._guesses(ids, seed)
    logits = np.take_along_axis(trained(seen[0]).numpy(), places[..., None], 1)
    wanted = tf.nn.sparse_softmax_cross_entropy_with_logits(asked, logits)
    np.testing.assert_allclose(losses_ * counted, wanted * counted, atol=1e-4)


def test_a_vocabulary_without_a_mask():
    with pytest.raises(ConfigError, match=r"the vocabulary lacks \[MASK\]"):
        negatives.MaskedLanguageModel(["[PAD]", "dog"])
