"""The whole refined sampler in other runtimes: resampling inside, noise as input."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.export import Subject, export_onnx, export_saved_model
from tfgen.generative.ncp import NCPVAE
from tfgen.generative.nvae import NVAE


@pytest.fixture(scope="module", params=["whole", pytest.param("in chunks", marks=pytest.mark.slow)])
def model(request):
    vae = NVAE(
        image_shape=(8, 8, 1),
        padding=0,
        num_channels=4,
        num_scales=1,
        num_groups=2,
        latent_channels=3,
        encoder_cells=1,
        decoder_cells=1,
        preprocess_blocks=1,
        preprocess_cells=1,
        postprocess_blocks=1,
        postprocess_cells=1,
    )
    chunk_size = 64 if request.param == "whole" else 16
    return NCPVAE(vae, width=8, num_cells=1, num_proposals=[40, 1], chunk_size=chunk_size)


@pytest.fixture(scope="module")
def subject(model):
    """Folded, traced and asked once for both formats."""
    return Subject(model)


def test_saved_model(model, subject, tmp_path):
    # Resampling in chunks or whole is nothing that the signatures of the posterior know of.
    names = ["sample"] if model.chunk_size == 64 else None
    report = export_saved_model(model, str(tmp_path / "ncp"), names=names, subject=subject)
    assert report.max_difference <= 1e-3
    loaded = tf.saved_model.load(str(tmp_path / "ncp" / "1"))
    seeds = tf.constant(model.seeds_for(3))
    images = loaded.signatures["sample"](seeds=seeds, temperature=tf.constant(1.0))["images"]
    np.testing.assert_allclose(images, model.sample(3), atol=1e-3)


def test_onnx(model, subject, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    path = str(tmp_path / "ncp.onnx")
    report = export_onnx(model, path, subject=subject)
    assert report.max_difference <= 1e-3
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = {value.name: value.shape for value in session.get_inputs()}
    assert set(inputs) == {"z_0", "z_0_choice", "z_1", "temperature"}
    assert list(inputs["z_0"][1:2]) == [40]
    noise = {k: v.numpy() for k, v in model.draw_noise(tf.constant(model.seeds_for(5))).items()}
    feed = {**noise, "temperature": np.array(1.0, np.float32)}
    (images,) = session.run(["images"], feed)
    np.testing.assert_allclose(images, model.sample(5), atol=1e-3)
    # Other uniforms choose other proposals: resampling is in the graph.
    feed["z_0_choice"] = feed["z_0_choice"][:, ::-1].copy()
    assert np.max(np.abs(session.run(["images"], feed)[0] - images)) > 1e-4
