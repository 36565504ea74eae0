"""The ring of past states: order, capacity, chance, and what is not stored."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.samplers import ReplayBuffer, replay_probability
from tfgen.training import strategy_from_name


def buffer(capacity=5):
    result = ReplayBuffer(capacity, {"z": (2,)})
    result.build()
    return result


def rows(*values):
    return {"z": tf.constant([[v, v] for v in values], tf.float32)}


def held(ring):
    return ring.rows["z"].numpy()[:, 0].tolist()


def test_first_in_first_out():
    ring = buffer()
    push = tf.function(ring.push)
    sizes = []
    for values in ((1.0, 2.0), (3.0, 4.0), (5.0, 6.0), (7.0, 8.0)):
        push(rows(*values))
        sizes.append(int(ring.size()))
    assert sizes == [2, 4, 5, 5]
    assert held(ring) == [6.0, 7.0, 8.0, 4.0, 5.0]
    assert push.experimental_get_tracing_count() == 1


def test_a_batch_larger_than_the_buffer_leaves_its_end():
    ring = buffer(3)
    ring.push(rows(*map(float, range(7))))
    assert sorted(held(ring)) == [4.0, 5.0, 6.0]


def test_a_refused_push_changes_nothing():
    ring = buffer()
    ring.push(rows(1.0, 2.0))
    ring.push(rows(float("nan"), 9.0), accept=tf.constant(False))
    assert held(ring)[:2] == [1.0, 2.0]
    assert int(ring.size()) == 2
    assert np.all(np.isfinite(held(ring)))


def test_draws_are_without_replacement_and_fresh_where_not_replayed():
    ring = buffer(50)
    ring.push(rows(*map(float, range(1, 41))))
    fresh = {"z": -tf.ones([30, 2])}
    for seed in range(20):
        mixed, replayed = ring.mix(fresh, 0.7, (seed, 1))
        values, replayed = mixed["z"].numpy()[:, 0], replayed.numpy()
        assert np.all(values[~replayed] == -1.0)
        assert np.all(values[replayed] > 0.0)  # never an empty place
        assert len(set(values[replayed])) == replayed.sum()


def test_an_empty_or_small_buffer_gives_what_it_has():
    ring = buffer(50)
    fresh = {"z": -tf.ones([30, 2])}
    assert not np.any(ring.mix(fresh, 1.0, (0, 0))[1])
    ring.push(rows(1.0, 2.0))
    assert np.sum(ring.mix(fresh, 1.0, (0, 0))[1]) == 2


@pytest.mark.parametrize(("step", "probability"), [(0, 0.0), (2500, 0.3), (5000, 0.6), (9999, 0.6)])
def test_replay_count_follows_the_annealing(step, probability):
    ring = buffer(2000)
    ring.push({"z": tf.ones([2000, 2])})
    p = replay_probability(step, 0.6, 5000)
    np.testing.assert_allclose(p, probability, rtol=1e-6)
    run = tf.function(lambda seed: ring.mix({"z": tf.zeros([1000, 2])}, p, seed)[1])
    counts = [np.sum(run(tf.constant([seed, 0]))) for seed in range(10)]
    # Binomial: 4 standard errors of 10,000 chains.
    error = np.sqrt(probability * (1 - probability) / 10_000)
    assert abs(np.sum(counts) / 10_000 - probability) <= 4 * error
    if probability:
        assert np.std(counts) > 0


def test_all_of_the_buffer_is_drawn_from():
    ring = buffer(20)
    ring.push(rows(*map(float, range(20))))
    seen = np.zeros(20)
    for seed in range(200):
        mixed, _ = ring.mix({"z": tf.zeros([4, 2])}, 1.0, (seed, 2))
        np.add.at(seen, mixed["z"].numpy()[:, 0].astype(int), 1)
    # Each place is drawn with probability 1/5 a time: 40 of 200, standard error 5.7.
    assert np.all(np.abs(seen - 40) < 4.5 * 5.7)


def test_refuses_nothing_to_hold():
    with pytest.raises(ConfigError, match="at least one of both"):
        ReplayBuffer(0, {"z": (2,)})


def test_replicas_share_one_buffer():
    two_replicas = strategy_from_name("mirrored")
    with two_replicas.scope():
        ring = buffer(6)

    @tf.function
    def step():
        def push():
            me = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.float32)
            ring.push({"z": tf.ones([2, 2]) * (me + 1.0)})
            return ring.size()

        return two_replicas.run(push)

    step()
    copies = two_replicas.experimental_local_results(ring.rows["z"].value)
    for copy in copies:
        assert copy.numpy()[:, 0].tolist() == [1.0, 1.0, 2.0, 2.0, 0.0, 0.0]


def test_states_of_double_precision():
    buffer = ReplayBuffer(3, {"z": (2,)})
    buffer.build()
    buffer.push({"z": np.ones((4, 2))})
    mixed, replayed = buffer.mix({"z": np.zeros((3, 2))}, np.float64(1.0), (1, 2))
    assert mixed["z"].dtype == tf.float64
    np.testing.assert_array_equal(mixed["z"], np.ones((3, 2)))
    assert np.all(replayed)
