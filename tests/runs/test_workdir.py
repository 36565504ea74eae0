"""The folder of one run."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tfgen.errors import ConfigError
from tfgen.files import temporaries
from tfgen.runs.numbers import with_nan
from tfgen.runs.workdir import Workdir

CONFIG = {
    "model": {"name": "nvae", "num_channels": 8, "total_steps": 10},
    "data": {"name": "digits", "batch_size": 4},
    "training": {"epochs": 2, "steps_per_epoch": 5},
}


@pytest.fixture
def workdir(tmp_path):
    workdir = Workdir(tmp_path / "run")
    workdir.write_config(CONFIG)
    return workdir


def test_config_round_trip(workdir):
    assert workdir.read_config() == CONFIG
    assert workdir.compare(CONFIG) == []


def test_a_new_folder_takes_any_config(tmp_path):
    assert Workdir(tmp_path / "new").compare(CONFIG) == []


@pytest.mark.parametrize(
    ("section", "field"), [("model", "num_channels"), ("data", "batch_size"), ("data", "name")]
)
def test_another_model_or_data_is_refused_by_field(workdir, section, field):
    other = {**CONFIG, section: {**CONFIG[section], field: "other"}}
    with pytest.raises(ConfigError, match=rf"{section}\.{field}: .* -> 'other'"):
        workdir.compare(other)
    assert workdir.read_config() == CONFIG


def test_a_longer_run_is_said_and_allowed(workdir):
    longer = {
        **CONFIG,
        "model": {**CONFIG["model"], "total_steps": 20},
        "training": {"epochs": 4, "steps_per_epoch": None},
    }
    assert workdir.compare(longer) == ["training.epochs: 2 -> 4"]


def test_a_folder_without_run_says_so(tmp_path):
    with pytest.raises(ConfigError, match="holds no run"):
        Workdir(tmp_path).read_config()


@pytest.mark.parametrize("text", ["{", "[]", '{"model": 3}', "", "[" * 200_000])
def test_a_broken_config_is_named(workdir, text):
    workdir.config_path.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json"):
        workdir.read_config()


def test_metrics_stand_side_by_side(workdir):
    assert workdir.read_metrics() == {}
    workdir.write_metrics("test", {"nll": 1.0})
    workdir.write_metrics("train", {"nll": 2.0})
    assert json.loads(workdir.metrics_path.read_text()) == {
        "test": {"nll": 1.0},
        "train": {"nll": 2.0},
    }


WRITE = """
import sys
from tfgen.runs.workdir import Workdir
print("ready", flush=True)
for number in range(20):
    Workdir(sys.argv[1]).write_metrics(f"another {number}", {"nll": number})
"""


def test_two_writers_lose_nothing(tmp_path):
    path = tmp_path / "run"
    command = [sys.executable, "-c", WRITE, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "ready\n"
        for number in range(20):
            Workdir(path).write_metrics(f"one {number}", {"nll": number})
    assert other.returncode == 0
    assert len(Workdir(path).read_metrics()) == 40


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"test": 3}', '{"test": {"nll": NaN}}', "\0" * 9, "[" * 200_000]
)
def test_damaged_metrics_are_kept_and_said(workdir, text):
    workdir.metrics_path.write_text(text)
    with pytest.warns(UserWarning, match=r"metrics\.json.*left out"):
        assert workdir.read_metrics() == {}
    assert workdir.metrics_path.read_text() == text
    for kept in ("metrics.json.damaged", "metrics.json.damaged-2"):
        with pytest.warns(UserWarning, match=rf"metrics\.json.*it is kept as {kept}$"):
            workdir.write_metrics("test", {"nll": 1.0})
        assert (workdir.path / kept).read_text() == text
        assert workdir.read_metrics() == {"test": {"nll": 1.0}}
        workdir.metrics_path.write_text(text)


def test_what_is_not_finite_is_null_in_valid_json(workdir):
    workdir.write_metrics("test", {"nll": float("nan"), "rates": [np.float32(np.inf), 1.0]})
    text = workdir.metrics_path.read_text()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found == {"test": {"nll": None, "rates": [None, 1.0]}}
    assert workdir.read_metrics() == found
    again = with_nan(workdir.read_metrics())["test"]
    assert np.isnan([again["nll"], again["rates"][0]]).all()
    workdir.write_metrics("train", {})
    assert json.loads(workdir.metrics_path.read_text())["test"] == found["test"]


def test_a_run_that_was_removed_is_not_begun_anew(workdir):
    shutil.rmtree(workdir.path)
    with pytest.raises(ConfigError, match="was removed"):
        workdir.write_metrics("test", {"nll": 1.0})
    assert not workdir.path.exists()
    other = Workdir(workdir.path)  # for the results of a preset
    other.write_metrics("test", {"nll": 1.0})
    assert other.read_metrics() == {"test": {"nll": 1.0}}


def test_what_dead_processes_left_is_swept_when_the_next_begins(workdir):
    for folder in (workdir.logs, workdir.samples, workdir.exports / "run" / "1", workdir.path):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f".a.{temporaries._machine()}-fffffff-1-5.tmp.png").write_text("x")
    with workdir.claimed():
        pass
    assert not list(workdir.path.rglob(".a.*"))
