"""Classifiers that look only where the encoder speaks."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate, stats
from tiny_nvae import draw_images, shaken_nvae
from toy_vae import ToyVAE

from tfgen.generative import PosteriorWalk
from tfgen.generative.ncp import NCPVAE
from tfgen.generative.ncp.directions import informative_directions

DIMS = 30
AXIS = np.random.default_rng(5).standard_normal(DIMS)
AXIS /= np.linalg.norm(AXIS)
HOLE = 0.9  # posterior means lie at +-0.9 along AXIS, so that mean and variance are the prior's


@keras.saving.register_keras_serializable(package="tfgen_tests")
class OneVoice(ToyVAE):
    """Thirty latents of which an image moves one combination; the rest is N(0, 1) whatever it is.

    Along `AXIS` the aggregate posterior is half N(0.9, 0.19) and half N(-0.9, 0.19).
    """

    def walk_posterior(self, images, noise):
        walk = super().walk_posterior(images, noise)
        x = tf.reshape(tf.cast(images, tf.float32), [-1, DIMS])
        axis = tf.constant(AXIS, tf.float32)
        voice = HOLE * tf.sign(tf.linalg.matvec(x, axis))[:, None]
        eps = noise["z_0"]
        along = tf.linalg.matvec(eps, axis)[:, None]
        deviation = (1 - HOLE**2) ** 0.5
        z = eps + (voice + (deviation - 1.0) * along) * axis
        return PosteriorWalk([z], walk.priors, walk.kl, walk.log_q, walk.log_p, walk.log_px)


def divergence() -> float:
    """KL of the mixture along the axis against N(0, 1), by quadrature."""
    halves = [stats.norm(s * HOLE, (1 - HOLE**2) ** 0.5) for s in (-1, 1)]

    def integrand(x):
        q = 0.5 * (halves[0].pdf(x) + halves[1].pdf(x))
        return q * (np.log(q) - stats.norm.logpdf(x))

    return integrate.quad(integrand, -6, 6)[0]


def images(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, 1, DIMS, 1)).astype(np.float32)


class TestDirections:
    def test_the_one_that_speaks_comes_first_and_noise_vanishes(self):
        columns = informative_directions(OneVoice(dims=DIMS), 4)["z_0"]
        assert columns.shape == (DIMS, 4)
        assert abs(columns[:, 0] @ AXIS) == pytest.approx(1.0, abs=1e-5)
        np.testing.assert_allclose(np.linalg.norm(columns[:, 1:], axis=0), 0.0, atol=1e-3)

    def test_of_every_group_of_an_nvae(self):
        vae = shaken_nvae(num_scales=1, num_groups=2)
        found = informative_directions(vae, 5, num_images=60, batch_size=20)
        assert list(found) == vae.groups
        for columns in found.values():
            norms = np.linalg.norm(columns, axis=0)
            assert norms[0] == pytest.approx(1.0, abs=1e-5)
            assert np.all(np.diff(norms) <= 1e-6)
            gram = (columns / norms).T @ (columns / norms)
            np.testing.assert_allclose(gram, np.eye(5), atol=1e-3)
        again = informative_directions(vae, 5, num_images=60, batch_size=20)
        for name, columns in found.items():
            np.testing.assert_array_equal(columns, again[name])

    def test_a_group_of_fewer_latents(self):
        assert informative_directions(ToyVAE(dims=3), 8, num_images=100)["z_0"].shape == (3, 3)


def train(num_directions, steps):
    keras.utils.set_random_seed(0)
    options = {"width": 32, "dropout": 0.0, "quadratic": False}
    model = NCPVAE(OneVoice(dims=DIMS), num_directions=num_directions, **options)
    model.compile(keras.optimizers.Adam(3e-3))
    data = tf.data.Dataset.from_tensor_slices({"images": images(4096)}).repeat().batch(128)
    model.fit(data, steps_per_epoch=steps, epochs=1, verbose=0, shuffle=False)
    return model


def test_learns_a_hole_that_neither_means_nor_variances_betray():
    """E_q log r on held-out images meets KL(q | p), which is 0.37 nats.

    Its standard error over 4,000 images is 0.01; 0.05 leaves room for what is left to learn.
    """
    model = train(num_directions=2, steps=400)
    _, positive, negative = model.both_classes(images(4000, seed=1), tf.range(4000), 8)
    gain = float(tf.reduce_mean(positive) - tf.math.log(tf.reduce_mean(tf.exp(negative))))
    assert gain == pytest.approx(divergence(), abs=0.05)


def test_directions_are_found_once_and_saved(tmp_path):
    model = train(num_directions=2, steps=1)
    (name,) = model.banks[0].tensors
    first = model.banks[0].tensors[name].numpy()
    assert not model.banks[0].tensors[name].trainable
    assert model.num_parameters == sum(int(np.prod(v.shape)) for v in model.trainable_weights)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.banks[0].tensors[name].numpy(), first)
    assert loaded.directions_known.numpy() == 1.0


@pytest.mark.slow
def test_frozen_copy_agrees():
    model = NCPVAE(
        shaken_nvae(num_scales=1, num_groups=2), width=8, num_directions=6, num_proposals=9
    )
    model.compile(keras.optimizers.AdamW(1e-2))
    data = tf.data.Dataset.from_tensors({"images": draw_images(model.vae, 8)}).repeat()
    model.fit(data, steps_per_epoch=5, epochs=1, verbose=0, shuffle=False)
    x, seeds = draw_images(model.vae, 3), tf.range(3)
    for live, frozen in zip(
        model.both_classes(x, seeds, 4)[1:], model.frozen().both_classes(x, seeds, 4)[1:]
    ):
        assert np.abs(live).max() > 1e-4
        np.testing.assert_allclose(live, frozen, atol=2e-5)
