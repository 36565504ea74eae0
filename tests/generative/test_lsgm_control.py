"""LSGM's control against what is known in closed form: a Normal prior under a decoder that copies.

Latents are the pixels there, and the prior is the standard Normal of alpha = 0.
"""

import numpy as np
import pytest
import tensorflow as tf
from tiny_nvae import draw_images, shaken_nvae
from toy_vae import ToyVAE

from tfgen.errors import DataError, UserError
from tfgen.generative.lsgm import LSGM

COUNT = 4000
SEEDS = tf.range(COUNT)
STEPS = {"name": "dpm_solver", "num_steps": 40}


@pytest.fixture(scope="module")
def pairs():
    """Images of two pixels."""
    options = {"width": 4, "num_blocks": 1, "embedding_dims": 4}
    return LSGM(ToyVAE(dims=2), options, mixing_logit=-60.0, sampler=STEPS)


@pytest.fixture(scope="module")
def grids():
    """Over an NVAE of two grids, of which the smaller has the diffusion."""
    vae = shaken_nvae(num_scales=2, num_groups=1, ada_groups=False)
    network = {"num_channels": 4, "multipliers": [1], "num_blocks": 1, "embedding_dims": 4}
    return LSGM(vae, network, sampler={"name": "dpm_solver", "num_steps": 20, "end": 0.01})


def test_samples_towards_a_tilt(pairs):
    """N(0, I) exp(w x) is N(w, I)."""
    tilt = tf.constant([1.5, -0.5])
    run = tf.function(
        lambda seeds: pairs.sample_towards(
            lambda x: tf.reduce_sum(tilt * x[:, 0, :, 0], axis=1), seeds
        ),
        autograph=False,
    )
    found = run(SEEDS).numpy()[:, 0, :, 0]
    # Four standard errors, and the solver's own part.
    np.testing.assert_allclose(found.mean(axis=0), tilt, atol=4 / COUNT**0.5 + 0.02)
    np.testing.assert_allclose(np.cov(found.T), np.eye(2), atol=0.1)


def test_fills_in_from_the_conditional_law(pairs):
    """A pixel seen with deviation s has the law N(y / (1 + s^2), s^2 / (1 + s^2)), the other its
    own; what is returned is the pixel as seen."""
    deviation, seen = 0.5, 0.8
    images = np.full((COUNT, 1, 2, 1), seen, np.float32)
    images[:, 0, 1] = np.nan  # hidden pixels may hold anything
    mask = np.array([1.0, 0.0], np.float32).reshape(1, 2, 1)
    run = tf.function(lambda seeds: pairs.inpaint(images, mask, seeds, deviation), autograph=False)
    filled = run(SEEDS).numpy()[:, 0, :, 0]
    np.testing.assert_array_equal(filled[:, 0], np.float32(seen))
    assert abs(filled[:, 1].mean()) < 4 / COUNT**0.5
    assert abs(filled[:, 1].std() - 1.0) < 0.05

    def beneath(images, variance):
        missed = (images[:, 0, 0, 0] - seen) ** 2
        return -0.5 * missed / (deviation**2 + variance)

    noise = pairs.draw_noise(SEEDS)
    found = tf.function(
        lambda: pairs.generate_with_count(noise, 1.0, beneath)[0], autograph=False
    )().numpy()[:, 0, 0, 0]
    assert abs(found.mean() - seen / (1 + deviation**2)) < 0.03
    assert abs(found.var() - deviation**2 / (1 + deviation**2)) < 0.02


def test_interpolates_on_the_circle(pairs):
    """The ODE of a Normal is the identity, and noise goes along the arc between the two."""
    first, second = (np.reshape(x, (1, 1, 2, 1)).astype(np.float32) for x in ([1, 0], [0, 1]))
    found = pairs.interpolate(first, second, 3).numpy()
    assert found.shape == (1, 3, 1, 2, 1)
    half = np.sqrt(0.5)
    expected = [[1, 0], [half, half], [0, 1]]
    np.testing.assert_allclose(found[0, :, 0, :, 0], expected, atol=2e-3)


def test_ends_of_a_path_are_the_reconstructions(grids):
    images = draw_images(grids.vae, 4)
    path = tf.function(lambda: grids.interpolate(images[:2], images[2:], 2), autograph=False)()
    rebuilt = grids.reconstruct(images)
    np.testing.assert_allclose(path[:, 0], rebuilt[:2], atol=2e-3)
    np.testing.assert_allclose(path[:, 1], rebuilt[2:], atol=2e-3)


@pytest.mark.slow
def test_fills_in_whatever_the_grids(grids):
    images = draw_images(grids.vae, 2)
    mask = np.zeros((8, 8, 1))
    mask[:4] = 1.0
    filled = tf.function(lambda: grids.inpaint(images, mask, tf.range(2)), autograph=False)()
    np.testing.assert_array_equal(filled[:, :4], images[:, :4])
    assert np.isfinite(filled).all()
    plain = grids.sample(2)
    assert np.abs(filled[:, 4:] - plain[:, 4:]).max() > 0.0


def test_a_solver_that_draws_interpolates_as_the_vae():
    vae = shaken_nvae(num_scales=1)
    network = {"num_channels": 4, "multipliers": [1], "num_blocks": 1}
    model = LSGM(vae, network, sampler={"name": "ancestral", "num_steps": 3})
    images = draw_images(vae, 2)
    found, own = (m.interpolate(images[:1], images[1:], 3) for m in (model, vae))
    np.testing.assert_allclose(found, own, atol=1e-5)


def test_mistakes(pairs):
    images = np.zeros((2, 1, 2, 1), np.float32)
    with pytest.raises(DataError, match=r"the mask has shape \(3, 1\); expected"):
        pairs.inpaint(images, np.ones((3, 1)), tf.range(2))
    with pytest.raises(UserError, match="deviation"):
        pairs.inpaint(images, 1.0, tf.range(2), deviation=0.0)
    with pytest.raises(DataError, match="one partner"):
        pairs.interpolate(images, images[:1])
    with pytest.raises(UserError, match="no gradient"):
        pairs.sample_towards(lambda x: tf.zeros(len(x)), tf.range(2))
    with pytest.raises(DataError, match=r"seeds have shape \(3,\); expected \(2,\), one for each"):
        pairs.inpaint(images, 1.0, tf.range(3))
    with pytest.raises(DataError, match="the mask holds 0 to 255; expected 1 where a pixel is"):
        pairs.inpaint(images, np.array([[0.0], [255.0]]), tf.range(2))
    with pytest.raises(UserError, match="the log-likelihood is None; expected a tensor"):
        pairs.sample_towards(lambda x: None, tf.range(2))
    with pytest.raises(UserError, match="the images are not finite: log_prob or its gradient"):
        pairs.sample_towards(lambda x: np.nan * tf.reduce_sum(x, [1, 2, 3]), tf.range(2))
