"""The metric of gradients against dense linear algebra, and what it is for."""

import numpy as np
import pytest
import tensorflow as tf
from tiny import PLAIN, distinct_batch, relu_net, threat_model

from tfgen.privacy import GradientInversion
from tfgen.privacy.attack import gradient_metric
from tfgen.privacy.attack.gradient_metric import metric_of, natural_noise, squared_length

RNG = np.random.default_rng(0)


def dense(factors):
    """The factors of all axes as one matrix over all numbers of the tensor."""
    matrix = np.eye(1)
    for factor in factors:
        matrix = np.kron(matrix, factor)
    return matrix


@pytest.mark.parametrize("shape", [(5,), (4, 3), (3, 3, 2, 4), ()])
@pytest.mark.parametrize("largest", [1152, 8])
def test_is_a_quadratic_form_of_unit_size(shape, largest, monkeypatch):
    monkeypatch.setattr(gradient_metric, "_LARGEST", largest)
    references = RNG.standard_normal((6, *shape))
    (factors,) = metric_of([[x] for x in references], damping=1e-3, power=0.5)
    deviations = (references - references.mean(axis=0)).reshape(6, -1)
    matrix = dense(factors)
    lengths = [float(squared_length(tf.constant(x.reshape(shape)), factors)) for x in deviations]
    np.testing.assert_allclose(lengths, np.einsum("ri,ij,rj->r", deviations, matrix, deviations))
    np.testing.assert_allclose(np.mean(lengths), 1.0)


def test_directions_in_which_images_differ_little_weigh_more():
    # Of a vector, whose moments are exact: weights are the inverse root of the moments.
    references = RNG.standard_normal((400, 2)) * [10.0, 0.1]
    (factors,) = metric_of([[x] for x in references], damping=1e-9, power=0.5)
    eigenvalues = np.linalg.eigvalsh(factors[0])
    np.testing.assert_allclose(eigenvalues[1] / eigenvalues[0], 100, rtol=0.2)
    (plain,) = metric_of([[x] for x in references], damping=1e-9, power=0.0)
    np.testing.assert_allclose(plain[0], np.eye(2) * plain[0][0, 0], atol=1e-12)


def test_a_tensor_that_no_image_changes_says_nothing():
    (factors,) = metric_of([[np.ones((2, 3))]] * 4, damping=1e-3, power=0.5)
    assert float(squared_length(tf.ones([2, 3], tf.float64), factors)) == 0


def test_noise_has_the_spectrum_of_photographs():
    noise = natural_noise(np.random.default_rng(0), (16, 32, 32, 3))
    assert noise.min() >= 0
    assert noise.max() <= 1
    power = np.mean(np.abs(np.fft.fft(noise - noise.mean(), axis=1)) ** 2, axis=(0, 2, 3))
    falls = power[[1, 2, 4, 8]] / power[[2, 4, 8, 16]]  # by two to four an octave
    assert np.all(falls > 1.5)
    assert np.all(falls < 6)


def test_an_attack_in_this_metric_converges_faster_and_repeats_itself():
    images, labels = distinct_batch(2)

    def attack(form):
        options = dict(threat_model=threat_model(labels="known"))
        settings = {**PLAIN, "num_steps": 150, "gradient_form": form}
        attack = GradientInversion(relu_net(), **options, **settings)
        gradients = attack.network.gradients(images, labels)
        return attack.run(gradients, labels=labels, verbose=0).images

    def psnr(found):
        return -10 * np.log10(np.mean((found - images) ** 2, axis=(1, 2, 3)))

    found = attack("whitened")
    np.testing.assert_array_equal(found, attack("whitened"))
    assert np.all(psnr(found) > psnr(attack("relative")) + 10)
