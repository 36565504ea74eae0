"""`tfgen-transform`: plans, mistakes in one line, whole runs that are killed at any moment."""

import json
import shutil

import pytest
from killing import command, finish, same_after_kills


@pytest.fixture
def recipe(root):
    return f"--config={root / 'configs/hant/digits.py'}:runlocal"


def test_plans(cli, recipe):
    plan = json.loads(cli("transform", recipe, "--dry_run").out)
    assert [row["layer"] for row in plan["layers"]][:2] == ["block0_add", "block1_project_norm"]
    assert plan["candidates"] == 3
    assert plan["networks"] == 18
    assert plan["trained_here"] is True


def test_mistakes_take_one_line(cli, recipe, tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    assert "--config is missing" in cli("transform").mistake()
    assert "--workdir is missing" in cli("transform", recipe).mistake()
    cut = "--config.pool.boundaries=('stem_conv',)"
    assert (
        "no layers to replace between the boundaries named"
        in cli("transform", recipe, "--dry_run", cut).mistake()
    )
    negative = cli("transform", recipe, workdir, "--config.plan.budget=-1.0")
    assert "config.plan.budget is -1.0; expected above 0" in negative.mistake()


@pytest.mark.slow
def test_a_network_made_fast_is_evaluated_exported_and_packed(cli, recipe, tmp_path):
    """As it is used, int8 included; a budget that cannot be met leaves everything else."""
    workdir, student = f"--workdir={tmp_path / 'run'}", tmp_path / "run" / "student"
    tight = cli("transform", recipe, workdir, "--config.plan.budget=0.01")
    assert "cannot be met: the smallest that this pool makes is" in tight.mistake()
    options = ("--config.plan.name=second", "--config.plan.budget=0.9")
    made = cli("transform", recipe, workdir, *options)
    assert made.code == 0, made.err
    assert "3 layers, 0 candidates to train" in made.out
    assert "student int8: accuracy" in made.out
    student = student.with_name("second")
    assert cli("evaluate", f"--workdir={student}").code == 0
    measured = json.loads((student / "metrics.json").read_text())["test"]["accuracy"]
    report = json.loads((student / "report.json").read_text())
    assert report["networks"]["student"]["accuracy"] == measured
    exported = cli("export", f"--workdir={student}")
    assert exported.code == 0, exported.err
    assert {"second", "second.onnx"} <= {p.name for p in (student / "export").iterdir()}


@pytest.mark.slow
def test_kills(root, recipe, tmp_path):
    """Latencies are of a table: measured ones are never the same twice."""
    first = tmp_path / "first"
    finish(root, command("transform", recipe, f"--workdir={first}"))
    table = tmp_path / "latencies.json"
    shutil.copy(first / "library/latency_litert_float32_1_1.json", table)

    def argv(folder):
        options = (f"--config.latency.table={table}", "--config.teacher.epochs=3")
        return command("transform", recipe, *options, f"--workdir={folder}")

    same_after_kills(root, tmp_path, argv, seed=6)
