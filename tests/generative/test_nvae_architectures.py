"""Every named architecture: it runs, it learns through all its weights, it folds."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_nvae import draw_images, normals, shaken_nvae, tiny_nvae

from tfgen.errors import ConfigError
from tfgen.generative.nvae.architecture import ARCHITECTURES, get_architecture
from tfgen.layers import InvertedResidual, Residual


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request):
    return shaken_nvae(architecture=request.param, num_channels=8, num_groups=1)


def test_folded_equals_live(model):
    frozen, noise = model.frozen(), normals(model, 2)
    images = tf.constant(draw_images(model, 2))
    for ask in (
        lambda g: g.generate_head(g.weights_for_inference(), noise),
        lambda g: g.negative_elbo(images, [1, 2])["nelbo"],
    ):
        expected = ask(model).numpy()
        np.testing.assert_allclose(
            ask(frozen), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max()
        )


def test_gradient_reaches_every_weight(model):
    images = tf.constant(draw_images(model, 4))
    with tf.GradientTape() as tape:
        loss = model.training_loss({"images": images}).loss
    assert np.isfinite(loss)
    for variable, gradient in zip(
        model.trainable_variables, tape.gradient(loss, model.trainable_variables)
    ):
        gradient = np.asarray(gradient)
        assert np.all(np.isfinite(gradient)), variable.path
        assert np.any(gradient != 0), variable.path


def test_has_the_cells_of_its_name():
    default = get_architecture("res_mbconv")
    assert default.encoder == default.preprocess == Residual()
    assert (default.decoder, default.postprocess) == (InvertedResidual(6), InvertedResidual(3))
    assert get_architecture("res53_mbconv").encoder.kernel_sizes == (5, 3)
    assert get_architecture("mbconv_sep11").decoder.kernel_size == 11
    assert get_architecture("mbconv_den").decoder.groups == 8
    assert not get_architecture("res_elu").decoder.norm


def test_architectures_without_norm_have_none():
    bank = tiny_nvae(architecture="res_elu").bank
    assert bank.num_batch_norms == 0
    assert tiny_nvae(architecture="res_bnelu").bank.num_batch_norms > 0


def test_groups_must_divide_the_channels():
    with pytest.raises(ConfigError, match=r"8 groups .* 12 channels"):
        tiny_nvae(architecture="mbconv_den", num_channels=2)
