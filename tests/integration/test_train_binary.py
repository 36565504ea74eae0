"""tfgen-train: from a config to a run, its resumption, and what mistakes get."""

import csv
import json
import os
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf

from tfgen import cores
from tfgen.files.tensor_file import read_tensors
from tfgen.generative.nvae import NVAE
from tfgen.runs.workdir import Workdir


def tensors(workdir):
    """The newest checkpoint of a run."""
    return read_tensors(sorted((workdir / "checkpoints").glob("*.safetensors"))[-1])[0]


def assert_equal_runs(a, b):
    assert_equal(tensors(a), tensors(b))


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name], err_msg=name)


def test_a_run_leaves_what_it_promises(trained):
    config = json.loads((trained / "config.json").read_text())
    assert config["training"]["steps_per_epoch"] == 3
    assert config["model"]["total_steps"] == 6
    assert config["optimizer"]["name"] == "adamax"
    assert len(list((trained / "checkpoints").glob("*.safetensors"))) == 2
    assert list((trained / "samples").glob("*.png"))
    assert list((trained / "logs").glob("events*"))
    with open(trained / "logs" / "training.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert all(np.isfinite(float(row["loss"])) for row in rows)


def test_the_same_command_again_is_complete_and_changes_nothing(cli, tiny, trained):
    """It draws the last grid where the process before ended between saving and drawing."""
    picture = trained / "samples" / "step-00000006.png"
    drawn = picture.read_bytes()
    picture.unlink()
    before = tensors(trained)
    result = cli("train", *tiny, f"--workdir={trained}")
    assert result.code == 0, result.err
    assert "continues at step 6" in result.out
    assert "trained 6 of 6 steps" in result.out
    after = tensors(trained)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert picture.read_bytes() == drawn


@pytest.fixture(scope="module")
def first_stopped():
    """The tensors that the first signal left, once there was one."""
    return {}


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGTERM, 143, "terminated"),
        pytest.param(signal.SIGINT, 130, "interrupted", marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 129, "hung up", marks=pytest.mark.slow),
    ],
)
def test_stopped_within_an_epoch_and_continued_is_bit_equal(
    cli, tiny, trained, first_stopped, tmp_path, monkeypatch, number, code, word
):
    """Continued after one signal; the others leave the same to the last bit."""
    step = NVAE.training_loss

    def announced(self, data):
        tf.py_function(
            lambda n: os.kill(os.getpid(), number) if n == 4 else None,
            [self.train_steps.value],
            [],
        )
        return step(self, data)

    workdir = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(NVAE, "training_loss", announced)
        result = cli("train", *tiny, f"--workdir={workdir}")
    assert result.code == code
    assert result.err == f"tfgen-train: {word}; run the same command again to continue\n"
    stopped = tensors(workdir)
    assert int(stopped["model/train_steps"]) == 5
    if first_stopped:
        assert_equal(stopped, first_stopped)
        return
    first_stopped.update(stopped)

    result = cli("train", *tiny, f"--workdir={workdir}")
    assert result.code == 0, result.err
    assert "continues at step 5" in result.out
    assert_equal_runs(workdir, trained)


def test_dry_run_prints_one_json_object_and_leaves_nothing(cli, tiny, tmp_path):
    result = cli("train", *tiny, "--dry_run", f"--workdir={tmp_path / 'run'}")
    assert result.code == 0, result.err
    plan = json.loads(result.out)
    assert plan["parameters"] > 1000
    assert plan["groups"] == 1
    assert plan["latent_dims"] == 8 * 8 * 2
    assert plan["memory_estimate_gib"] > 0
    assert plan["memory_estimate_method"]
    assert plan["devices"]
    assert plan["threads_per_operation"] >= 1
    assert plan["total_steps"] == 6
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("recipe", "shared"), [("nvae", [()]), ("ood", [])])
def test_cores_are_shared_where_operations_are_small(cli, root, monkeypatch, recipe, shared):
    asked = []
    monkeypatch.setattr(cores, "share_cores", lambda *threads: asked.append(threads))
    config = f"--config={root / 'configs' / recipe / 'digits.py'}:runlocal"
    assert cli("train", config, "--dry_run").code == 0
    assert asked == shared


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("--config.model.num_chanels=3", ("'num_chanels'", "'num_channels'")),
        ("--config.training.epoch=3", ("'epoch'", "'epochs'")),
        ("--config.data.batch_size=0", ("config.data.batch_size is 0",)),
        ("--config.data.name=digit", ("'digit'", "'digits'")),
        ("--config.model.image_shape=(12, 12, 1)", ("image_shape", "(12, 12, 1)")),
        ("--config.model.num_scales=8", ("must divide",)),
        ("--config.model.num_groups=10000000", ("cells; expected at most",)),
        ("--config.model.num_scales=10000000", ("cells; expected at most",)),
        ("--config.model.decoder=gauss", ("'gauss'", "bernoulli")),
        ("--config.optimizer.name=sdg", ("'sdg'", "adamax")),
        ("--config.optimizer.warmup_epochs=50", ("warm",)),
        ("--strategy=mirorred", ("'mirorred'", "mirrored")),
    ],
)
def test_a_wrong_field_is_named(cli, tiny, tmp_path, override, words):
    result = cli("train", *tiny, override, f"--workdir={tmp_path / 'run'}")
    line = result.mistake()
    assert all(word in line for word in words), line
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_missing_flags_are_named(cli, tiny):
    assert "--config is missing" in cli("train").mistake()
    assert "--workdir is missing" in cli("train", *tiny).mistake()


