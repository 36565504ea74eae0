"""The mathematics of VAEBM on a toy where everything is known: z ~ N(0, 1), x = W z + 0.2 eps.

Sampling tests compare with 4 standard errors; seeds are fixed.
"""

import numpy as np
import pytest
import tensorflow as tf

from tfgen import samplers
from tfgen.generative import GroupPrior, LatentGenerator
from tfgen.generative.vaebm import inpaint, log_partition_bounds
from tfgen.generative.vaebm.inference import Ready, SamplerOptions, VAEBMInference
from tfgen.generative.vaebm.noise_space import NoiseSpace

W, SIGMA = np.array([1.0, 0.5], np.float32), 0.2
A, B = 2.0, np.array([1.0, -0.5], np.float32)  # E(x) = A / 2 |x - B|^2
S = np.outer(W, W) + SIGMA**2 * np.eye(2)  # covariance of the VAE's x


class Decoded:
    """Normal images of known mean, unclipped."""

    def __init__(self, loc, scale):
        self.loc, self.scale = loc, scale

    def mean(self):
        return self.loc

    def sample_from_noise(self, noise):
        return self.loc + self.scale * noise


class LinearVAE(LatentGenerator):
    """The toy as a generator of images `[1, 2, 1]`."""

    image_shape, latent_shapes, context_shapes = (1, 2, 1), {"z": (1,)}, {"z": None}

    def walk_prior(self, num_images, choose):
        zeros = tf.zeros([num_images, 1])
        z = choose(GroupPrior(0, zeros, zeros + 1.0, None))
        return Decoded(tf.reshape(z * W, [-1, 1, 2, 1]), SIGMA)


class ToyVAEBM(VAEBMInference):
    """A quadratic energy over it."""

    image_shape = (1, 2, 1)

    def __init__(self, strength=A, num_steps=300, step_size=0.02):
        self.vae, self.strength = LinearVAE(), strength
        self.sampler = SamplerOptions(num_steps, step_size, output="sample")

    def ready(self):
        return Ready(self.vae, self.energy)

    def energy(self, images):
        x = tf.reshape(images, [-1, 2])
        return 0.5 * self.strength * tf.reduce_sum((x - B) ** 2, axis=1)

    def frozen(self):
        return self


def target(strength=A):
    covariance = np.linalg.inv(np.linalg.inv(S) + strength * np.eye(2))
    return covariance @ (strength * B), covariance


def log_z(strength=A):
    s = np.eye(2) + strength * S
    return -0.5 * np.linalg.slogdet(s)[1] - 0.5 * strength * B @ np.linalg.solve(s, B)


def test_generated_images_follow_the_model():
    images = ToyVAEBM().sample(4000, batch_size=4000).reshape(-1, 2)
    mean, covariance = target()
    errors = np.sqrt(np.diag(covariance) / 4000)
    np.testing.assert_allclose(images.mean(0), mean, atol=4 * errors.max() + 0.002)
    np.testing.assert_allclose(np.cov(images.T), covariance, atol=4 * 0.3 * np.sqrt(2 / 4000))


def test_posterior_of_the_target_is_that_of_the_vae():
    # h(z | x) = p(z | x): both from the joint Gaussian precision of (z, x), to the last digit.
    precision = np.zeros([3, 3])
    precision[0, 0] = 1.0 + W @ W / SIGMA**2
    precision[0, 1:] = precision[1:, 0] = -W / SIGMA**2
    precision[1:, 1:] = np.eye(2) / SIGMA**2
    tilted = precision + np.diag([0.0, A, A])
    for p in (precision, tilted):
        variance, slope = 1.0 / p[0, 0], -p[0, 1:] / p[0, 0]
        np.testing.assert_allclose(variance, SIGMA**2 / (SIGMA**2 + W @ W), rtol=1e-6)
        np.testing.assert_allclose(slope, W / (SIGMA**2 + W @ W), rtol=1e-6)
    np.testing.assert_allclose(np.linalg.inv(tilted)[1:, 1:], target()[1], rtol=1e-6)


def test_log_z_by_annealing_from_both_sides():
    bounds = log_partition_bounds(
        ToyVAEBM(), num_chains=2000, num_steps=30, num_target_steps=60, batch_size=2000
    )
    assert abs(log_z() + 1.54260) < 1e-5
    assert abs(float(bounds.lower) - log_z()) < max(4 * float(bounds.lower_standard_error), 0.01)
    assert abs(float(bounds.upper) - log_z()) < max(4 * float(bounds.upper_standard_error), 0.01)
    assert bounds.lower_standard_error < 0.02


