"""The best weights of each group: kept, counted, saved, put back."""

import keras
import numpy as np
import tensorflow as tf
from toy_vae import ToyVAE

from tfgen.files.tensor_file import read_tensors, write_tensors
from tfgen.generative.ncp import NCPVAE
from tfgen.generative.ncp.selection import PATIENCE, HeldOutSelection
from tfgen.training import CheckpointManager, load_weights_only

TINY = {"width": 8, "num_cells": 1, "num_proposals": 20, "chunk_size": 16}


def make_on_toy():
    """Over two groups of a toy: what selection does, it does whatever the VAE."""
    model = NCPVAE(ToyVAE(dims=3, num_groups=2), **TINY)
    model.build()
    return model


def draw_latents(num_images, seed=0):
    """The toy's "images"."""
    return np.random.default_rng(seed).standard_normal((num_images, 1, 3, 1)).astype(np.float32)


def weights(layer):
    return [v.numpy() for v in layer.weights]


def fit(model, images, epochs=1, callbacks=(), **options):
    if not model.compiled:  # or another call would trace the step again
        model.compile(keras.optimizers.AdamW(1e-3, **options))
    data = tf.data.Dataset.from_tensors({"images": images}).repeat()
    return model.fit(
        data, steps_per_epoch=4, epochs=epochs, verbose=0, shuffle=False, callbacks=list(callbacks)
    )


class Leave(keras.callbacks.Callback):
    """Ends `fit` after a step of the run, as a signal does."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = int(self.model.train_steps.numpy()) == self.step


class TestHeldOutSelection:
    def test_each_group_keeps_its_best(self):
        model = make_on_toy()
        model.build()
        banks = [weights(bank) for bank in model.banks]
        assert model.remember_best([0.5, 0.6]) == [True, True]
        for bank in model.banks:
            for variable in bank.weights:
                variable.assign_add(tf.ones_like(variable))
        assert model.remember_best([0.7, 0.4]) == [False, True]
        later = [weights(bank) for bank in model.banks]
        assert model.finish()
        for wanted, bank in zip((banks[0], later[1]), model.banks):
            for a, b in zip(wanted, weights(bank), strict=True):
                np.testing.assert_array_equal(a, b)

    def test_nothing_kept_changes_nothing(self):
        model = make_on_toy()
        model.build()
        before = weights(model)
        assert not model.finish()
        for a, b in zip(before, weights(model), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_within_fit(self):
        model = make_on_toy()
        images = draw_latents(6)
        held_out = tf.data.Dataset.from_tensors({"images": draw_latents(5, seed=1)})
        callback = HeldOutSelection(held_out, patience=2, restore=True)
        history = fit(
            model, images, epochs=4, callbacks=[callback], use_ema=True, ema_momentum=0.9
        ).history
        best = min(history["held_out_bce"])
        logs = model.evaluation_logs(next(iter(held_out)))
        assert np.mean(logs["bce"]) <= best + 1e-5
        assert len(history["held_out_elbo_gain"]) == len(history["loss"])

    def test_is_kept_for_going_on_and_left_out_of_presets(self, tmp_path):
        model = make_on_toy()
        fit(model, draw_latents(4))
        model.remember_best([0.5, 0.6])
        manager = CheckpointManager(tmp_path / "run")
        manager.save(model)
        again = make_on_toy()
        again.compile(keras.optimizers.AdamW(1e-3))
        manager.restore(again)
        np.testing.assert_array_equal(again.best_loss, model.best_loss)
        for a, b in zip(again.best_weights, model.best_weights, strict=True):
            np.testing.assert_array_equal(a, b)
        bare = make_on_toy()
        load_weights_only(bare, tmp_path / "run")
        for a, b in zip(weights(bare.banks[0]), weights(model.banks[0]), strict=True):
            np.testing.assert_array_equal(a, b)
        CheckpointManager(tmp_path / "preset").save(bare)
        sizes = [next((tmp_path / name).iterdir()).stat().st_size for name in ("run", "preset")]
        parameters = sum(4 * int(np.prod(v.shape)) for v in model.best_weights)
        assert sizes[1] < sizes[0] - 2.9 * parameters  # without moments and best weights

    def test_training_that_only_harms_is_undone(self):
        model = make_on_toy()
        before = [weights(bank) for bank in model.banks]
        held_out = tf.data.Dataset.from_tensors({"images": draw_latents(5, seed=1)})
        model.compile(keras.optimizers.SGD(1e3))
        data = tf.data.Dataset.from_tensors({"images": draw_latents(6)}).repeat()
        callback = HeldOutSelection(held_out, restore=True)
        model.fit(data, steps_per_epoch=4, epochs=1, verbose=0, shuffle=False, callbacks=[callback])
        for wanted, bank in zip(before, model.banks):
            for a, b in zip(wanted, weights(bank), strict=True):
                np.testing.assert_array_equal(a, b)

    def test_patience(self):
        model = make_on_toy()
        images = draw_latents(6)
        callback = HeldOutSelection(tf.data.Dataset.from_tensors({"images": images}), patience=1)
        model.build()
        model.best_loss.assign([-1.0, -1.0])  # never to be beaten
        history = fit(model, images, epochs=4, callbacks=[callback])
        assert len(history.history["loss"]) == 1
        assert len(fit(model, images, epochs=4, callbacks=[callback]).history["loss"]) == 1

    def test_epochs_waited_are_kept_with_the_run(self, tmp_path):
        """As if the run had never stopped: so is an epoch that was left within."""
        model = make_on_toy()
        images = draw_latents(4)
        held_out = tf.data.Dataset.from_tensors({"images": images})
        model.best_loss.assign([-1.0, -1.0])  # never to be beaten
        fit(model, images, epochs=2, callbacks=[Leave(step=6), HeldOutSelection(held_out)])
        assert int(model.train_steps.numpy()) == 6
        assert int(model.epochs_waited.numpy()) == 1
        manager = CheckpointManager(tmp_path)
        manager.save(model)
        again = make_on_toy()
        again.compile(keras.optimizers.AdamW(1e-3))
        manager.restore(again)
        callback = HeldOutSelection(held_out, patience=3)
        history = fit(again, images, epochs=5, callbacks=[callback])
        assert len(history.history["loss"]) == 2
        assert again.ended_early() is None
        again.epochs_waited.assign(PATIENCE)
        assert "no classifier improved" in again.ended_early()


def test_runs_begun_before_epochs_waited_were_kept_go_on(tmp_path):
    model = make_on_toy()
    fit(model, draw_latents(4), epochs=1)
    manager = CheckpointManager(tmp_path)
    path = manager.save(model)
    tensors, note = read_tensors(path)
    del tensors["training/epochs_waited"]
    write_tensors(path, tensors, note)
    again = make_on_toy()
    again.compile(keras.optimizers.AdamW(1e-3))
    manager.restore(again)
    assert int(again.train_steps.numpy()) == int(model.train_steps.numpy()) > 0
    assert int(again.epochs_waited.numpy()) == 0
