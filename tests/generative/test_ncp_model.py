"""NCP-VAE over an NVAE: training, sampling, scoring, freezing."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_nvae import draw_images, normals, shaken_nvae
from toy_vae import ToyVAE

from tfgen.errors import ConfigError
from tfgen.generative import check_walk
from tfgen.generative.ncp import NCPVAE
from tfgen.metrics import evaluate_likelihood

TINY = {"width": 8, "num_cells": 1, "num_proposals": 20, "chunk_size": 16}
# A 4 x 4 latent net of two groups.
GRID4 = {"num_scales": 1, "num_groups": 2}


def make(vae_options=GRID4, **options):
    """With classifiers that say something: new ones give log r = 0."""
    model = NCPVAE(shaken_nvae(**vae_options), **{**TINY, **options})
    model.build()
    rng = np.random.default_rng(0)
    for bank in model.banks:
        for variable in bank.trainable_weights:
            variable.assign_add(0.05 * rng.standard_normal(variable.shape))
    return model


def weights(layer):
    return [v.numpy() for v in layer.weights]


def fit(model, images, epochs=1, callbacks=(), **options):
    if not model.compiled:  # or another call would trace the step again
        model.compile(keras.optimizers.AdamW(1e-3, **options))
    data = tf.data.Dataset.from_tensors({"images": images}).repeat()
    return model.fit(
        data, steps_per_epoch=4, epochs=epochs, verbose=0, shuffle=False, callbacks=list(callbacks)
    )


@pytest.mark.slow
def test_trains_samples_and_scores_with_the_generator_bitwise_unchanged():
    """One trace for all steps and one for all samples."""
    model = make()
    images = draw_images(model.vae, 8)
    before = weights(model.vae)
    calls, loss = [], model.training_loss
    object.__setattr__(model, "training_loss", lambda data: calls.append(1) or loss(data))
    history = fit(model, images, epochs=6)
    assert len(calls) == 1
    for a, b in zip(before, weights(model.vae), strict=True):
        np.testing.assert_array_equal(a, b)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert set(model.vector_logs()) >= {"bce_per_group", "accuracy_per_group"}
    assert model.sample(5, batch_size=2).shape == (5, 8, 8, 1)
    model.sample(7, batch_size=4, seed=3)
    run = model._sampling_function(tf.TensorShape([]))
    assert run.experimental_get_tracing_count() == 1
    scores = evaluate_likelihood(model, [images], num_importance_samples=3)
    assert scores["nll"] <= scores["nelbo"]
    assert np.isfinite(scores["nll"])


def test_a_shared_trunk_trains_too():
    apart, together = (make({}, shared=shared) for shared in (False, True))  # three groups
    for model in (apart, together):
        model.build()
        with tf.GradientTape() as tape:
            loss = model.training_loss({"images": draw_images(model.vae, 4)}).loss
        gradients = tape.gradient(loss, model.trainable_variables)
        assert all(g is not None and np.all(np.isfinite(g)) for g in gradients)
    assert together.num_parameters < apart.num_parameters
    assert together.num_parameters == sum(int(np.prod(v.shape)) for v in together.trainable_weights)


class TestOneProposalIsThePlainGenerator:
    """To the last bit: samples, NELBO, weights of the bound."""

    def test_samples(self):
        model = make(num_proposals=1)
        assert model.noise_spec() == model.vae.noise_spec()
        np.testing.assert_array_equal(model.sample(5, seed=3), model.vae.sample(5, seed=3))
        noise = normals(model.vae, 3)
        for temperature in (1.0, 0.7):
            np.testing.assert_array_equal(
                model.generate(noise, temperature),
                model.vae.prepared().generate(noise, temperature),
            )

    def test_likelihood(self):
        model = make(num_proposals=1)
        images, seeds = draw_images(model.vae, 4), tf.range(4)
        for name, value in model.vae.prepared().negative_elbo(images, seeds).items():
            np.testing.assert_array_equal(model.negative_elbo(images, seeds)[name], value)
        np.testing.assert_array_equal(
            model.log_weights(images, seeds), model.vae.prepared().log_weights(images, seeds)
        )

    def test_negatives_come_from_the_prior_of_the_first_group(self):
        model = make()
        found = []
        model.vae.walk_prior(2, lambda prior: found.append(prior) or prior.loc)
        np.testing.assert_allclose(found[0].scale, 1.01, rtol=1e-6)
        negatives = model._negatives(found[0], 2).numpy()
        assert negatives.shape[:2] == (2, 1)


def test_only_the_groups_at_the_top_are_refined():
    """The others keep their prior; the classifiers there are, are those of a full model."""
    model, full = make(refined_groups=1), make()
    assert model.num_proposals == (20, 1)
    assert len(model.banks) == 1
    assert model.num_parameters == full.banks[0].num_parameters
    images, seeds = draw_images(model.vae, 3), tf.range(3)
    for ours, theirs in zip(
        model.both_classes(images, seeds, 4)[1:], full.both_classes(images, seeds, 4)[1:]
    ):
        np.testing.assert_array_equal(ours[:, 0], theirs[:, 0])
        assert np.abs(theirs[:, 1]).min() > 0
        np.testing.assert_array_equal(ours[:, 1], tf.zeros_like(ours[:, 1]))
    history = fit(model, images)
    assert np.isfinite(history.history["loss"][0])
    np.testing.assert_allclose(
        model.frozen().generate_from_seeds(seeds), model.generate_from_seeds(seeds), atol=1e-5
    )
    again = type(model).from_config(model.get_config())
    assert again.num_refined_groups == 1


def test_a_flat_ratio_leaves_the_bound_alone():
    """r = 1 everywhere, at any M."""
    model = make(num_proposals=20)
    model.build()
    for bank in model.banks:
        for variable in bank.trainable_variables:
            variable.assign(tf.zeros_like(variable))
    images, seeds = draw_images(model.vae, 4), tf.range(4)
    plain = model.vae.negative_elbo(images, seeds)
    np.testing.assert_allclose(
        model.negative_elbo(images, seeds)["nelbo"], plain["nelbo"], rtol=1e-5
    )


def test_noise_in_images_out():
    model = make(num_proposals=[1, 40])
    seeds = tf.constant(model.seeds_for(4))
    noise = model.draw_noise(seeds)
    spec = model.noise_spec(4)
    assert {k: tuple(v.shape) for k, v in noise.items()} == {k: s.shape for k, s in spec.items()}
    images = model.generate(noise)
    np.testing.assert_allclose(images, model.sample(4), atol=1e-6)
    np.testing.assert_allclose(images[1:3], model.sample(4, batch_size=3)[1:3], atol=1e-6)
    model.chunk_size = 32
    np.testing.assert_allclose(images, model.generate(noise), atol=1e-6)


def test_frozen_copy_agrees_and_stays():
    model = make(shared=True)
    images, seeds = draw_images(model.vae, 3), tf.range(3)
    copy = model.frozen()
    sample = model.generate_from_seeds(seeds)
    score = model.negative_elbo(images, seeds)["nelbo"]
    np.testing.assert_allclose(copy.generate_from_seeds(seeds), sample, atol=1e-5)
    np.testing.assert_allclose(copy.negative_elbo(images, seeds)["nelbo"], score, rtol=1e-5)
    for variable in model.trainable_variables:
        variable.assign(0.5 * variable)
    np.testing.assert_allclose(copy.generate_from_seeds(seeds), sample, atol=1e-5)
    half = model.frozen(storage="float16")
    assert {v.dtype for v in half.folded_variables} == {tf.float16}
    assert np.all(np.isfinite(half.generate_from_seeds(tf.range(2))))


def test_gradients_of_the_energy_meet_finite_differences():
    """In whitened coordinates the gradient is eps - sigma grad_z log r."""
    model = make()
    ready, found = model.ready(), []
    model.vae.walk_prior(2, lambda prior: found.append(prior) or prior.loc)
    rng = np.random.default_rng(0)
    for prior in found:
        log_ratio = ready.log_ratio(prior)
        eps = tf.constant(rng.standard_normal(prior.loc.shape), tf.float32)

        def energy(eps, prior=prior, log_ratio=log_ratio):
            z = prior.loc + prior.scale * eps
            return 0.5 * tf.reduce_sum(eps**2, [1, 2, 3]) - log_ratio(z[:, None])[:, 0]

        with tf.GradientTape(persistent=True) as tape:
            tape.watch(eps)
            z = prior.loc + prior.scale * eps
            tape.watch(z)
            value = log_ratio(z[:, None])
            total = tf.reduce_sum(energy(eps))
        gradient = tape.gradient(total, eps)
        np.testing.assert_allclose(
            gradient, eps - prior.scale * tape.gradient(value, z), rtol=1e-4, atol=1e-4
        )
        direction = tf.constant(rng.standard_normal(eps.shape), tf.float32)
        direction /= tf.norm(direction)
        h = 1e-2
        difference = (
            tf.reduce_sum(energy(eps + h * direction) - energy(eps - h * direction)) / 2 / h
        )
        exact = tf.reduce_sum(gradient * direction)
        assert float(difference) == pytest.approx(float(exact), rel=5e-3, abs=1e-3)


def test_gradients_of_the_loss_meet_finite_differences():
    model = make()
    model.build()
    images = draw_images(model.vae, 4)
    with tf.GradientTape() as tape:
        loss = model.training_loss({"images": images}).loss
    variables = model.trainable_variables
    gradients = tape.gradient(loss, variables)
    assert all(g is not None for g in gradients)
    rng = np.random.default_rng(0)
    directions = [rng.standard_normal(v.shape).astype(np.float32) for v in variables]
    norm = np.sqrt(sum(np.sum(d**2) for d in directions))
    exact = sum(float(tf.reduce_sum(g * d)) for g, d in zip(gradients, directions)) / norm
    h, values = 5e-3, []
    for sign in (1, -1):
        for v, d in zip(variables, directions):
            v.assign_add(sign * h * d / norm)
        values.append(float(model.training_loss({"images": images})[0]))
        for v, d in zip(variables, directions):
            v.assign_sub(sign * h * d / norm)
    assert (values[0] - values[1]) / 2 / h == pytest.approx(exact, rel=0.02, abs=2e-3)


def test_batch_norm_recalibration_goes_through_the_refined_prior():
    model = make()
    model.build()
    before = [v.numpy() for v in model.vae.bank.means.values()]
    banks = weights(model.banks[0])
    model.recalibrate_batch_norm(0.8, num_passes=3, batch_size=4)
    after = [v.numpy() for v in model.vae.bank.means.values()]
    assert any(np.any(a != b) for a, b in zip(before, after))
    for a, b in zip(banks, weights(model.banks[0]), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.all(np.isfinite(model.generate_from_seeds(tf.range(2))))


def test_nvae_walks_agree():
    for options in ({}, GRID4, {"num_scales": 1, "num_groups": 1}):
        vae = shaken_nvae(**options)
        check_walk(vae, draw_images(vae, 3), tf.range(3))


def test_a_vae_of_ones_own():
    model = NCPVAE(ToyVAE(dims=3, num_groups=2), width=16, num_proposals=8)
    images = np.random.default_rng(0).standard_normal((16, 1, 3, 1)).astype(np.float32)
    fit(model, images)
    again = type(model).from_config(model.get_config())
    assert [v.shape for v in again.trainable_variables] == [] or again.built
    assert model.sample(3).shape == (3, 1, 3, 1)
    assert model.frozen().sample(3).shape == (3, 1, 3, 1)


def test_new_classifiers_leave_the_prior_alone():
    model = NCPVAE(shaken_nvae(**GRID4), **TINY)
    _, positive, negative = model.both_classes(draw_images(model.vae, 3), tf.range(3), 4)
    np.testing.assert_array_equal(positive, tf.zeros_like(positive))
    np.testing.assert_array_equal(negative, tf.zeros_like(negative))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_proposals": 0}, "num_proposals is 0"),
        ({"num_proposals": [3]}, "one for each of 2 latent groups"),
        ({"width": 1}, "width is 1"),
        ({"num_directions": -1}, "num_directions is -1"),
        ({"refined_groups": 0}, "refined_groups is 0"),
        ({"refined_groups": 3}, "from 1 to 2"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"num_negatives": 0}, "num_negatives is 0"),
    ],
)
def test_bad_options_get_one_sentence(options, words):
    with pytest.raises(ConfigError, match=words):
        make(**options)


def test_something_that_is_no_generator_is_refused():
    with pytest.raises(ConfigError, match="Sequential without image_shape"):
        NCPVAE(keras.Sequential())