def test_another_model_in_the_same_workdir_is_refused(cli, tiny, trained):
    before = (trained / "config.json").read_text()
    result = cli("train", *tiny, "--config.model.num_channels=8", f"--workdir={trained}")
    assert "model.num_channels: 4 -> 8" in result.mistake()
    assert (trained / "config.json").read_text() == before


def test_a_workdir_that_cannot_be_written_is_named(cli, tiny, tmp_path):
    (tmp_path / "file").write_text("in the way")
    result = cli("train", *tiny, f"--workdir={tmp_path / 'file' / 'run'}")
    assert "file" in result.mistake()
    assert (tmp_path / "file").read_text() == "in the way"


def damaged_copy(trained, tmp_path, names):
    """A copy of a run with a flipped bit in the named checkpoints (0: oldest)."""
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    files = sorted((workdir / "checkpoints").glob("*.safetensors"))
    for index in names:
        content = bytearray(files[index].read_bytes())
        content[len(content) // 2] ^= 1
        files[index].write_bytes(content)
    return workdir


def test_a_corrupt_checkpoint_falls_back_to_the_one_before(cli, tiny, trained, tmp_path):
    workdir = damaged_copy(trained, tmp_path, [1])
    result = cli("train", *tiny, f"--workdir={workdir}")
    assert result.code == 0, result.err
    assert "warning" in result.err
    assert "checkpoint-00000006" in result.err
    assert "continues at step 3" in result.out
    assert_equal_runs(workdir, trained)


def test_only_corrupt_checkpoints_end_the_run_untouched(cli, tiny, trained, tmp_path):
    workdir = damaged_copy(trained, tmp_path, [0, 1])
    before = {p: p.read_bytes() for p in (workdir / "checkpoints").iterdir()}
    result = cli("train", *tiny, f"--workdir={workdir}")
    assert result.code == 2
    assert "corrupt" in result.err.splitlines()[-1]
    assert {p: p.read_bytes() for p in (workdir / "checkpoints").iterdir()} == before


def test_a_checkpoint_of_another_architecture_is_refused(cli, tiny, trained, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    config = json.loads((workdir / "config.json").read_text())
    config["model"]["num_channels"] = 8
    (workdir / "config.json").write_text(json.dumps(config))
    result = cli("train", *tiny, "--config.model.num_channels=8", f"--workdir={workdir}")
    assert "belongs to another model" in result.mistake()


def test_a_loss_that_becomes_nan_stops_with_the_steps(cli, tiny, tmp_path, monkeypatch):
    loss = NVAE.training_loss

    @tf.autograph.experimental.do_not_convert
    def poisoned(self, data):
        output = loss(self, data)
        poison = tf.where(self.train_steps.value >= 4, np.nan, output.loss)
        return output._replace(loss=poison)

    monkeypatch.setattr(NVAE, "training_loss", poisoned)
    result = cli(
        "train", *tiny, "--config.training.max_consecutive_skips=2", f"--workdir={tmp_path / 'run'}"
    )
    assert "steps 4 to 5" in result.mistake()
    assert int(tensors(tmp_path / "run")["model/train_steps"]) == 3


def test_fromage_trains_on_batches_of_one(cli, tiny, tmp_path):
    result = cli(
        "train",
        *tiny,
        "--config.optimizer.name=fromage",
        "--config.data.batch_size=1",
        "--config.training.epochs=1",
        "--config.training.steps_per_epoch=2",
        "--config.optimizer.warmup_epochs=0",
        f"--workdir={tmp_path / 'run'}",
    )
    assert result.code == 0, result.err
    assert "steps with fromage" in result.out
    assert "trained 2 of 2 steps" in result.out


def test_executions_of_several_steps_train_exactly_what_was_asked(cli, tiny, tmp_path):
    options = [*tiny, "--config.training.steps_per_epoch=6", "--config.training.epochs=1"]
    workdir = f"--workdir={tmp_path / 'run'}"
    line = cli("train", *options, "--config.training.steps_per_execution=4", workdir).mistake()
    assert "config.training.steps_per_execution is 4, but an epoch has 6 steps" in line
    assert "such as 3" in line
    result = cli("train", *options, "--config.training.steps_per_execution=3", workdir)
    assert "trained 6 of 6 steps" in result.out, result.err
    assert int(tensors(tmp_path / "run")["model/train_steps"]) == 6


def test_a_run_that_is_out_of_time_says_so_and_goes_on(cli, tiny, tmp_path):
    options = [*tiny, "--config.training.steps_per_epoch=2", "--config.training.epochs=2"]
    options += ["--config.training.max_minutes=1e-9", f"--workdir={tmp_path / 'run'}"]
    assert "trained 2 of 4 steps; config.training.max_minutes is over" in cli("train", *options).out
    assert "trained 4 of 4 steps\n" in cli("train", *options).out


def test_any_field_of_a_recipe_can_be_set_back(cli, digits_config):
    unset = ("--config.training.steps_per_epoch=None", "--config.training.max_minutes=None")
    result = cli("train", digits_config, *unset, "--dry_run")
    assert result.code == 0, result.err
    assert json.loads(result.out)["steps_per_epoch"] == 23  # of all 1,500 images
    line = cli("train", digits_config, "--config.training.epochs=None", "--dry_run").mistake()
    assert "config.training.epochs is None; expected a whole number" in line


def test_a_second_training_in_the_same_folder_is_refused(cli, tiny, trained):
    before = tensors(trained)
    with Workdir(trained).claimed():
        line = cli("train", *tiny, f"--workdir={trained}").mistake()
    assert f"{trained} is in use by " in line
    assert f"process {os.getpid()} on " in line
    assert all(np.array_equal(value, before[name]) for name, value in tensors(trained).items())


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        ("inf", "config.optimizer.learning_rate is inf; expected a finite number"),
        pytest.param("1e38", "not finite", marks=pytest.mark.slow),
        pytest.param("1e12", "not finite in steps", marks=pytest.mark.slow),
    ],
)
def test_a_learning_rate_beyond_all_bounds_ends_in_an_error(cli, tiny, tmp_path, rate, words):
    workdir = tmp_path / "run"
    flags = (
        f"--config.optimizer.learning_rate={rate}",
        "--config.optimizer.warmup_epochs=0",
        "--config.optimizer.ema_momentum=None",
        f"--workdir={workdir}",
    )
    result = cli("train", *tiny, *flags)
    assert result.code == 2, result
    assert "trained" not in result.out
    assert words in result.err.splitlines()[-1]
    for path in workdir.glob("checkpoints/*"):
        for name, tensor in read_tensors(path)[0].items():
            assert np.all(np.isfinite(tensor)) or not name.startswith("model/"), name
    # Nor does the same command again call it a success.
    assert rate == "inf" or cli("train", *tiny, *flags).code == 2


def test_a_workdir_removed_meanwhile_is_an_error(cli, tiny, tmp_path, monkeypatch):
    workdir = tmp_path / "run"
    step = NVAE.training_loss

    @tf.autograph.experimental.do_not_convert  # or all it calls is
    def removing(self, data):
        tf.py_function(
            lambda n: shutil.rmtree(workdir) if n == 4 else None, [self.train_steps.value], []
        )
        return step(self, data)

    monkeypatch.setattr(NVAE, "training_loss", removing)
    flags = ("--config.training.report_steps=50", f"--workdir={workdir}")
    assert "was removed" in cli("train", *tiny, *flags).mistake()
    assert not (workdir / "checkpoints").exists()
