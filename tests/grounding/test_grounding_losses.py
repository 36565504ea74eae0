"""The critic and its losses: closed forms, and float64 by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfgen.grounding import losses
from tfgen.grounding.critic import attended_values, every_pair, masked_softmax, own_pair


def by_hand(queries, values, keys, region_values, mask):
    """Attention, attended values and scores of every pair, one word and one image at a time."""
    shape = (len(queries), len(keys), queries.shape[1])
    attention, logits = np.zeros((*shape, keys.shape[1])), np.zeros(shape)
    attended = np.zeros((*shape, keys.shape[2]))
    for c, b, t in np.ndindex(shape):
        scores = np.array([queries[c, t] @ k for k in keys[b]]) / math.sqrt(keys.shape[2])
        weights = np.where(mask[b] > 0, np.exp(scores - scores.max()), 0.0)
        attention[c, b, t] = weights / weights.sum() if weights.any() else 0.0
        attended[c, b, t] = attention[c, b, t] @ region_values[b]
        logits[c, b, t] = values[c, t] @ attended[c, b, t]
    return attention, attended, logits


@pytest.fixture
def sides(rng):
    """Queries and values of 3 captions of 4 words; keys and values of 3 images of 5 regions."""
    queries, values = rng.normal(size=(2, 3, 4, 6))
    keys, region_values = rng.normal(size=(2, 3, 5, 6))
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 1, 0], [0, 0, 0, 0, 0.0]])
    return queries, values, keys, region_values, mask


def test_scores_equal_the_attended_values_of_one_pair_at_a_time(sides):
    attention, attended, logits = by_hand(*sides)
    found = every_pair(*map(tf.constant, sides))
    np.testing.assert_allclose(found.attention, attention, atol=1e-12)
    np.testing.assert_allclose(found.logits, logits, atol=1e-12)
    own = own_pair(*map(tf.constant, sides))
    rows = np.arange(3)
    np.testing.assert_allclose(own.logits, logits[rows, rows], atol=1e-12)
    mixed = attended_values(own.attention, tf.constant(sides[3]))
    np.testing.assert_allclose(mixed, attended[rows, rows], atol=1e-12)
    sums = found.attention.numpy().sum(-1)
    np.testing.assert_allclose(sums[:, :2], 1.0, atol=1e-12)
    assert not sums[:, 2].any()
    assert not found.attention.numpy()[:, 1, :, [2, 4]].any()


def test_the_values_of_every_pair_are_never_formed():
    # The paper's batch: as [50, 50, 6, 30, 384] they would be 691 MB.
    words, regions = tf.TensorSpec([50, 6, 384]), tf.TensorSpec([50, 30, 384])

    def gradients(*sides):
        with tf.GradientTape() as tape:
            tape.watch(sides)
            total = tf.reduce_sum(every_pair(*sides).logits ** 2)
        return tape.gradient(total, sides)

    traced = tf.function(gradients, autograph=False)
    graph = traced.get_concrete_function(words, words, regions, regions).graph
    sizes = [x.shape.num_elements() for op in graph.get_operations() for x in op.outputs]
    assert max(size for size in sizes if size is not None) <= 50 * 50 * 6 * 30 + 50 * 30 * 384


def test_two_regions_and_one_word():
    word = tf.constant([[[1.0, 0.0]]], tf.float64)
    regions = tf.constant([[[2.0, 0.0], [0.0, 2.0]]], tf.float64)
    found = own_pair(word, word, regions, regions)
    np.testing.assert_allclose(found.attention[0, 0], [0.804430, 0.195570], atol=5e-7)
    np.testing.assert_allclose(found.logits[0, 0], 1.608859, atol=1e-6)


@pytest.mark.parametrize(("size", "value"), [(50, 3.912023), (20, 2.995732)])
def test_a_constant_critic_learns_nothing(size, value):
    logits, mask = tf.ones((size, size, 3), tf.float64), tf.ones((size, 3))
    loss = losses.image_contrastive(logits, mask).numpy()
    np.testing.assert_allclose(loss, value, atol=1e-6)
    assert losses.bound(loss.mean(), size) == pytest.approx(0.0, abs=1e-12)
    language = losses.language_contrastive(tf.ones((4, 26), tf.float64), tf.ones(4))
    np.testing.assert_allclose(language, 3.258097, atol=1e-6)


def test_closed_forms_of_a_right_critic():
    logits = 5.0 * tf.eye(50, dtype=tf.float64)[..., None]
    loss = losses.image_contrastive(logits, tf.ones((50, 1)))
    np.testing.assert_allclose(loss, 0.285299, atol=1e-6)
    words = tf.constant([[5.0] + 25 * [0.0]], tf.float64)
    np.testing.assert_allclose(losses.language_contrastive(words, tf.ones(1)), 0.155677, atol=1e-6)
    # Each image twice: the better the critic, the nearer to a coin between the two copies.
    twice = 1e4 * tf.constant(np.kron(np.eye(3), np.ones((2, 2))))[..., None]
    mask = tf.ones((6, 1))
    np.testing.assert_allclose(losses.image_contrastive(twice, mask), math.log(2), atol=1e-9)
    candidates = losses.same_image_candidates(tf.constant(list("aabbcc")))
    np.testing.assert_allclose(losses.image_contrastive(twice, mask, candidates), 0, atol=1e-9)


def test_the_softmax_runs_over_images(rng):
    logits = tf.constant(rng.normal(size=(4, 4, 3)))
    mask = tf.ones((4, 3))
    before = losses.image_contrastive(logits, mask)
    of_a_word = tf.constant(rng.normal(size=(4, 1, 3)))
    np.testing.assert_allclose(losses.image_contrastive(logits + of_a_word, mask), before)
    of_an_image = tf.constant(rng.normal(size=(1, 4, 1)))
    assert np.abs(losses.image_contrastive(logits + of_an_image, mask) - before).min() > 1e-3
    # The other direction is the other way round.
    before = losses.word_contrastive(logits, mask)
    np.testing.assert_allclose(losses.word_contrastive(logits + of_an_image, mask), before)
    assert np.abs(losses.word_contrastive(logits + of_a_word, mask) - before).min() > 1e-3


def test_the_symmetric_loss_by_hand(rng):
    logits, mask = rng.normal(size=(3, 3, 2)), np.array([[1, 1], [1, 0], [0, 0.0]])
    want = np.zeros(3)
    for b in range(3):
        negatives = [np.exp(logits[c, b, t]) for c, t in np.ndindex(3, 2) if c != b and mask[c, t]]
        own = [logits[b, b, t] for t in range(2) if mask[b, t]]
        terms = [np.log1p(sum(negatives) / np.exp(score)) for score in own]
        want[b] = np.mean(terms) if terms else 0.0
    found = losses.word_contrastive(tf.constant(logits), tf.constant(mask))
    np.testing.assert_allclose(found, want, rtol=1e-12)


def test_words_and_captions_that_do_not_count():
    logits = tf.Variable(np.random.default_rng(0).normal(size=(3, 3, 2)))
    mask = tf.constant([[1, 0], [1, 1], [0, 0.0]])
    with tf.GradientTape() as tape:
        loss = losses.image_contrastive(logits, mask)
    gradient = tape.gradient(loss, logits).numpy()
    assert loss[2] == 0
    assert not gradient[0, :, 1].any()
    assert not gradient[2].any()
    assert gradient[1].any()
    none = losses.language_contrastive(tf.fill((3, 4), np.nan), tf.zeros(3))
    assert not none.numpy().any()
    assert losses.mean_over_valid(none, tf.zeros(3)) == 0


def test_softmax_of_extremes_in_half_precision():
    scores = tf.constant([[6e4, -6e4, 6e4], [1.0, 2.0, 3.0]], tf.float16)
    found = masked_softmax(scores, tf.constant([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])).numpy()
    np.testing.assert_array_equal(found, [[1, 0, 0], [0, 0, 0]])
    assert found.dtype == np.float32
