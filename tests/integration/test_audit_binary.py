"""`tfgen-audit` from its configuration to its report."""

import contextlib
import io
import json
import shutil

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


@pytest.fixture(scope="module")
def audit(exit_code, config, tmp_path_factory):
    """The workdir of a finished audit, which no test changes, and what was said."""
    folder = tmp_path_factory.mktemp("audit") / "run"
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert exit_code("audit", config, *TINY, f"--workdir={folder}") == 0
    return folder, said.getvalue()


@pytest.fixture(scope="module")
def audited(audit):
    """The workdir alone."""
    return audit[0]


def test_writes_a_report(cli, config, audit, tmp_path):
    folder, said = audit
    assert "PSNR" in said
    names = {p.name for p in folder.iterdir()}
    assert {"audit.html", "audit.json", "reconstructions.npz", "config.json"} <= names
    report = json.loads((folder / "audit.json").read_text())
    assert {c["defence"] for c in report["cells"]} >= {"none"}
    again = cli("audit", config, *TINY, f"--workdir={tmp_path / 'run'}")
    assert again.code == 0
    repeated = json.loads((tmp_path / "run" / "audit.json").read_text())
    assert [r["psnr_db"] for r in repeated["images"]] == [r["psnr_db"] for r in report["images"]]


@pytest.mark.slow
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
    data = [] if name == "digits" else [f"--data_dir={data_dir}"]
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


def everything(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class TestWorkdir:
    """An audit changes no folder that is not its own, and a refused one changes nothing."""

    def test_of_a_trained_model(self, cli, config, tiny, trained, tmp_path):
        folder = tmp_path / "run"
        shutil.copytree(trained, folder)
        before = everything(folder)
        said = cli("audit", config, *TINY, f"--workdir={folder}").mistake()
        assert "a run of another kind (training, not audit)" in said
        assert everything(folder) == before
        again = cli("train", *tiny, f"--workdir={folder}")
        assert again.code == 0, again.err

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ("--config.audit.seed=1", "audit.seed: 0 -> 1"),
            ("--config.threat_model.labels=known", "threat_model.labels"),
            ("--config.attacks.gradinversion.num_steps=5", "attacks.gradinversion"),
            ("--config.defences.privacy.noise_multiplier=2.0", "defences.privacy"),
        ],
    )
    def test_of_another_audit(self, cli, config, audited, change, words):
        before = everything(audited)
        said = cli("audit", config, *TINY, change, f"--workdir={audited}").mistake()
        assert words in said
        assert everything(audited) == before

    def test_a_training_in_the_folder_of_an_audit(self, cli, tiny, audited):
        before = everything(audited)
        said = cli("train", *tiny, f"--workdir={audited}").mistake()
        assert "a run of another kind (audit, not training)" in said
        assert everything(audited) == before

    def test_a_report_without_its_configuration(self, cli, config, audited, tmp_path):
        folder = tmp_path / "run"
        folder.mkdir()
        shutil.copy(audited / "audit.json", folder)
        said = cli("audit", config, *TINY, f"--workdir={folder}").mistake()
        assert "holds audit.json but no config.json" in said
        assert [p.name for p in folder.iterdir()] == ["audit.json"]

    @pytest.mark.parametrize(
        ("flags", "words"),
        [
            (["--config.audit.batch_sizes=(400,)"], "too few for batches of 400"),
            (["--config.data.num_classes=5"], "outside 0..4"),
            (
                [
                    "--config.model.name=batch_norm_cnn",
                    "--config.threat_model.batch_norm_mode=train",
                ],
                "DP-SGD bounds the gradient of every example alone",
            ),
        ],
    )
    def test_what_is_refused_leaves_no_trace(self, cli, config, tmp_path, flags, words):
        folder = tmp_path / "run"
        assert words in cli("audit", config, *TINY, *flags, f"--workdir={folder}").mistake()
        assert not folder.exists()


def test_says_that_the_files_hold_the_images(audit):
    folder, said = audit
    assert "hold the audited images" in said
    # Four steps restore no image, and both labels: that is a finding.
    assert "leaks labels (confidence 9" in said
    assert "The bare gradient, without a defence." in said
    report = json.loads((folder / "audit.json").read_text())
    assert report["audit"]["training"] == {"weights": None, "epochs": 0}
    assert report["audit"]["data"]["name"] == "digits"
    assert report["audit"]["data"]["num_images"] == 297
    assert report["audit"]["data"]["pool_size"] == 16


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


def test_the_positive_control_fails_no_pipeline(cli, config, tmp_path):
    # The bare gradient leaks, as it must; under the noise nothing does.
    found = cli(
        "audit",
        config,
        "--config.attacks.gradinversion.num_steps=150",
        "--config.defences.pruning={'name': 'dp_sgd', 'clip_norm': 1.0, 'noise_multiplier': 5.0}",
        "--fail_on_leak",
        f"--workdir={tmp_path / 'run'}",
    )
    assert "leaks images" in found.out
    assert found.code == 0, found
