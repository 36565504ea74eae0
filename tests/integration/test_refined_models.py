"""Models that stand on a frozen generator, through the binaries."""

import json

import numpy as np
import pytest

from tfgen.files.tensor_file import read_tensors
from tfgen.generative.ncp import NCPVAE
from tfgen.runs.workdir import Workdir

NCP = (
    "--config.data.batch_size=16",
    "--config.training.steps_per_epoch=3",
    "--config.training.report_steps=1",
    "--config.evaluation.num_images=24",
    "--config.evaluation.num_importance_samples=2",
    "--config.evaluation.batch_size=64",
)


def tensors(workdir):
    """The newest checkpoint of a run."""
    return read_tensors(sorted((workdir / "checkpoints").glob("*.safetensors"))[-1])[0]


@pytest.fixture(scope="module")
def flags(root):
    return (f"--config={root / 'configs/ncp/digits.py'}:runlocal", *NCP)


@pytest.fixture(scope="module")
def refined(exit_code, flags, trained, tmp_path_factory):
    """The workdir of a finished refinement of the tiny run."""
    workdir = tmp_path_factory.mktemp("runs") / "refined"
    assert exit_code("train", *flags, f"--config.vae={trained}", f"--workdir={workdir}") == 0
    return workdir


def test_the_generator_stays_bitwise_what_it_was(refined, trained):
    base, after = tensors(trained), tensors(refined)
    names = [name for name in base if name.startswith("model/parameters/")]
    assert names
    for name in names:
        partner = name.replace("model/", "model/nvae/", 1)
        np.testing.assert_array_equal(base[name], after[partner], err_msg=name)


def test_the_run_is_whole_without_its_generator(refined, trained):
    config = json.loads((refined / "config.json").read_text())
    base = json.loads((trained / "config.json").read_text())
    assert config["model"]["vae"] == base["model"]
    assert config["data"]["binarize"] == base["data"]["binarize"]
    assert config["vae"] == str(trained)


def test_the_same_command_again_changes_nothing(cli, flags, refined, trained):
    before = tensors(refined)
    result = cli("train", *flags, f"--config.vae={trained}", f"--workdir={refined}")
    assert result.code == 0, result.err
    assert "continues at step 6" in result.out
    after = tensors(refined)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_run_that_ended_early_is_over(cli, flags, trained, tmp_path, monkeypatch):
    """Rather than trained on for another five epochs by the same command."""
    argv = (
        *flags,
        "--config.training.epochs=9",
        f"--config.vae={trained}",
        f"--workdir={tmp_path}",
    )
    with monkeypatch.context() as patch:
        patch.setattr(NCPVAE, "remember_best", lambda self, losses: [False])
        assert "trained 15 of 27 steps; the run is finished" in cli("train", *argv).out
    before = tensors(tmp_path)
    result = cli("train", *argv)
    assert result.code == 0, result.err
    assert "trained 15 of 27 steps; the run is finished: no classifier improved" in result.out
    after = tensors(tmp_path)
    assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("binary", ["sample", pytest.param("evaluate", marks=pytest.mark.slow)])
def test_other_binaries_use_it(cli, refined, tmp_path, binary):
    result = cli(binary, f"--workdir={refined}", f"--output={tmp_path / 'out'}")
    assert result.code == 0, result.err
    if binary == "evaluate":
        assert "the generator underneath: NELBO" in result.out
        found = json.loads((refined / "metrics.json").read_text())["test"]
        assert found["base_nelbo"] > 0
        assert abs(found["nelbo_gain"]) < found["base_nelbo"]


def test_data_that_the_generator_does_not_know_are_named(cli, flags, trained, tmp_path):
    arguments = (f"--config.vae={trained}", f"--workdir={tmp_path / 'run'}")
    images = np.zeros((40, 16, 16, 1), np.uint8)
    np.savez(tmp_path / "blank.npz", x_train=images, x_test=images[:8])
    other = f"--config.data.name=npz:{tmp_path / 'blank.npz'}"
    with Workdir(tmp_path / "run").claimed():  # said before the training that is refused here
        result = cli("train", *flags, *arguments, other)
    assert "was trained on 'digits'" in result.out


def test_dry_run(cli, flags, trained):
    result = cli("train", *flags, f"--config.vae={trained}", "--dry_run")
    assert result.code == 0, result.err
    plan = json.loads(result.out)
    assert plan["model"] == "ncp"
    assert 0 < plan["parameters"] < 1e5
    assert 0 < plan["memory_estimate_gib"] < 1


def test_mistakes(cli, flags, tiny, refined, trained, tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    assert "config.vae is missing" in cli("train", *flags, workdir).mistake()
    assert "no folder 'nowhere'" in cli("train", *flags, "--config.vae=nowhere", workdir).mistake()
    result = cli("train", *tiny, f"--config.vae={trained}", workdir)
    assert "stands on no other model" in result.mistake()


@pytest.mark.slow
def test_another_generator_of_the_same_form_is_refused(cli, flags, tiny, refined, tmp_path):
    twin = tmp_path / "twin"
    assert cli("train", *tiny, "--config.training.seed=5", f"--workdir={twin}").code == 0
    config = json.loads((twin / "config.json").read_text())
    config["model"]["seed"] = json.loads((refined / "config.json").read_text())["model"]["vae"][
        "seed"
    ]
    (twin / "config.json").write_text(json.dumps(config))
    result = cli("train", *flags, f"--config.vae={twin}", f"--workdir={refined}")
    assert "not those that this run began with" in result.mistake()
