"""What LSGM learns: who moves whom, averages, channels that are left out, and going on."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from dense_vae import DenseVAE
from small_lsgm import DPM, MLP, disturbed, over_nvae, toy
from tiny_nvae import draw_images
from toy_vae import ring_images

from tfgen.errors import ConfigError
from tfgen.files.tensor_file import read_tensors, write_tensors
from tfgen.generative.lsgm import LSGM
from tfgen.generative.lsgm.inference import normal_cross_entropy
from tfgen.training import CheckpointManager, JointOptimizer
from tfgen.training.averages import averaged_weights, moving_averages

ROWS = np.random.default_rng(2).standard_normal((8, 1, 4, 1)).astype(np.float32)


def own(**options):
    """Over a VAE of one's own."""
    return LSGM(DenseVAE(), MLP, sampler=DPM, **options)


class TestTraining:
    @pytest.mark.parametrize("options", [{}, dict(algorithm=2, weighting="un")])
    @pytest.mark.parametrize("make", [own, over_nvae])
    def test_the_vae_does_not_move_the_prior(self, make, options):
        """The prior follows its own loss alone, the VAE the rest of the bound as well."""
        model = disturbed(make(**options))
        images = ROWS[:3] if make is own else draw_images(model.vae, 3)
        with tf.GradientTape(persistent=True) as tape:
            output = model.training_loss({"images": images})
        prior = [v.value for v in model.variable_groups()["prior"]]
        whole, of_prior = (
            tape.gradient(loss, prior) for loss in (output.loss, output.logs["prior_loss"])
        )
        for a, b in zip(whole, of_prior):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        of_vae = tape.gradient(output.loss, [v.value for v in model.vae.trainable_variables])
        assert all(np.isfinite(g).all() for g in of_vae)

    def test_warms_up(self):
        model = own(kl_initial=0.7, total_steps=100, kl_warmup_fraction=0.1)
        found = [float(model.kl_coefficient(step)) for step in (0, 5, 10, 100)]
        np.testing.assert_allclose(found, [0.7, 0.85, 1.0, 1.0])
        assert float(own(kl_initial=0.7).kl_coefficient(0)) == 1.0

    def test_parts_have_optimizers_of_their_own_and_the_prior_averages(self):
        model = own()
        prior = keras.optimizers.AdamW(1e-3, use_ema=True, weight_decay=0.5)
        model.compile(JointOptimizer({"prior": prior, "vae": keras.optimizers.Adam(0.0)}))
        model.build()
        before = [v.numpy() for v in model.vae.trainable_variables]
        model.fit(ROWS, batch_size=4, epochs=1, verbose=0)
        for a, b in zip(before, model.vae.trainable_variables):
            np.testing.assert_array_equal(a, b.numpy())
        averaged = {id(weight) for weight, _ in moving_averages(model)}
        assert averaged == {id(v) for v in model.variable_groups()["prior"]}
        # Weight decay would have moved it by a thousandth of itself.
        assert np.abs(model.mixing_logit.numpy() + 6.0).max() < 2.5e-3

    def test_the_vae_may_see_the_average_of_the_prior(self):
        options = dict(algorithm=2, weighting="un", mixing_logit=0.0)
        model = own(vae_sees_average=True, **options)
        ema = dict(use_ema=True, ema_momentum=0.5)
        parts = {"prior": keras.optimizers.Adam(0.1, **ema), "vae": keras.optimizers.Adam(0.0)}
        model.compile(JointOptimizer(parts))
        model.build()
        for rows in np.split(ROWS, 2):
            model.train_on_batch(rows)

        def losses(model):
            logs = model.training_loss({"images": ROWS}).logs
            return [float(logs[name]) for name in ("cross_entropy", "prior_loss")]

        averaged, prior = losses(model)
        with tf.GradientTape() as tape:
            loss = model.training_loss({"images": ROWS}).loss
        logit = tape.gradient(loss, model.mixing_logit.value)  # of the weights, not the average
        model._options["vae_sees_average"] = False
        plain, same = losses(model)
        assert prior == same
        assert abs(averaged - plain) > 1e-3
        with tf.GradientTape() as tape:
            loss = model.training_loss({"images": ROWS}).loss
        np.testing.assert_allclose(logit, tape.gradient(loss, model.mixing_logit.value), rtol=1e-5)
        with averaged_weights(model):
            np.testing.assert_allclose(losses(model)[0], averaged, rtol=1e-5)

    def test_without_an_average_the_vae_cannot_see_it(self):
        model = own(vae_sees_average=True, algorithm=2, weighting="un")
        model.compile("adam")
        with pytest.raises(ConfigError, match="keeps averages"):
            model.fit(ROWS, verbose=0)

    def test_a_frozen_vae_stays(self):
        model = own(train_vae=False, spectral_coefficient=0.1)
        model.compile(keras.optimizers.Adam(1e-3))
        model.build()
        before = [w.numpy() for w in model.vae.weights]
        logs = model.fit(ROWS, batch_size=4, verbose=0).history
        for a, b in zip(before, model.vae.weights, strict=True):
            np.testing.assert_array_equal(a, b.numpy())
        assert model.num_parameters == model.num_score_parameters
        assert logs["regularization"][0] > 0

    def test_runs_begun_before_channels_were_chosen_go_on(self, tmp_path):
        model, again = toy(), toy()
        for one in (model, again):
            one.build()
            one.compile(keras.optimizers.Adam(1e-3))
        model.fit(ring_images(8), batch_size=8, epochs=1, verbose=0)
        manager = CheckpointManager(tmp_path)
        path = manager.save(model)
        tensors, note = read_tensors(path)
        del tensors["training/channels_chosen"]
        write_tensors(path, tensors, note)
        manager.restore(again)
        assert int(again.train_steps.numpy()) == int(model.train_steps.numpy()) > 0

    def test_resumes_exactly(self, tmp_path):
        def fresh():
            model = own()
            parts = {"prior": keras.optimizers.AdamW(1e-2, use_ema=True), "vae": "adam"}
            model.compile(JointOptimizer(parts))
            model.build()
            model.build_optimizer()
            return model

        def train(model, batches):
            for rows in batches:
                model.train_on_batch(rows)

        batches = np.split(ROWS, 4)
        whole, second = fresh(), fresh()
        train(whole, batches[:2])
        CheckpointManager(tmp_path).save(whole)
        train(whole, batches[2:])
        CheckpointManager(tmp_path).restore(second)
        train(second, batches[2:])
        states = [[*m.weights, *m.optimizer.variables] for m in (whole, second)]
        for a, b in zip(*states, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)

    @pytest.mark.slow
    def test_learns_a_ring(self):
        """Latents on a ring, which no Normal fits: the bound gains, and samples lie on the ring."""
        model = toy(train_vae=False, mixing_logit=0.0, sampler={"name": "heun", "num_steps": 20})
        latents = model.encode_latents([ring_images(4000)])
        model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(5e-3, 1000)))
        fitted = model.fit({"latents": latents}, batch_size=200, epochs=50, verbose=0)
        assert np.isfinite(fitted.history["loss"]).all()
        held_out = ring_images(1000, seed=1).reshape(-1, 2)
        found = model.evaluate({"latents": held_out}, batch_size=500, verbose=0, return_dict=True)
        normal = float(tf.reduce_mean(normal_cross_entropy(tf.constant(held_out))))
        truth = np.log(2 * np.pi * 1.5 * 0.2) + 0.5 * np.log(2 * np.pi * np.e)
        assert truth - 0.15 < found["cross_entropy"] < normal - 0.3
        images = model.sample(1000, batch_size=500)
        radius = np.sort(np.linalg.norm(images.reshape(-1, 2), axis=1))
        # Of a Normal it would be 1.18, and the middle four fifths reach from 0.46 to 2.15.
        assert abs(radius[500] - 1.5) < 0.1
        assert radius[100] > 1.0
        assert radius[900] < 2.0
