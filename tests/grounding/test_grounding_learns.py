"""That captions alone teach where things are: tasks with known boxes, and their ceilings."""

import digit_tasks as tasks
import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfgen.grounding.localisation import phrase_scores


def trained(data, epochs, batch_size=32, seed=0, watch=None, **options):
    """A model after some epochs, and what `watch(model)` said after each."""
    model = tasks.model_for(seed=seed, **options)
    model.build()
    model.compile(keras.optimizers.Adam(1e-3, epsilon=1e-8))
    found, steps = [], len(data["regions"]) // batch_size
    set_ = iter(tasks.batches(data, batch_size, seed))
    step = tf.function(model.train_step, autograph=False)
    for _ in range(epochs):
        for _ in range(steps):
            step(next(set_))
        found.append(None if watch is None else watch(model))
    return model, found


def held_out_bound(model, data, batch_size=32):
    """Mean of log k minus the image loss over batches of fixed size."""
    rows = range(0, len(data["regions"]) - batch_size + 1, batch_size)
    parts = [{k: v[row : row + batch_size] for k, v in data.items()} for row in rows]
    losses = [float(tf.reduce_mean(model.evaluation_logs(part)["image_loss"])) for part in parts]
    return np.log(batch_size) - np.mean(losses)


def test_a_little_training_beats_chance():
    data, _, _ = tasks.scenes(tasks.TRAIN, 320, 1)
    test, boxes, truth = tasks.scenes(tasks.TEST, 100, 2)
    del data["negatives"]
    model, _ = trained(data, 4)
    found = tasks.pointing(model, test, boxes, truth)
    # Chance is 1 in 8; of 300 phrases that many hits come once in 10^20 by it.
    assert found > 0.4
    assert stats.binom.sf(0.4 * 300, 300, 1 / 8) < 1e-20
    # What can be known is log(10 / 4) nats; of 32 candidates at most 0.8924 show.
    assert held_out_bound(model, test) < 0.8924


@pytest.mark.slow
@pytest.mark.parametrize(("negatives", "least"), [(False, 0.90), (True, 0.82)])
def test_digit_scenes(negatives, least):
    data, _, _ = tasks.scenes(tasks.TRAIN, 3000, 1)
    test, boxes, truth = tasks.scenes(tasks.TEST, 500, 2)
    if not negatives:
        del data["negatives"]
    model, _ = trained(data, 8)
    assert tasks.pointing(model, test, boxes, truth) >= least
    assert 0.2 < held_out_bound(model, test) < 0.8924


@pytest.mark.slow
def test_context_negatives_show_what_captions_confound():
    peaks = {}
    test, place = tasks.confounded(tasks.TEST, 500, 2, "context")

    def right(model):
        return np.mean(model(test).attention.numpy().argmax(-1)[:, 0] == place)

    for name in ("context", "random", "image only"):
        data, _ = tasks.confounded(tasks.TRAIN, 3000, 1, name)
        if name == "image only":
            del data["negatives"]
        runs = [trained(data, 8, seed=seed, watch=right)[1] for seed in (0, 1)]
        peaks[name] = np.mean([max(run) for run in runs])
    assert peaks["context"] > peaks["random"]
    assert peaks["context"] > peaks["image only"]


def test_the_surest_piece_says_where_a_phrase_is(rng):
    # "a bright red seven" where everything is bright and red: two pieces look anywhere, the third
    # gives 0.6 to the right one of eight regions. 1,000 phrases; no piece knows of the others.
    right = {"max": 0, "mean": 0}
    for _ in range(1000):
        attention = rng.dirichlet(np.ones(8), 3)
        attention[2] = 0.4 * attention[2]
        attention[2, 3] += 0.6
        for pool in right:
            right[pool] += phrase_scores(attention, pool).argmax() == 3
    assert right["max"] > right["mean"] > 600
