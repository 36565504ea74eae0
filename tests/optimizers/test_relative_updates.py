"""Deep relative trust, its callback and the loss slice."""

import keras
import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.ops.relative_trust import admissible_depth, admissible_learning_rate, trust_budget
from tfgen.optimizers import Fromage, RelativeUpdates, loss_slice, plot_loss_slices

RNG = np.random.default_rng(0)


def test_admissible_rates_of_the_paper():
    table = {1: 1.0, 2: 0.41421, 5: 0.14870, 10: 0.07177, 16: 0.04427, 25: 0.02811, 50: 0.01396}
    for depth, rate in {**table, 100: 0.00696}.items():
        assert admissible_learning_rate(depth) == pytest.approx(rate, abs=5e-6)
        assert admissible_depth(admissible_learning_rate(depth)) == pytest.approx(depth)
    assert admissible_depth(0.01) == pytest.approx(69.66, abs=5e-3)
    assert admissible_learning_rate(3, cosine=0.5) == pytest.approx(1.5 ** (1 / 3) - 1)


def test_trust_budgets():
    for depth, budget in ((2, 0.0201), (16, 0.1726), (50, 0.6446), (100, 1.7048)):
        assert trust_budget(np.full(depth, 0.01)) == pytest.approx(budget, abs=5e-5)
    np.testing.assert_allclose(trust_budget(np.full((3, 2), 0.1)), [0.21] * 3)
    assert trust_budget(np.full(16, 0.1)) == pytest.approx(3.595, abs=5e-4)
    assert trust_budget(np.full(10_000, 1.0)) == np.inf


def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(7, activation="tanh"), keras.layers.Dense(3)]
    )


def test_callback_measures_what_fromage_does():
    model = network()
    model.compile(Fromage(0.02), "mse", jit_compile=False)
    callback = RelativeUpdates(every_steps=3)
    x, y = RNG.standard_normal((40, 5)), RNG.standard_normal((40, 3))
    logs = model.fit(x, y, batch_size=5, epochs=2, verbose=0, callbacks=[callback]).history
    history = callback.history
    assert callback.names == [v.path for v in model.trainable_variables]
    np.testing.assert_array_equal(callback.is_layer, [True, False, True, False])
    np.testing.assert_array_equal(history["step"], [0, 3, 6, 9, 12, 15])
    assert callback.depth == 2
    assert callback.admissible_learning_rate == pytest.approx(2**0.5 - 1)
    layers = history["relative_update"][:, callback.is_layer]
    # The gradient moves W by keep * eta * |W|, the denominator by up to (1 - keep) * |W| along W.
    keep = 1.0 / np.sqrt(1.0 + 0.02**2)
    assert np.all(np.abs(layers - keep * 0.02) < 1.01 * (1.0 - keep))
    np.testing.assert_allclose(
        history["trust_budget"], np.prod(1.0 + layers, axis=1) - 1.0, rtol=1e-12
    )
    assert logs["trust_budget"] == [history["trust_budget"][2], history["trust_budget"][5]]
    # Biases start at zero: there is nothing to be relative to at first.
    assert np.all(np.isnan(history["relative_update"][0, [1, 3]]))
    assert np.all(np.isfinite(history["relative_update"][1:]))


def test_callback_against_the_weights_themselves():
    model = network()
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    start = [v.numpy() for v in model.trainable_variables]
    callback = RelativeUpdates(every_steps=1, depth=9)
    x, y = RNG.standard_normal((4, 5)), RNG.standard_normal((4, 3))
    model.fit(x, y, batch_size=4, epochs=1, verbose=0, callbacks=[callback])
    end = [v.numpy() for v in model.trainable_variables]
    for i in (0, 2):
        moved, size = end[i] - start[i], np.linalg.norm(start[i])
        history = {key: value[0, i] for key, value in callback.history.items() if value.ndim == 2}
        assert history["relative_update"] == pytest.approx(np.linalg.norm(moved) / size, rel=1e-6)
        assert history["norm_drift"] == pytest.approx(np.linalg.norm(end[i]) / size, rel=1e-6)
        cosine = np.vdot(start[i], moved) / size / np.linalg.norm(moved)
        assert history["alignment"] == pytest.approx(cosine, rel=1e-5, abs=1e-6)
    assert callback.admissible_learning_rate == pytest.approx(2 ** (1 / 9) - 1)