def test_contrastive_gradient_is_that_of_the_likelihood():
    # p = N(0, 1), E = theta x^2 / 2, data N(0, 1/4): d/dtheta = (1/4 - 1 / (1 + theta)) / 2.
    def negative_log_h(theta):
        return 0.5 * theta * 0.25 - 0.5 * np.log(1.0 + theta)

    for theta, expected in ((0.0, -0.375), (3.0, 0.0), (1.0, -0.125)):
        h = 1e-5
        numeric = (negative_log_h(theta + h) - negative_log_h(theta - h)) / (2 * h)
        np.testing.assert_allclose(numeric, expected, atol=1e-6)
        # Negatives by the sampler that trains VAEBM, made exact, in noise space (x = eps).
        potential = lambda x, theta=theta: 0.5 * (1 + theta) * x[:, 0] ** 2  # noqa: E731
        run = samplers.compiled(samplers.mala, potential, num_steps=40)
        x = run(tf.zeros([20_000, 1]), step_size=0.8, seed=(1, 2)).state
        contrast = 0.5 * (0.25 - np.mean(x**2))
        error = 0.5 * np.sqrt(2 / 20_000) / (1 + theta)
        assert abs(contrast - expected) < 4 * error


class TwoGroups(LatentGenerator):
    """A nonlinear decoder of two groups, in whatever precision the noise has."""

    image_shape = (2, 2, 1)
    latent_shapes = {"z_0": (3,), "z_1": (2, 2, 2)}  # noqa: RUF012
    context_shapes = {"z_0": None, "z_1": None}  # noqa: RUF012

    def __init__(self, dtype):
        rng = np.random.default_rng(0)
        self.m = [
            tf.constant(rng.standard_normal(s), dtype) for s in ((3, 8), (3, 8), (8, 4), (8, 4))
        ]
        self.dtype = dtype

    def walk_prior(self, num_images, choose):
        zeros = tf.zeros([num_images, 3], self.dtype)
        z_0 = choose(GroupPrior(0, zeros, zeros + 1.0, None))
        loc = tf.reshape(tf.tanh(z_0 @ self.m[0]), [-1, 2, 2, 2])
        scale = tf.reshape(tf.exp(0.3 * tf.tanh(z_0 @ self.m[1])), [-1, 2, 2, 2])
        z_1 = choose(GroupPrior(1, loc, scale, None))
        flat = tf.reshape(z_1, [-1, 8])
        loc = tf.reshape(tf.tanh(flat @ self.m[2]), [-1, 2, 2, 1])
        return Decoded(loc, tf.reshape(0.2 + 0.1 * tf.sigmoid(flat @ self.m[3]), [-1, 2, 2, 1]))


@pytest.mark.parametrize("kind", ["exact", "official"])
def test_gradient_of_the_potential_meets_differences_in_float64(kind):
    vae, rng = TwoGroups(tf.float64), np.random.default_rng(1)
    temperature = tf.constant(1.0, tf.float64)
    space = NoiseSpace(vae, temperature)
    weights = tf.constant(rng.standard_normal((2, 2, 1)))
    energy = lambda x: tf.reduce_sum(tf.sin(3.0 * x) * weights, [1, 2, 3])  # noqa: E731
    noise = {
        name: tf.constant(rng.standard_normal((2, *shape)))
        for name, shape in {**vae.latent_shapes, "x": vae.image_shape}.items()
    }
    with tf.GradientTape() as tape:
        tape.watch(noise)
        values = space.potential(energy, noise, kind)
    assert values.dtype == tf.float64
    gradients = tape.gradient(values, noise)
    for name, value in noise.items():
        for _ in range(3):
            direction = rng.standard_normal(value.shape)
            h = 1e-5
            ends = [
                space.potential(energy, {**noise, name: value + s * h * direction}, kind)
                for s in (1, -1)
            ]
            numeric = (ends[0] - ends[1]) / (2 * h)
            exact = np.sum(gradients[name] * direction, axis=tuple(range(1, value.ndim)))
            np.testing.assert_allclose(numeric, exact, rtol=1e-6, atol=1e-8)


def test_inpainting_samples_the_conditional_law():
    # Seeing the first pixel as 1, the second has the conditional mean of the target Gaussian.
    count, deviation = 800, 0.1
    images = np.zeros([count, 1, 2, 1], np.float32)
    images[:, 0, 0] = 1.0
    mask = np.array([1.0, 0.0], np.float32).reshape(1, 1, 2, 1)
    model = ToyVAEBM()
    run = tf.function(
        lambda seeds: inpaint(model, images, mask, seeds, 300, deviation, 0.01), autograph=False
    )
    filled = run(tf.constant(model.seeds_for(count))).numpy()
    np.testing.assert_array_equal(filled[:, 0, 0], 1.0)
    # z given what was seen: precision and mean of the Gaussian in z after all factors.
    mean, covariance = target()
    gain = covariance[0] / (covariance[0, 0] + deviation**2)
    x = mean + gain * (1.0 - mean[0])
    spread = covariance - np.outer(gain, covariance[0])
    slope = W / (SIGMA**2 + W @ W)  # E[z | x]
    variance = SIGMA**2 / (SIGMA**2 + W @ W) + slope @ spread @ slope
    expected = W[1] * (slope @ x)
    error = W[1] * np.sqrt(variance / count)
    assert abs(filled[:, 0, 1].mean() - expected) < 4 * error
    assert abs(expected) > 0.1
