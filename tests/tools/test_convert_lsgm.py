"""The score network of LSGM's authors, put over a VAE: equal numbers, and what does not fit."""

import ast

import numpy as np
import pytest
import tensorflow as tf

import tfgen
from tfgen.bin import convert
from tfgen.errors import CheckpointError
from tfgen.files.torch_file import TorchFile
from tfgen.generative.lsgm.official import lsgm_from_official
from tfgen.generative.nvae import official_file
from tfgen.systems import presets

VAE = dict(
    image_shape=(16, 16, 1),
    padding=0,
    num_channels=4,
    num_scales=1,
    num_groups=2,
    latent_channels=10,
    encoder_cells=1,
    decoder_cells=1,
    preprocess_blocks=1,
    preprocess_cells=1,
    postprocess_blocks=1,
    postprocess_cells=1,
)


@pytest.fixture(scope="module")
def values(reference_values):
    return reference_values("lsgm_score_mnist")


@pytest.fixture(scope="module")
def parts(values):
    """Options and score network, as a checkpoint has them."""
    names = [name for name in values.files if name.startswith("weights/")]
    state = {name.removeprefix("weights/"): values[name] for name in names}
    return {**ast.literal_eval(str(values["config"])), "beta_end": 20.0}, state


@pytest.fixture(scope="module")
def vae():
    model = tfgen.NVAE(**VAE)
    model.build()
    return model


def test_predicts_as_the_authors(monkeypatch, values, parts, vae, tmp_path):
    """Through the tool, but for the reading of the file, which needs PyTorch."""
    options, state = parts
    presets.save_preset(vae, tmp_path / "vae")
    names = ["args", "dae_optimizer", "dae_state_dict", "vae_state_dict"]
    arrays = {f"module.{name}": array for name, array in state.items()}
    found = TorchFile("dict", names, {"args": options}, arrays)
    monkeypatch.setattr(official_file, "read_torch_file", lambda *_: found)
    with pytest.raises(CheckpointError, match=r"whose VAE cannot be converted.*--vae=FOLDER"):
        official_file.read_official("checkpoint.pt")
    monkeypatch.setattr(convert, "ALLOW_PICKLE", type("Flag", (), {"value": False}))
    made, config, _ = convert.convert_refinement("lsgm.pt", str(tmp_path / "vae"), None)
    presets.save_preset(made, tmp_path / "lsgm", config)
    model = tfgen.from_preset(tmp_path / "lsgm")
    nhwc = [values[name].transpose(0, 2, 3, 1) for name in ("z_t", "mixed_prediction_vpsde")]
    z, expected = (tf.constant(array, tf.float32) for array in nhwc)
    prediction = model.ready().predict(z, tf.constant(values["t"], tf.float32))
    assert np.abs(prediction - expected).max() <= 1e-4 * np.abs(expected).max()
    images = model.sample(1)
    assert np.isfinite(images).all()


def test_refuses_what_does_not_fit(parts, vae):
    options, state = parts
    with pytest.raises(CheckpointError, match="diffusion of the checkpoint is 'power_vpsde'"):
        lsgm_from_official(vae, {**options, "sde_type": "power_vpsde"}, state)
    narrow = tfgen.NVAE(**{**VAE, "latent_channels": 3})
    with pytest.raises(CheckpointError, match="takes 20 channels"):
        lsgm_from_official(narrow, options, state)
