"""Decoders against what the authors' programs computed (reference values, README beside them)."""

import numpy as np
import tensorflow as tf

from tfgen.distributions import CroppedBernoulli, DiscretizedLogisticMixture, PixelNormal


def nhwc(x):
    return tf.constant(x.transpose(0, 2, 3, 1))


def test_bernoulli_reconstruction_loss(reference_values):
    values = reference_values("nvae_bernoulli")
    decoder = CroppedBernoulli(nhwc(values["logits"]), padding=2)
    image = nhwc(values["x"])[:, 2:-2, 2:-2]
    np.testing.assert_allclose(-decoder.log_prob(image), values["reconstruction_loss"], rtol=1e-6)


def test_logistic_mixture_reconstruction_loss(reference_values):
    values = reference_values("nvae_logistic_flow")
    params = nhwc(values["logits"])  # of the first image
    image = nhwc(values["x"])[: len(params)]
    legacy = DiscretizedLogisticMixture(params, edge="nvae2020").log_prob(image)
    expected = values["reconstruction_loss"][: len(params)]
    np.testing.assert_allclose(-legacy, expected, rtol=1e-5)
    # The exact rule scores level 254 as the bin it is, so it can only cost more.
    exact = DiscretizedLogisticMixture(params).log_prob(image)
    assert np.all(exact < legacy)
    np.testing.assert_allclose(exact, legacy, rtol=0.02)


def test_normal_decoder_mean(reference_values):
    values = reference_values("vaebm_small")
    decoder = PixelNormal(nhwc(values["logits"]))
    image = decoder.sample_from_noise(nhwc(values["eps_x"]))
    np.testing.assert_allclose(image, nhwc(values["decoded"]), atol=2e-6)
