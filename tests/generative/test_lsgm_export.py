"""LSGM as an artefact: the solver inside, noise in, images out, and images back to noise."""

import numpy as np
import pytest
import tensorflow as tf
from dense_vae import DenseVAE
from tiny_nvae import shaken_nvae

from tfgen.errors import ExportError
from tfgen.export import Subject, export_litert, export_onnx, export_saved_model, formats_of
from tfgen.generative.lsgm import LSGM

UNET = {"num_channels": 4, "multipliers": [1], "num_blocks": 1, "embedding_dims": 4}
MLP = {"width": 8, "num_blocks": 1, "embedding_dims": 4}
ROWS = np.array([[-0.5, 0.2, 0.4, 1.0], [0.3, 0.1, -0.2, 0.6]], np.float32)[:, None, :, None]


def lsgm(vae, network, **options):
    """With a prior that is far from Normal, the same at all times: few steps follow its ODE."""
    model = LSGM(vae, network, mixing_logit=-1.0, num_evaluation_times=1, **options)
    model.build()
    rng = np.random.default_rng(0)
    for variable in model.network.trainable_variables:
        variable.assign_add(0.1 * rng.standard_normal(variable.shape))
    of_times = model.network.embedding.second
    kernels = model.network.bank.kernels[of_times.stack]
    values = kernels.numpy()
    values[of_times.row] = 0.0
    kernels.assign(values)
    return model


def vectors(sampler):
    """Over a VAE of one's own."""
    return lsgm(DenseVAE(), MLP, sampler=sampler)


@pytest.fixture(scope="module")
def subject():
    """Over grids, asked for images."""
    model = lsgm(shaken_nvae(num_scales=1), UNET, sampler={"name": "dpm_solver", "num_steps": 5})
    return Subject(model, num_examples=2)


def generate_alone(model, path, subject):
    return export_saved_model(model, path, names=["generate"], subject=subject)


@pytest.mark.parametrize(
    "export",
    [
        pytest.param(generate_alone, id="saved_model", marks=pytest.mark.slow),
        pytest.param(export_onnx, id="onnx", marks=pytest.mark.slow),
        pytest.param(export_litert, id="litert"),
    ],
)
def test_every_format_holds_the_solver(subject, export, tmp_path):
    report = export(subject.model, str(tmp_path / "artefact"), subject=subject)
    assert report.max_difference < 1e-4
    noise = subject.question("generate")
    own = subject.model.vae.generate({k: noise[k] for k in subject.model.groups})
    assert np.abs(subject.answer("generate")["images"] - own).max() > 0.005


def test_saved_model_answers_everything(tmp_path):
    """Over a VAE that brings nothing but its walks; noise of images makes them again."""
    model = vectors({"name": "dpm_solver", "num_steps": 100, "end": 0.01})
    export_saved_model(model, str(tmp_path / "model"))
    loaded = tf.saved_model.load(str(tmp_path / "model" / "1")).signatures
    names = {"generate", "sample", "encode", "reconstruct", "log_likelihood", "encode_noise"}
    assert set(loaded) == {*names, "serving_default"}
    images = tf.constant(ROWS)
    found = loaded["log_likelihood"](images=images, seeds=tf.range(2))
    assert {name: value.shape for name, value in found.items()} == {"nelbo": [2], "kl": [2]}
    there_and_back(loaded, 1e-3)


def there_and_back(loaded, atol):
    images = tf.constant(ROWS)
    noise = loaded["encode_noise"](images=images)
    assert noise["z"].shape == [2, 2]
    again = loaded["generate"](temperature=tf.constant(1.0), **noise)["images"]
    rebuilt = loaded["reconstruct"](images=images)["images"]
    np.testing.assert_allclose(again, rebuilt, atol=atol)
    # The VAE's own noise, here its latents, is another.
    assert np.abs(noise["z"] - loaded["encode"](images=images)["z"]).max() > 0.01


@pytest.mark.parametrize("export", [export_onnx, export_litert], ids=["onnx", "litert"])
def test_a_solver_that_draws_has_its_noise_as_input(export, tmp_path):
    model = vectors({"name": "ancestral", "num_steps": 3})
    signatures = model.signatures()
    assert "encode_noise" not in signatures
    assert signatures["generate"].inputs["solver"].shape == [None, 3, 2]
    report = export(model, str(tmp_path / "artefact"))
    assert report.max_difference < 1e-4


class TestAdaptiveSteps:
    """They stay in TensorFlow."""

    @pytest.fixture(scope="class")
    def model(self):
        return vectors({"name": "rk45", "rtol": 1e-6, "atol": 1e-6})

    def test_other_formats_are_refused_and_say_why(self, model, tmp_path):
        assert formats_of(model) == ("saved_model",)
        with pytest.raises(ExportError, match=r"cannot hold any .* \(its solver chooses its steps"):
            export_onnx(model, str(tmp_path / "a.onnx"))
        with pytest.raises(ExportError, match=r"litert cannot hold 'generate'.*dpm_solver"):
            export_litert(model, str(tmp_path / "a.tflite"), names=["generate"])
        assert not list(tmp_path.iterdir())

    @pytest.mark.slow
    def test_saved_model_goes_there_and_back(self, model, tmp_path):
        names = ["generate", "encode_noise", "encode", "reconstruct"]
        export_saved_model(model, str(tmp_path / "model"), names=names)
        there_and_back(tf.saved_model.load(str(tmp_path / "model" / "1")).signatures, 1e-4)
