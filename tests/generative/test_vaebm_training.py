"""Training a VAEBM by `fit`: the step, the frozen VAE, resumption, the guard, replicas."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_vaebm import compiled_vaebm, dataset, images, tiny_vaebm

from tfgen.errors import ConfigError
from tfgen.generative.vaebm import ExplosionError, ExplosionGuard
from tfgen.training import CheckpointManager, strategy_from_name

BUFFER = {"buffer_size": 20, "replay_anneal_steps": 2}


def fit(model, steps, start=0, **options):
    data = dataset().skip(start)
    return model.fit(data, steps_per_epoch=steps, epochs=1, verbose=0, **options)


def state(model):
    return [*model.variables, *model.optimizer.variables]


def everything(model):
    return {f"{i}/{v.path}": v.numpy() for i, v in enumerate(state(model))}


@pytest.fixture(scope="module")
def as_made():
    """`as_made(**options)`: `compiled_vaebm(**options)` as it was made, its step traced once."""
    kept = {}

    def model(**options):
        key = tuple(sorted(options.items()))
        if key not in kept:
            made = compiled_vaebm(**options)
            made.optimizer.build(made.trainable_variables)
            kept[key] = made, [(v, v.numpy()) for v in state(made)]
        made, values = kept[key]
        for variable, value in values:  # of those that `fit` adds, metrics, it takes care itself
            variable.assign(value)
        return made

    return model


def test_loss_is_its_parts():
    model = tiny_vaebm(energy_coefficient=0.3, spectral_coefficient=0.2)
    model.build()
    loss, logs, *_ = model.training_loss({"images": tf.constant(images())})
    spectral, _ = model.energy.weights_view().spectral_sum(4)
    negatives, *_ = model._negatives(8)
    energies = model(tf.constant(images())).numpy(), model(negatives).numpy()
    np.testing.assert_allclose(logs["energy_data"], energies[0].mean(), rtol=1e-5)
    np.testing.assert_allclose(logs["energy_samples"], energies[1].mean(), rtol=1e-4)
    squares = sum(np.mean(e**2) for e in energies)
    np.testing.assert_allclose(logs["regularization"], 0.2 * spectral + 0.3 * squares, rtol=1e-4)
    np.testing.assert_allclose(loss, logs["gap"] + logs["regularization"], rtol=1e-5)


def test_negatives_carry_no_gradient_to_the_energy_that_made_them():
    # d loss / d psi is E'(x+) - E'(x-) with x- fixed.
    model = tiny_vaebm(spectral_coefficient=0.0, step_size=0.01)
    model.build()
    batch = tf.constant(images())
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        loss = model.training_loss({"images": batch}).loss
    actual = tape.gradient(loss, variables)
    negatives, *_ = model._negatives(8)
    with tf.GradientTape() as tape:
        contrast = tf.reduce_mean(model(batch)) - tf.reduce_mean(model(negatives))
    for a, b in zip(actual, tape.gradient(contrast, variables), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_only_the_energy_is_trained(as_made):
    model = as_made()
    assert {id(v) for v in model.trainable_variables} == {
        id(v) for v in model.energy.trainable_variables
    }
    vae = [v.numpy() for v in model.vae.variables]
    energy = [v.numpy() for v in model.trainable_variables]
    fit(model, 3)
    for before, after in zip(vae, model.vae.variables, strict=True):
        np.testing.assert_array_equal(before, after.numpy(), err_msg=after.path)
    assert all(np.any(a != b.numpy()) for a, b in zip(energy, model.trainable_variables))


def test_learns_to_tell_data_from_samples():
    model = compiled_vaebm(3e-3, step_size=1e-4, spectral_coefficient=0.0, energy_coefficient=0.05)
    history = model.fit(dataset(16), steps_per_epoch=30, epochs=3, verbose=0).history
    assert history["gap"][-1] < -0.3
    assert history["gap"][-1] < history["gap"][0]
    # And what it learned sharpens: chains lower the energy of what the VAE draws.
    assert np.isfinite(history["chain_gradient_norm"]).all()


def test_data_initialisation_happens_once(as_made):
    model = as_made()
    model.optimizer.learning_rate = 0.0
    fit(model, 1)
    assert int(model.initialized.numpy()) == 1
    stem = model.energy.stem
    y = model.energy.weights_view().conv(stem, tf.constant(images(32)))
    np.testing.assert_allclose(np.std(y, axis=(0, 1, 2)), 0.2, atol=0.002)
    gains = [g.numpy() for g in model.energy.bank.log_gains.values()]
    fit(model, 1)
    for before, after in zip(gains, model.energy.bank.log_gains.values()):
        np.testing.assert_allclose(before, after.numpy(), atol=1e-6)
    untouched = compiled_vaebm(learning_rate=0.0, data_init_batches=0)
    untouched.run_eagerly = True  # one step
    gains = [g.numpy() for g in untouched.energy.bank.log_gains.values()]
    fit(untouched, 1)
    for before, after in zip(gains, untouched.energy.bank.log_gains.values()):
        np.testing.assert_array_equal(before, after.numpy())


def test_no_second_trace():
    model, traces = compiled_vaebm(), []
    original = model.training_loss
    model.training_loss = lambda data: traces.append(1) or original(data)
    fit(model, 3)
    fit(model, 2, start=3)
    assert len(traces) == 1


class TestBuffer:
    def test_fills_with_latents_and_feeds_chains(self, as_made):
        model = as_made(**BUFFER)
        logs = model.fit(dataset(), steps_per_epoch=1, epochs=6, verbose=0).history
        assert int(model.buffer.size()) == 20
        assert logs["replayed"][0] == 0.0  # the first iteration starts from the prior
        assert np.max(logs["replayed"]) > 0
        assert set(model.buffer.rows) == set(model.groups)  # never the pixels' noise

    def test_a_refused_step_pushes_nothing(self, as_made):
        model = as_made(**BUFFER)
        fit(model, 1)
        held = {k: v.numpy() for k, v in model.buffer.rows.items()}
        # `fit` would refuse such images; in a graph nobody looks.
        tf.function(model.train_step, autograph=False)(tf.fill([8, 8, 8, 1], np.nan))
        assert int(model.skipped_steps.numpy()) == 1
        assert int(model.buffer.size()) == 8
        for name, value in held.items():
            np.testing.assert_array_equal(model.buffer.rows[name].numpy(), value)


def test_resumes_as_if_it_had_never_stopped(tmp_path, as_made):
    model = as_made(**BUFFER)
    fit(model, 4)
    expected = everything(model)
    manager = CheckpointManager(tmp_path)
    model = as_made(**BUFFER)
    # As binaries do, within `fit`: at its end Keras puts the averages in the weights' place.
    save = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: manager.save(model))
    fit(model, 2, callbacks=[save])
    fit(model, 1, start=2)  # what a killed run had done since is lost
    manager.restore(model)
    fit(model, 2, start=2)
    actual = everything(model)
    assert len(expected) == len(actual)
    for (name, a), b in zip(expected.items(), actual.values(), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)
    assert int(model.buffer.size()) == 20


class Shake(keras.callbacks.Callback):
    """Multiplies the energy several hundredfold before one batch, so that its gap runs away."""

    def __init__(self, batch):
        super().__init__()
        self.batch = batch

    def on_train_batch_begin(self, batch, logs=None):
        if batch == self.batch:
            self.healthy = [v.numpy() for v in self.model.trainable_variables]
            for gain in self.model.energy.bank.log_gains.values():
                gain.assign(gain.numpy() + 1.2)


class TestGuard:
    def test_survives_a_forced_explosion(self, tmp_path, as_made):
        said, shake = [], Shake(4)
        model = as_made(**BUFFER)
        guard = ExplosionGuard(tmp_path, max_gap=5.0, every_steps=2, report=said.append)
        history = fit(model, 8, callbacks=[shake, guard]).history
        assert len(said) == guard.rollbacks == 1
        assert "step 5: energy gap" in said[0]
        assert "back to the state of step 4, learning rate times 0.5" in said[0]
        assert float(model.optimizer.rate_factor.numpy()) == 0.5
        assert int(model.train_steps.numpy()) == 8  # the counter goes on
        assert abs(float(model.gap_average.numpy())) < 5.0
        after = [v.numpy() for v in model.trainable_variables]
        assert max(np.max(np.abs(a - b)) for a, b in zip(shake.healthy, after)) < 0.1
        assert np.isfinite(history["loss"]).all()

    def test_not_finite_is_an_explosion_too(self, tmp_path, as_made):
        said = []
        model = as_made()
        guard = ExplosionGuard(tmp_path, max_skips=2, report=said.append)
        fit(model, 2, callbacks=[guard])
        kernel = model.trainable_variables[0]
        kernel.assign(np.full(kernel.shape, np.nan))
        fit(model, 4, start=2, callbacks=[guard])
        assert "2 skipped updates" in said[0]
        assert np.isfinite(kernel.numpy()).all()

    def test_gives_up_in_the_end_and_on_useless_states(self, tmp_path, as_made):
        model = as_made()
        guard = ExplosionGuard(tmp_path, every_steps=1, max_rollbacks=2, report=lambda _: None)
        fit(model, 3, callbacks=[guard])
        kept = len(guard.manager.checkpoints())
        guard.max_gap = 0.0  # from now on everything is an explosion
        with pytest.raises(ExplosionError, match="exploded 3 times"):
            fit(model, 6, start=3, callbacks=[guard])
        assert len(guard.manager.checkpoints()) < kept
        assert guard.manager.checkpoints()

    def test_refuses_an_optimizer_it_cannot_slow(self, tmp_path):
        from tfgen.optimizers import Adamax
        from tfgen.training import WarmupCosine

        model = tiny_vaebm()
        model.build()
        model.compile(Adamax(WarmupCosine(1e-3, 1, 1, 1)))
        with pytest.raises(ConfigError, match="ClippedAdam"):
            fit(model, 1, callbacks=[ExplosionGuard(tmp_path)])


@pytest.mark.slow
def test_replicas_draw_different_chains_and_stay_equal():
    strategy = strategy_from_name("mirrored")
    energy = {"architecture": ((1, True),), "num_channels": 4}
    with strategy.scope():
        model = compiled_vaebm(vae={"num_groups": 1}, **{**BUFFER, "energy": energy})
    fit(model, 2)
    for variable in [*model.trainable_variables, *model.buffer.rows.values()]:
        copies = strategy.experimental_local_results(variable.value)
        np.testing.assert_array_equal(copies[0].numpy(), copies[1].numpy())
    rows = model.buffer.rows["z_0"].numpy()[:16]
    assert int(model.buffer.size()) == 16
    assert len({row.tobytes() for row in rows}) == 16  # no chain was drawn twice


def test_evaluate_reports_the_bound(as_made):
    model = as_made()
    results = model.evaluate(dataset().take(2), verbose=0, return_dict=True)
    np.testing.assert_allclose(
        results["nelbo"], results["vae_nelbo"] + results["energy"], rtol=1e-5
    )
