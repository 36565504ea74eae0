"""The study of detectors: rows that are kept, tables over seeds, a picture; and a whole run."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from scripts import script

from tfgen.errors import ConfigError

SETTINGS = {"recipe": "r.py", "in": "d (2x2x1): all 9", "others": {"a": 5, "b": 7}, "corrupted": 4}


@pytest.fixture(scope="module")
def report(root):
    with script(root / "tools" / "studies" / "ood_report.py") as module:
        yield module


def row(mode, seed, a, b, **more):
    scores = {"x": {"a": {"auroc": a}, "b": {"auroc": b}}}
    return {"mode": mode, "seed": seed, "served": "x", "scores": scores, **more}


@pytest.fixture
def study(report, tmp_path):
    found = report.Study.of(tmp_path / "study", SETTINGS)
    numbers = dict(auroc_clean=0.9, auroc=0.8, reject_rate=0.3, accuracy_clean=0.7, accuracy=None)
    found.add("m-0", row("m", 0, 0.9, 0.5, accuracy=0.7, robustness={"x": numbers}))
    found.add("m-1", row("m", 1, 0.8, 0.7, accuracy=0.8, robustness={"x": numbers}))
    found.add("plain-0", row("plain", 0, 0.25, 0.75))
    return found


def test_means_and_deviations_over_seeds(report, study):
    found = report.areas(study)["m", "x"]
    both = np.array([[0.9, 0.5], [0.8, 0.7]])
    for name, values in (("a", both[:, 0]), ("b", both[:, 1]), ("mean", both.mean(1))):
        np.testing.assert_allclose(found[name][:2], [values.mean(), values.std(ddof=1)])
    single = report.areas(study)["plain", "x"]["mean"]
    assert (single.mean, single.count) == (0.5, 1)
    assert np.isnan(single.sd)


def test_classes_of_one_seed_count_as_one_training(report, tmp_path):
    found = report.Study.of(tmp_path / "classes", SETTINGS)
    for seed, normal, a in ((0, 0, 0.5), (0, 1, 0.9), (1, 0, 0.6), (1, 1, 1.0)):
        found.add(f"m-class{normal}-{seed}", row("m", seed, a, 0.5))
    cell = report.areas(found)["m", "x"]["a"]
    np.testing.assert_allclose(cell, [0.75, np.std([0.7, 0.8], ddof=1), 2])


def test_tables_say_how_many_trainings(report, study):
    text = report.text(study)
    assert "| m | x (served) | 85.0 ± 7.1 | 60.0 ± 14.1 | 72.5 ± 3.5 |" in text
    assert "| plain | x (served) | 25.0 | 75.0 | 50.0 |" in text
    assert "Accuracy of m: 75.0 ± 7.1, 2 trainings." in text
    assert "| m | x | 90.0 ± 0.0 | 80.0 ± 0.0 | 30.0 ± 0.0 | 70.0 ± 0.0 | - |" in text
    assert report.line(study.rows["m-0"]) == "AUROC in % of 'x': a 90.00, b 50.00, accuracy 70.00%"


def test_rows_are_on_the_disk_at_once(report, study):
    again = report.Study.of(study.folder, SETTINGS)
    assert again.rows == study.rows
    paths = study.write()
    assert [path.name for path in paths] == ["study.json", "study.md", "study.png"]
    assert paths[2].read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match="holds a study of other settings"):
        report.Study.of(study.folder, {**SETTINGS, "corrupted": 5})


def run(root, folder, *arguments):
    command = [
        sys.executable,
        str(root / "tools" / "studies" / "ood.py"),
        f"--recipe={root / 'configs' / 'ood' / 'digits.py'}",
        *arguments,
    ]
    environment = {**os.environ, "PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        command,
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@pytest.mark.slow
def test_a_whole_study_of_digits_goes_on_where_it_was(root, tmp_path):
    arguments = ["--modes=runlocal,plain_runlocal", "--num_images=30", "--output=found"]
    first = run(root, tmp_path, *arguments, "--seeds=0", "--corrupted=3")
    assert first.returncode == 0, first.stderr
    kept = json.loads((tmp_path / "found" / "study.json").read_text())["rows"]
    assert list(kept) == ["runlocal-0", "plain_runlocal-0"]
    assert {"main", "ssl", "combined", "msp", "mahalanobis"} <= set(kept["runlocal-0"]["scores"])
    second = run(root, tmp_path, *arguments, "--seeds=0,1", "--corrupted=3")
    assert second.returncode == 0, second.stderr
    rows = json.loads((tmp_path / "found" / "study.json").read_text())["rows"]
    assert [rows[name] for name in kept] == list(kept.values())
    assert "2 trainings" in (tmp_path / "found" / "study.md").read_text()
    for wrong, words in (
        ("--tasks=flip", "'flip' is none of the recipe's, rotation, translation"),
        ("--classes=1", "the mode 'runlocal' is not of one class"),
        ("--seeds=x", "seeds"),
        ("--modes=best", "mode 'best' is none of"),
        ("--recipe=none.py", "there is no file"),
        ("--corrupted=0", "a study of other settings"),
    ):
        refused = run(root, tmp_path, *arguments, wrong)
        assert refused.returncode == 2, wrong
        assert words in refused.stderr.splitlines()[-1]
        assert "Traceback" not in refused.stderr
