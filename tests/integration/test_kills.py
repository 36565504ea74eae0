"""SIGKILL and SIGTERM at any moment of any program, see `killing`."""

import itertools

import pytest
from killing import command, same_after_kills

pytestmark = pytest.mark.slow


def test_train(root, tiny, tmp_path):
    """SIGTERM within an epoch saves and reports there: a checkpoint and a row between the others.

    So of the checkpoints the last is the same, and of the rows those of undivided epochs.
    """
    argv = [*tiny, "--config.training.epochs=20", "--config.training.report_steps=3"]
    same_after_kills(
        root,
        tmp_path,
        lambda folder: command("train", *argv, f"--workdir={folder}"),
        seed=1,
        uncompared=["training.csv", *(f"checkpoint-{step:08d}" for step in range(60))],
    )
    check_rows(*(tmp_path / name / "run/logs/training.csv" for name in ("whole", "killed")))


def check_rows(whole, killed):
    expected, found = (path.read_text().splitlines() for path in (whole, killed))
    assert found[0] == expected[0]
    places = {_step(row): place for place, row in enumerate(found)}
    for before, row in itertools.pairwise(expected):
        place = places[_step(row)]
        if _step(found[place - 1]) == _step(before):
            assert found[place] == row


def _step(row):
    return row.partition(",")[0]


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("evaluate", ["--num_importance_samples=20"]),
        ("sample", ["--individual", "--num_images=300", "--batch_size=32"]),
        ("sample", ["--num_images=100"]),
        ("detect", ["--num_images=64"]),
    ],
)
def test_use(root, trained, tmp_path, name, flags):
    same_after_kills(
        root,
        tmp_path,
        lambda folder: command(name, f"--workdir={folder}", *flags),
        seed=2,
        prepared=trained,
    )


def test_export(root, trained, tmp_path):
    flags = ["--formats=saved_model,litert_float32", "--name=digits", "--overwrite"]
    same_after_kills(
        root,
        tmp_path,
        lambda folder: command("export", f"--workdir={folder}", *flags),
        seed=3,
        prepared=trained,
    )


def test_pack(root, trained, tmp_path):
    def argv(folder):
        flags = [f"--output_dir={folder.parent / 'presets'}", "--overwrite"]
        return command("pack", trained, "digits", *flags)

    same_after_kills(root, tmp_path, argv, seed=4)


def test_audit(root, tmp_path):
    flags = [
        f"--config={root / 'configs/gradinversion/digits.py'}:runlocal",
        "--config.attacks.gradinversion.num_steps=40",
        "--config.model.options.width=4",
        "--config.audit.pool_size=16",
    ]
    same_after_kills(
        root, tmp_path, lambda folder: command("audit", *flags, f"--workdir={folder}"), seed=5
    )


def test_search(root, search_recipe, tmp_path):
    """In the warm-up, in the search or in what follows it.

    How often it saves depends on how long that takes: only the last of its saves is the same.
    Rows are means over an epoch, or over what of it was left to a process: their steps agree.
    """
    flags = [search_recipe, "--config.training.steps_per_epoch=12"]
    same_after_kills(
        root,
        tmp_path,
        lambda folder: command("search", *flags, f"--workdir={folder}"),
        seed=6,
        uncompared=["training.csv", "curves.png", *(f"-{step:08d}" for step in range(24))],
    )
    rows = [
        (tmp_path / name / "run/logs/training.csv").read_text().splitlines()
        for name in ("whole", "killed")
    ]
    assert [_step(row) for row in rows[0]] == [_step(row) for row in rows[1]]
