"""Decoders against what the authors' programs computed (reference values, README beside them)."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfgen.distributions import CroppedBernoulli, DiscretizedLogisticMixture, PixelNormal

ROOT = pathlib.Path(__file__).resolve().parents[2]


def load(name):
    folder = pathlib.Path(os.environ.get("TFGEN_ORACLES_DIR", ROOT.parent / "shared" / "oracles"))
    path = folder / name
    if not path.exists():
        pytest.skip(f"needs {path} (or TFGEN_ORACLES_DIR)")
    return np.load(path)


def nhwc(x):
    return tf.constant(x.transpose(0, 2, 3, 1))


def test_bernoulli_reconstruction_loss():
    values = load("nvae_bernoulli.npz")
    decoder = CroppedBernoulli(nhwc(values["logits"]), padding=2)
    image = nhwc(values["x"])[:, 2:-2, 2:-2]
    np.testing.assert_allclose(-decoder.log_prob(image), values["reconstruction_loss"], rtol=1e-6)


def test_logistic_mixture_reconstruction_loss():
    values = load("nvae_logistic_flow.npz")
    params, image = nhwc(values["logits"]), nhwc(values["x"])
    legacy = DiscretizedLogisticMixture(params, edge="nvae2020").log_prob(image)
    np.testing.assert_allclose(-legacy, values["reconstruction_loss"], rtol=1e-5)
    # The exact rule scores level 254 as the bin it is, so it can only cost more.
    exact = DiscretizedLogisticMixture(params).log_prob(image)
    assert np.all(exact < legacy)
    np.testing.assert_allclose(exact, legacy, rtol=0.02)


def test_normal_decoder_mean():
    values = load("vaebm_small.npz")
    decoder = PixelNormal(nhwc(values["logits"]))
    image = decoder.sample_from_noise(nhwc(values["eps_x"]))
    np.testing.assert_allclose(image, nhwc(values["decoded"]), atol=2e-6)
