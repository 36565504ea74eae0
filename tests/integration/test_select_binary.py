"""`tfgen-select`: what detectors learn from is chosen, written down, and trained by tfgen-train."""

import json

import pytest

from tfgen.ood.selection import Selection
from tfgen.runs.selecting import recipe_of


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "given.py"
    path.write_text(
        """
from tfgen import recipes

def get_config(mode=""):
    config = recipes.ood(mode, "digits", (16, 16, 1), 5, others=("other_classes",))
    config.model.backbone = {"name": "small_cnn", "widths": (4,), "strides": (4,)}
    config.data.batch_size = 32
    config.data.classes = (0, 1, 2, 3, 4)
    return config
"""
    )
    return str(path)


def test_plans_and_mistakes(cli, recipe, digits_config, tmp_path):
    plan = json.loads(cli("selection", f"--config={recipe}", "--dry_run").out)
    assert (plan["images"], plan["labelled"]) == (661, True)  # a tenth is held out
    assert plan["trainings_at_most"] == 7 + 30 + 3 + 1
    flags = (f"--config={recipe}:unlabelled", "--pool=rotation,blur", "--nolearn_weights")
    assert json.loads(cli("selection", *flags, "--dry_run").out)["trainings_at_most"] == 2
    assert "--config is missing" in cli("selection").mistake()
    assert "--workdir is missing" in cli("selection", f"--config={recipe}").mistake()
    workdir = f"--workdir={tmp_path / 'run'}"
    assert "--pool is empty" in cli("selection", f"--config={recipe}", "--pool=").mistake()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("{}")
    found = cli("selection", f"--config={recipe}", f"--workdir={tmp_path / 'other'}")
    assert "results of a run, not a choice of transformations" in found.mistake()
    found = cli("selection", f"--config={recipe}", "--pool=rotations", workdir)
    assert "'rotations'" in found.mistake()
    found = cli("selection", digits_config, workdir)
    assert "config.model.name is 'nvae'; transformations are chosen for" in found.mistake()


def test_what_was_chosen_is_a_recipe():
    chosen = Selection(
        transformations=[{"name": "flip"}],
        ssl_weights={"flip": 2.0},
        supervised_weights={},
        reasons={"ssl flip": "kept: why"},
        difficulties={"flip": {"loss": 0.1, "entropy": 0.7, "difficulty": 0.125}},
        trials=[{"ssl": ["flip"], "supervised": [], "objective": 0.5, "seeds": 2}],
        trajectory=[],
        budget={},
    )
    config = {"model": {"name": "x", "transformations": [], "seed": None}, "data": {"batch": 3}}
    namespace = {}
    exec(recipe_of(config, chosen), namespace)
    assert namespace["get_config"]().to_dict() == {
        "model": {"name": "x", **chosen.options()},
        "data": {"batch": 3},
    }
    table = chosen.table()
    assert "| flip | 0.1250 | 2.000 | - |" in table
    assert "- ssl flip: kept: why" in table
    assert "| flip | nothing | 0.5000 | 2 |" in table


@pytest.mark.slow
def test_a_choice_goes_on_and_its_detector_is_trained(cli, recipe, tmp_path):
    folder = tmp_path / "run"
    flags = (f"--workdir={folder}", "--pool=rotation", "--max_images=600", "--epochs=4")
    found = cli("selection", f"--config={recipe}:unlabelled", *flags)
    assert found.code == 0, found.err
    assert "budget: at most 2 trainings of" in found.out
    assert "chosen: rotation" in found.out
    names = {path.name for path in folder.iterdir()}
    assert {"selection.json", "selection.md", "recipe.py", "weights.png"} <= names
    before = (folder / "selection.json").read_bytes()
    again = cli("selection", f"--config={recipe}:unlabelled", *flags)  # nothing is trained twice
    assert again.code == 0, again.err
    assert (folder / "selection.json").read_bytes() == before

    trained = cli(
        "train",
        f"--config={folder / 'recipe.py'}",
        "--config.training.steps_per_epoch=2",
        "--config.training.epochs=1",
        f"--workdir={tmp_path / 'trained'}",
    )
    assert trained.code == 0, trained.err
    chosen = json.loads(before)
    config = json.loads((tmp_path / "trained" / "config.json").read_text())
    assert config["model"]["ssl_weights"] == chosen["ssl_weights"]
