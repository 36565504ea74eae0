"""The whole refined sampler as an artefact: the chain inside, its noise as input."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import ExportError
from tfgen.export import Subject, export_litert, export_onnx, export_saved_model
from tfgen.generative.nvae import NVAE
from tfgen.generative.vaebm import VAEBM


@pytest.fixture(scope="module")
def model():
    """Two scales, every kind of cell's backward pass, two steps of a chain that moves."""
    vae = NVAE(
        image_shape=(12, 12, 1),
        decoder="normal",
        padding=2,
        num_channels=4,
        num_scales=2,
        num_groups=1,
        latent_channels=3,
        encoder_cells=1,
        decoder_cells=1,
        preprocess_blocks=1,
        preprocess_cells=1,
        postprocess_blocks=1,
        postprocess_cells=1,
    )
    energy = {"architecture": [[1, True], [2, True]], "num_channels": 4}
    result = VAEBM(vae, energy, sample_steps=2, step_size=0.1)
    result.build()
    kernels = result.energy.bank.kernels[result.energy.head.stack]
    kernels.assign(20.0 * np.random.default_rng(0).standard_normal(kernels.shape))
    return result


@pytest.fixture(scope="module")
def subject(model):
    """Folded, traced and asked once for both formats."""
    return Subject(model, num_examples=2)


def test_the_chain_moves_the_images(model):
    noise = model.draw_noise(tf.range(4))
    still = {k: (0.0 * v if k.startswith("chain") else v) for k, v in noise.items()}
    vae_noise = {name: noise[name] for name in model.groups}
    descended = model.generate(still)
    assert np.max(np.abs(descended - model.vae.generate(vae_noise))) > 0.01
    assert np.max(np.abs(descended - model.generate(noise))) > 0.01


@pytest.mark.parametrize("names", [["sample"], pytest.param(None, marks=pytest.mark.slow)])
def test_saved_model_agrees(model, subject, tmp_path, names):
    report = export_saved_model(model, str(tmp_path / "vaebm"), names=names, subject=subject)
    assert report.max_difference <= report.tolerance


@pytest.mark.slow
def test_onnx_agrees(model, subject, tmp_path):
    report = export_onnx(model, str(tmp_path / "vaebm.onnx"), subject=subject)
    assert report.max_difference <= report.tolerance


def test_litert_is_refused_and_says_why(model, tmp_path):
    with pytest.raises(ExportError, match="gradient"):
        export_litert(model, str(tmp_path / "vaebm.tflite"))
    assert not list(tmp_path.iterdir())
