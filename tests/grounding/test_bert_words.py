"""KerasHub's BERT, small and random: features of a caption's own, heads that have to show."""

import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import save_file

from tfgen.errors import CheckpointError, UserError
from tfgen.grounding.keras_hub import keras_hub
from tfgen.grounding.negatives import propose_negatives
from tfgen.grounding.negatives.bert import BertMaskedLM, load_head
from tfgen.grounding.words import WordPieces
from tfgen.grounding.words.bert import BertWords, inputs_of, read_vocabulary
from tfgen.grounding.words.tokens import SPECIAL

_PIECES = "the capital of france is paris . a dog cat runs ##s"
VOCABULARY = [*SPECIAL, *_PIECES.split(" ")]
PARIS = VOCABULARY.index("paris")
DIMS = 8


def head_file(path, prefix="cls.predictions.", old=False, **changes):
    """The five arrays as the original model's files name them."""
    rng = np.random.default_rng(0)
    norm = ("gamma", "beta") if old else ("weight", "bias")
    arrays = {
        "transform.dense.weight": np.eye(DIMS),
        "transform.dense.bias": rng.normal(size=DIMS),
        f"transform.LayerNorm.{norm[0]}": rng.normal(size=DIMS),
        f"transform.LayerNorm.{norm[1]}": rng.normal(size=DIMS),
        "bias": 50.0 * (np.arange(len(VOCABULARY)) == PARIS),
        **changes,
    }
    found = {prefix + name: np.float32(value) for name, value in arrays.items()}
    save_file(found, path)
    return path


def paths_like_the_head():
    """Variables of the shapes and names that KerasHub's head has."""
    shapes = {
        "head/intermediate_dense/kernel": (DIMS, DIMS),
        "head/intermediate_dense/bias": (DIMS,),
        "head/intermediate_layer_norm/gamma": (DIMS,),
        "head/intermediate_layer_norm/beta": (DIMS,),
        "head/output_bias": (len(VOCABULARY),),
    }
    weights = []
    for path, shape in shapes.items():
        value = tf.Variable(tf.zeros(shape))
        weights.append(
            types.SimpleNamespace(path=path, shape=shape, assign=value.assign, value=value)
        )
    return types.SimpleNamespace(weights=weights)


@pytest.mark.parametrize("old", [False, True])
def test_heads_of_the_original_files(tmp_path, old):
    head = paths_like_the_head()
    kernel = np.arange(DIMS**2, dtype=np.float32).reshape(DIMS, DIMS)
    path = head_file(tmp_path / "model.safetensors", old=old, **{"transform.dense.weight": kernel})
    load_head(head, path)
    np.testing.assert_array_equal(head.weights[0].value, kernel.T)
    assert head.weights[-1].value.numpy().argmax() == PARIS
    assert all(np.any(weight.value.numpy()) for weight in head.weights)


def test_files_without_the_head(tmp_path):
    head, path = paths_like_the_head(), tmp_path / "model.safetensors"
    with pytest.raises(CheckpointError, match=r"has no cls\.predictions\.transform\.dense\.weight"):
        load_head(head, head_file(path, prefix="bert."))
    with pytest.raises(CheckpointError, match=r"bias has shape \(3,\); the backbone's head has"):
        load_head(head, head_file(path, bias=np.zeros(3)))
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        load_head(head, path)
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        load_head(head, tmp_path / "nowhere.safetensors")


def test_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(UserError, match=r"need KerasHub; pip install 'tfgen\[grounding\]'"):
        keras_hub()
    with pytest.raises(UserError, match="the vocabulary cannot be read"):
        read_vocabulary(tmp_path / "vocab.txt")
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    assert read_vocabulary(tmp_path / "vocab.txt") == VOCABULARY


def test_padding_is_masked():
    found = inputs_of([[2, 5, 3, 0]])
    assert found["padding_mask"].numpy().tolist() == [[1, 1, 1, 0]]
    assert not found["segment_ids"].numpy().any()


@pytest.fixture(scope="module")
def bert():
    hub = pytest.importorskip("keras_hub")
    keras.utils.set_random_seed(0)
    backbone = hub.models.BertBackbone(
        vocabulary_size=len(VOCABULARY),
        num_layers=2,
        num_heads=2,
        hidden_dim=DIMS,
        intermediate_dim=16,
        max_sequence_length=16,
    )
    for weight in backbone.weights:
        weight.assign(weight + 0.3 * np.random.default_rng(1).normal(size=weight.shape))
    return BertWords(backbone, VOCABULARY)


@pytest.mark.slow
class TestKerasHub:  # whose import takes longer than all the rest here
    def test_batch_mates_change_no_features(self, bert):
        captions = ["the dog runs", "a cats .", "the capital of france is paris ."]
        tokens = [bert.pieces(caption) for caption in captions]
        together = bert.features(tokens)
        for caption, found in zip(tokens, together):
            assert found.shape == (len(caption.ids), DIMS)
            np.testing.assert_allclose(bert.features([caption])[0], found, atol=1e-5)
        small = bert.features(tokens, batch_size=1)
        for one, found in zip(small, together):
            np.testing.assert_allclose(one, found, atol=1e-5)
        with pytest.raises(UserError, match="a caption has 19 pieces, but the backbone takes 16"):
            bert.features([bert.pieces("dog " * 17)])

    def test_vocabularies_and_presets_that_do_not_fit(self, bert, tmp_path):
        with pytest.raises(UserError, match="the vocabulary has 16 pieces, but the backbone 17"):
            BertWords(bert.backbone, VOCABULARY[:-1])
        with pytest.raises(UserError, match="cannot be loaded"):
            BertWords.from_preset(tmp_path)

    def test_a_preset_on_the_disk(self, bert, tmp_path):
        hub = keras_hub()
        bert.backbone.save_to_preset(str(tmp_path / "bert"))
        hub.models.BertTokenizer(VOCABULARY, lowercase=True).save_to_preset(str(tmp_path / "bert"))
        again = BertWords.from_preset(tmp_path / "bert")
        tokens = [bert.pieces("a dog runs")]
        np.testing.assert_allclose(again.features(tokens)[0], bert.features(tokens)[0], atol=1e-6)

    def test_an_untrained_head_makes_no_negatives(self, bert, tmp_path):
        untrained = head_file(tmp_path / "a.safetensors", bias=np.zeros(len(VOCABULARY)))
        with pytest.raises(CheckpointError, match="its head is not trained, or belongs to another"):
            BertMaskedLM(bert, untrained, ("a dog [MASK] .", "of"))

    def test_a_head_that_knows_proposes_words(self, bert, tmp_path):
        predict = BertMaskedLM(bert, head_file(tmp_path / "a.safetensors"))
        pieces = WordPieces(VOCABULARY)
        tokens = [pieces("the dog of paris"), pieces("a cat")]
        found = propose_negatives(tokens, [[1, 3], [1]], predict, pieces, 3, 2)
        assert len(found) == 3
        nouns = {pieces.number(word) for word in ("dog", "cat", "paris")}
        for caption, position, words in zip(found.caption, found.position, found.words):
            assert set(words.tolist()) <= nouns - {tokens[caption].ids[position]}