def test_plots(tmp_path):
    model = network()
    model.compile(Fromage(), "mse", jit_compile=False)
    callback = RelativeUpdates(every_steps=1)
    x, y = RNG.standard_normal((40, 5)), RNG.standard_normal((40, 3))
    model.fit(x, y, batch_size=5, epochs=1, verbose=0, callbacks=[callback])
    callback.plot(tmp_path / "updates.png")
    plot_loss_slices({"depth 2": np.linspace(1, 2, 100)}, tmp_path / "slice.png")
    for name in ("updates.png", "slice.png"):
        picture = matplotlib.image.imread(tmp_path / name)
        assert min(picture.shape[:2]) > 300
        assert len(np.unique(picture[..., :3].reshape(-1, 3), axis=0)) > 20


def quadratic():
    """Examples whose loss along the slice is known: |w - x|^2."""
    w = keras.Variable(RNG.standard_normal(6), dtype="float64")
    x = RNG.standard_normal((10, 6))
    return w, x, lambda batch: tf.reduce_sum(tf.square(w - batch), axis=1)


def test_loss_slice_of_a_quadratic():
    w, x, losses = quadratic()
    start = w.numpy()
    g = 2.0 * (start - x.mean(0))
    distances = [0.0, 0.1, 0.5]
    points = [start - d * np.linalg.norm(start) * g / np.linalg.norm(g) for d in distances]
    expected = [np.mean(np.sum((p - x) ** 2, axis=1)) for p in points]
    # Batches of unequal sizes weigh as many examples as they hold.
    for batches in ([tf.constant(x)], [tf.constant(x[:7]), tf.constant(x[7:])]):
        np.testing.assert_allclose(loss_slice(losses, batches, [w], distances), expected)
    np.testing.assert_array_equal(w.numpy(), start)


def test_loss_slice_leaves_what_does_not_count():
    w, x, losses = quadratic()
    zero, other = keras.Variable([0.0, 0.0]), keras.Variable([1.0, 2.0])
    batches = tf.data.Dataset.from_tensor_slices(x).batch(5)
    full = loss_slice(losses, batches, [w, zero, other], [0.0, 0.2])
    np.testing.assert_allclose(full, loss_slice(losses, batches, [w], [0.0, 0.2]))
    np.testing.assert_array_equal(other.numpy(), [1.0, 2.0])


def test_loss_slice_restores_after_a_failure():
    w, x, losses = quadratic()
    start = w.numpy()

    def failing(batch):
        tf.debugging.assert_less(tf.reduce_max(tf.abs(w - start)), tf.constant(0.3, tf.float64))
        return losses(batch)

    with pytest.raises(tf.errors.InvalidArgumentError):
        loss_slice(failing, [tf.constant(x)], [w], [0.0, 5.0])
    np.testing.assert_array_equal(w.numpy(), start)


def test_loss_slice_refuses_what_can_be_read_once():
    w, x, losses = quadratic()
    with pytest.raises(UserError, match="expected a list or a tf"):
        loss_slice(losses, iter([x]), [w])
    with pytest.raises(UserError, match="batches is empty"):
        loss_slice(losses, [], [w])


def test_depth_makes_slices_steeper():
    # The shape of Figure 1 of arXiv:2002.03432: after a step of a given relative size, deeper
    # networks are worse off.
    x, y = RNG.standard_normal((64, 8)).astype("f"), RNG.integers(0, 3, 64)
    rises = []
    for depth in (1, 12):
        keras.utils.set_random_seed(0)
        hidden = [
            keras.layers.Dense(16, "relu", kernel_initializer="he_normal") for _ in range(depth)
        ]
        model = keras.Sequential([keras.Input((8,)), *hidden, keras.layers.Dense(3)])

        def losses(batch, model=model):
            logits = model(batch[0])
            return tf.nn.sparse_softmax_cross_entropy_with_logits(batch[1], logits)

        values = loss_slice(losses, [(x, y)], model.trainable_variables, [0.0, 0.02, 0.5])
        assert values[1] < values[0]
        rises.append(values[2] / values[0])
    assert rises[1] > 3.0 * rises[0]
