"""Adam and AdamW of this library are Keras's, whichever way the update is computed."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen.optimizers import SGD, Adam, AdamW, compiled

RATE = keras.optimizers.schedules.PolynomialDecay(0.1, 4, 0.01)
OPTIONS = {
    "adam": ("Adam", {}),
    "decaying": ("Adam", dict(weight_decay=0.1, amsgrad=True, clipnorm=1.0)),
    "adamw": ("AdamW", dict(weight_decay=0.2, epsilon=1e-4)),
    "averaged": ("AdamW", dict(use_ema=True, ema_momentum=0.5)),
    "accumulated": ("AdamW", dict(gradient_accumulation_steps=2)),
}
OURS = {"Adam": Adam, "AdamW": AdamW}


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch):
    monkeypatch.setattr(compiled, "_COMPILED_FROM", 6)


def after_steps(optimizer, eagerly=False):
    """Two large variables, of which one does not decay, and a small one; and the optimizer's."""
    rng = np.random.default_rng(0)
    shapes = {"kernel": (3, 4), "excluded": (6,), "small": (2,)}
    starts = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    variables = [keras.Variable(start, name=n) for n, start in starts.items()]
    optimizer.exclude_from_weight_decay(var_names=["excluded"])
    optimizer.build(variables)

    def step(*gradients):
        optimizer.apply(gradients, variables)

    run = step if eagerly else tf.function(step, autograph=False)
    for _ in range(4):
        run(*(tf.constant(rng.standard_normal(v.shape), tf.float32) for v in variables))
    return [v.numpy() for v in (*variables, *optimizer.variables)]


@pytest.mark.parametrize("name", OPTIONS)
def test_trajectory(name):
    kind, options = OPTIONS[name]
    found, expected = (
        after_steps(make(RATE, **options)) for make in (OURS[kind], getattr(keras.optimizers, kind))
    )
    for actual, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=2e-5, atol=1e-6)


def test_large_tensors_are_compiled_in_graphs_alone(monkeypatch):
    seen = []
    for make in (Adam, AdamW, SGD):
        update = make._update_compiled
        monkeypatch.setattr(
            make, "_update_compiled", lambda *a, update=update: seen.append(a[2]) or update(*a)
        )
        after_steps(make(0.1))
        assert [v.name for v in seen.pop()] == ["kernel", "excluded"]
        after_steps(make(0.1), eagerly=True)
        assert not seen
