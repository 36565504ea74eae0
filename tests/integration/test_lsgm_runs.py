"""LSGM through the binaries: over a trained VAE, which learns along."""

import json

import numpy as np
import pytest

from tfgen.files.tensor_file import read_tensors

SMALL = (
    "--config.data.name=digits",
    "--config.data.batch_size=16",
    "--config.training.steps_per_epoch=3",
    "--config.training.report_steps=1",
    "--config.model.sampler.num_steps=4",
    "--config.model.spectral_coefficient=0.01",
    "--config.evaluation.num_images=4",
)


def tensors(workdir):
    """The newest checkpoint of a run."""
    return read_tensors(sorted((workdir / "checkpoints").glob("*.safetensors"))[-1])[0]


@pytest.fixture(scope="module")
def flags(root):
    return (f"--config={root / 'configs/lsgm/mnist.py'}:runlocal", *SMALL)


@pytest.fixture(scope="module")
def run(exit_code, flags, trained, tmp_path_factory):
    """The workdir of a finished run over the tiny VAE."""
    workdir = tmp_path_factory.mktemp("runs") / "lsgm"
    assert exit_code("train", *flags, f"--config.vae={trained}", f"--workdir={workdir}") == 0
    return workdir


@pytest.mark.slow
def test_the_vae_begins_trained_and_learns_along(run, trained):
    base, after = tensors(trained), tensors(run)
    names = [
        name for name in base if name.startswith("model/parameters/conv") and name.endswith("wn")
    ]
    moved = [np.abs(base[n] - after[n.replace("model/", "model/nvae/", 1)]).max() for n in names]
    assert moved
    assert 0 < max(moved) < 1e-3


@pytest.mark.slow
def test_continues_with_all_it_had(cli, flags, run, trained):
    before = tensors(run)
    result = cli("train", *flags, f"--config.vae={trained}", f"--workdir={run}")
    assert result.code == 0, result.err
    assert "continues at step 6" in result.out
    assert "UNTRAINED" not in result.out
    after = tensors(run)
    assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.slow
def test_samples_say_what_they_took(cli, run):
    result = cli("sample", f"--workdir={run}", "--num_images=5", "--seed=3")
    assert result.code == 0, result.err
    assert "by 4 evaluations of the network an image" in result.out
    found = json.loads((run / "metrics.json").read_text())["samples"]
    assert found["num_images"] == 5
    assert found["network_evaluations"] == found["most_network_evaluations"] == 4
    assert found["sampling_seconds"] > 0


@pytest.mark.parametrize("vae", [None, "nvae_mnist"])
def test_plan_says_what_the_vae_begins_from(cli, flags, vae):
    given = () if vae is None else (f"--config.vae={vae}",)
    result = cli("train", *flags, *given, "--config.data.name=mnist", "--dry_run")
    assert result.code == 0, result.err
    assert json.loads(result.out)["base"] == {"vae": vae}


def test_an_untrained_vae_is_said(cli, flags, tmp_path):
    from tfgen.runs import plan

    result = cli("train", *flags, "--config.data.name=mnist", "--dry_run")
    described = json.loads(result.out)
    assert "vae: begins UNTRAINED" in plan.announce(described, str(tmp_path), 0)
    assert "UNTRAINED" not in plan.announce(described, str(tmp_path), 7)
