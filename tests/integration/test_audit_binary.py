"""`tfgen-audit` from its configuration to its report."""

import json

import pytest

from tfgen.runs.workdir import Workdir

TINY = (
    "--config.attacks.gradinversion.num_steps=4",
    "--config.model.options.width=4",
    "--config.audit.pool_size=16",
)


@pytest.fixture(scope="module")
def config(root) -> str:
    return f"--config={root / 'configs/gradinversion/digits.py'}:runlocal"


def test_writes_a_report(cli, config, tmp_path):
    found = cli("audit", config, *TINY, f"--workdir={tmp_path / 'run'}")
    assert found.code == 0, found.err
    assert "PSNR" in found.out
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert {"audit.html", "audit.json", "reconstructions.npz", "config.json"} <= names
    report = json.loads((tmp_path / "run" / "audit.json").read_text())
    assert {c["defence"] for c in report["cells"]} >= {"none"}
    again = cli("audit", config, *TINY, f"--workdir={tmp_path / 'run'}")
    assert again.code == 0
    repeated = json.loads((tmp_path / "run" / "audit.json").read_text())
    assert [r["psnr_db"] for r in repeated["images"]] == [r["psnr_db"] for r in report["images"]]


def test_trains_first_where_asked_to(cli, config, tmp_path):
    flags = ("--config.model.epochs=3", "--config.audit.utility_steps=2")
    found = cli("audit", config, *TINY, *flags, f"--workdir={tmp_path / 'run'}")
    assert found.code == 0, found.err
    assert "trained 3 epochs on 1,500 images: training accuracy" in found.out
    report = json.loads((tmp_path / "run" / "audit.json").read_text())
    assert all(0 <= entry["accuracy"] <= 1 for entry in report["utility"])
    assert len(report["utility"]) == 3


@pytest.mark.parametrize("name", ["digits", "cifar10", "imagenet"])
def test_plans(cli, root, name, data_dir, need_data):
    recipe = f"--config={root / 'configs/gradinversion' / name}.py"
    data = [f"--data_dir={data_dir}"]
    if name == "imagenet":
        pictures = need_data("natural_224") / "natural_224"
        data += [f"--config.data.name=folder:{pictures}", "--config.data.split=all"]
    elif name == "cifar10":
        need_data("cifar10.npz")
    found = cli("audit", recipe, "--dry_run", *data)
    assert found.code == 0, found.err
    plan = json.loads(found.out)
    assert plan["attacks_in_all"] >= 1
    assert set(plan["threat_model"]) == {
        "batch_norm_mode",
        "batch_norm_statistics",
        "labels",
        "batch_size",
    }
    if name == "imagenet":
        assert plan["parameters"] > 25e6
        assert plan["attacks"]["gradinversion"]["num_steps"] == 20_000


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config.model.nam=x"], "did you mean 'name'"),
        (["--config.threat_model.labels=stolen"], "expected one of 'known'"),
        (["--config.model.weights=nowhere.weights.h5"], "do not fit"),
        (["--config.attacks.gradinversion.noize=0.1"], "did you mean 'noise'"),
        (["--config.defences.privacy.name=dp"], "expected one of none"),
    ],
)
def test_mistakes(cli, config, tmp_path, flags, message):
    assert message in cli("audit", config, f"--workdir={tmp_path}", *flags).mistake()


def test_a_leak_can_fail_a_pipeline(cli, config, tmp_path):
    found = cli(
        "audit",
        config,
        "--config.attacks.gradinversion.num_steps=150",
        "--config.audit.pool_size=256",
        "--fail_on_leak",
        f"--workdir={tmp_path / 'run'}",
    )
    assert found.code == 3, found


def test_a_second_audit_in_the_same_folder_is_refused(cli, config, tmp_path):
    with Workdir(tmp_path / "run").claimed():
        line = cli("audit", config, *TINY, f"--workdir={tmp_path / 'run'}").mistake()
    assert f"{tmp_path / 'run'} is in use by " in line
