"""`tfgen-search`: configurations, whole runs, what they leave behind, what stops them."""

import json
import runpy
import sys

import numpy as np
import pytest
from timers import KnownBackend
from toy_supernet import ToySupernet

from tfgen.errors import ConfigError, DataError, UserError
from tfgen.runs import config as training_config
from tfgen.runs.search_config import complete
from tfgen.runs.searching import Searching
from tfgen.runs.workdir import Workdir
from tfgen.search import latency
from tfgen.search.unas import parts
from tfgen.search.unas.genotypes import GENOTYPES
from tfgen.search.unas.latency import CellSpace
from tfgen.search.unas.pictures import draw_genotype
from tfgen.training import CheckpointManager


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setitem(parts.SUPERNETS, "toy", ToySupernet)


def config(tmp_path, **changes):
    table = {"factors": {"stage": [[5.0, 2.0, 1.0], [4.0, 2.0, 0.5]]}, "constant": 1.0}
    (tmp_path / "ms.json").write_text(json.dumps(table))
    cost = dict(measure=str(tmp_path / "ms.json"), target=6.0, num_fitted=50)
    found = {
        "model": {"supernet": {"name": "toy", "image_shape": [16, 16, 1], "num_classes": 10}},
        "criteria": {"latency": cost},
        "data": dict(name="digits", batch_size=16, num_images=300, flip=True, crop_padding=1),
        "training": dict(
            warmup_epochs=1, epochs=2, steps_per_epoch=4, report_steps=2, num_genotypes=3
        ),
    }
    for section, fields in changes.items():
        found[section] = {**found.get(section, {}), **fields}
    return found


def test_a_run_and_what_it_leaves_behind(tmp_path, capsys):
    workdir = Workdir(tmp_path / "run")
    said = []
    searching = Searching(complete(config(tmp_path)), workdir, report=said.append)
    found = searching.run()
    folder = workdir.path
    assert json.loads((folder / "genotypes.json").read_text()) == {"genotypes": found}
    assert len(found) == 3
    assert [row["meets_targets"] for row in found] == [row["latency"] <= 6.0 for row in found]
    assert found == sorted(found, key=lambda row: (not row["meets_targets"], row["objective"]))
    for name in ("curves.png", "blocks.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    header = (folder / "logs" / "training.csv").read_text().splitlines()[0].split(",")
    assert {"entropy", "gap", "latency", "gradient_variance", "reinforce_variance"} <= set(header)
    assert said[-1].startswith("latency of architectures drawn at random")

    recipe = runpy.run_path(str(folder / "recipe.py"))
    trained = training_config.complete(recipe["get_config"]())
    assert trained["model"]["genotype"] == found[0]["genotype"]

    again = Searching(complete(config(tmp_path)), workdir, report=said.append)
    assert again.run() == found
    with pytest.raises(ConfigError, match=r"criteria\.latency"):
        workdir.compare(complete(config(tmp_path, criteria={})) | {"criteria": {}})
    capsys.readouterr()


def test_batches_are_pairs_and_continue(tmp_path):
    searching = Searching(complete(config(tmp_path)))
    batches = [list(searching.batches(start).take(3 - start)) for start in (0, 1)]
    for one, other in zip(batches[0][1:], batches[1]):
        for name in ("images", "labels", "validation_images", "validation_labels"):
            np.testing.assert_array_equal(one[name], other[name])
    assert len(searching.source) == 270
    assert len(searching.validation) == 30
    plan = searching.plan()
    assert (plan["warmup_steps"], plan["total_steps"]) == (4, 12)
    assert plan["architectures"] == 9.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"epoch": 3}}, "did you mean 'epochs'"),
        ({"training": {"weight_rates": [0.1]}}, "expected the first and the last"),
        ({"data": {"validation": 0.9}}, r"expected it in \(0, 0.5\]"),
        ({"criteria": {"size": {"target": 3.0}}}, "measure among them"),
        ({"criteria": {"size": {"measure": "macs", "threads": 2}}}, "which only a latency needs"),
        ({"criteria": {"size": {"measure": "macs", "targt": 2}}}, "did you mean 'target'"),
        ({"model": {"temprature": 0.4}}, "did you mean 'temperature'"),
        ({"model": {"supernet": None}}, "config.model.supernet is missing"),
        (
            {"criteria": {"size": {"measure": "macs", "target": 3, "form": "hing"}}},
            "is 'hing'; exp",
        ),
        ({"criteria": {"size": {"measure": "macs"}}}, "config.criteria.size has no target"),
        ({"training": {"num_genotypes": 0}}, "training.num_genotypes is 0; expected at least 1"),
        ({"training": {"ema_momentum": 1.5}}, "training.ema_momentum is 1.5; expected"),
        ({"training": {"steps_per_epoch": 0}}, "training.steps_per_epoch is 0; expected at least"),
    ],
)
def test_mistakes_name_their_field(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        complete(config(tmp_path, **changes))


@pytest.mark.parametrize(
    "extra", [{}, {"reference": True}, {"calibrate": 4}], ids=["plain", "reference", "calibrated"]
)
def test_a_latency_is_measured_part_by_part(tmp_path, monkeypatch, extra):
    """Of a network that is larger than the supernet; every part takes as long as its name, and
    whole networks twice as long as their parts."""
    sizes = dict(num_cells=3, num_operations=2, num_nodes=1)
    space = CellSpace((16, 16, 1), num_channels=4, **sizes)
    whole = {
        network.key: sum(2.0 * len(key) for key in network.parts if key != "nothing")
        for network in space.networks(4)
    }
    backend = KnownBackend(lambda key, timer, run: whole.get(key, float(len(key))))
    monkeypatch.setitem(latency.BACKENDS, "keras", lambda **settings: backend)
    supernet = dict(name="cells", image_shape=[16, 16, 1], num_channels=2, **sizes)
    measured = dict(measure="latency", target=1e4, network={"num_channels": 4}, **extra)
    fields = config(tmp_path, model={"supernet": supernet}, criteria={"latency": measured})
    said = []
    searching = Searching(complete(fields), Workdir(tmp_path / "run"), report=said.append)
    choices = {
        key: np.arange(count) % size
        for key, (count, size) in searching.model.supernet.groups.items()
    }
    keys = space.keys(searching.model.supernet.genotype(choices))
    factor = 2.0 if "calibrate" in extra else 1.0
    expected = factor * sum(len(key) for key in keys if key != "nothing")
    assert searching.model.measured(choices)["latency"] == pytest.approx(expected)
    assert (latency.REFERENCE.key in backend.timers[0].runs) == ("reference" in extra)
    assert ("4 whole networks take 2.000 times" in said[-1]) == ("calibrate" in extra)
    kept = tmp_path / "run" / "latency.json"
    measured |= {"backend": "replayed", "table": str(kept)}
    fields = config(tmp_path, model={"supernet": supernet}, criteria={"latency": measured})
    replayed = Searching(complete(fields), report=said.append).model
    assert replayed.measured(choices) == searching.model.measured(choices)


@pytest.mark.parametrize(
    ("extra", "missing", "message"),
    [
        ({"calibrate": 3}, None, "calibrate is 3; expected 0, or at least 4 whole networks"),
        ({"backend": "litert"}, "ai_edge_litert", r"not installed: pip install 'tfgen\[litert\]'$"),
        ({"backend": "onnx"}, "onnxruntime", r"not installed: pip install 'tfgen\[onnx\]'$"),
    ],
)
@pytest.mark.parametrize("describe_only", [False, True], ids=["run", "plan"])
def test_a_latency_that_cannot_be_measured(
    tmp_path, monkeypatch, extra, missing, message, describe_only
):
    """Before anything is measured, and by a plan too."""
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    sizes = dict(num_cells=3, num_operations=2, num_nodes=1)
    supernet = dict(name="cells", image_shape=[16, 16, 1], num_channels=2, **sizes)
    measured = dict(measure="latency", target=1e4, **extra)
    fields = config(tmp_path, model={"supernet": supernet}, criteria={"latency": measured})
    workdir = Workdir(tmp_path / "run")
    with pytest.raises(UserError, match=message):
        Searching(complete(fields), workdir, report=print, describe_only=describe_only)
    assert not (workdir.path / "latency.json").exists()


def test_a_plan_measures_nothing(tmp_path, monkeypatch):
    """It says how many parts would be, and looks whether the table is of the same setting."""
    backend = KnownBackend(lambda key, timer, run: float(len(key)))
    monkeypatch.setitem(latency.BACKENDS, "keras", lambda **settings: backend)
    sizes = dict(num_cells=3, num_operations=2, num_nodes=1)
    supernet = dict(name="cells", image_shape=[16, 16, 1], num_channels=2, **sizes)
    measured = dict(measure="latency", target=1e4, calibrate=4)
    fields = config(tmp_path, model={"supernet": supernet}, criteria={"latency": measured})
    workdir, said = Workdir(tmp_path / "run"), []

    def plan():
        return Searching(complete(fields), workdir, report=said.append, describe_only=True).plan()

    parts = len(CellSpace((16, 16, 1), num_channels=2, **sizes).blocks)
    assert plan()["parts_to_measure"] == {"latency": parts + 4}
    assert not backend.timers
    assert not workdir.path.exists()
    assert not said
    searching = Searching(complete(fields), workdir, report=said.append)
    assert "parts_to_measure" not in searching.plan()
    assert plan()["parts_to_measure"] == {"latency": 0}
    table = json.loads((workdir.path / "latency.json").read_text())
    table["metadata"]["quantile"] = 0.25
    (workdir.path / "latency.json").write_text(json.dumps(table))
    with pytest.raises(
        UserError, match=r"was measured with quantile = 0\.25, and 0\.5 is asked for"
    ):
        plan()


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "imagenet", "imagenet_blocks"])
def test_recipes_are_complete(root, name):
    """Of searches and of what they found, in every mode; the paper's numbers of the latter."""
    for folder, completed in (("unas", complete), ("searched", training_config.complete)):
        recipe = runpy.run_path(str(root / "configs" / folder / f"{name}.py"))
        found = [completed(recipe["get_config"](mode)) for mode in recipe["MODES"]]
    section, of_data = found[0]["model"], found[0]["data"]
    if name.startswith("cifar"):
        assert (section["cutout"], section["auxiliary_weight"]) == (16, 0.4)
        assert (of_data["crop_padding"], of_data["resized_crop"]) == (4, None)
    else:
        assert (section["cutout"], section["label_smoothing"]) == (0, 0.1)
        assert section.get("auxiliary_weight", 0.0) == (0.4 if name == "imagenet" else 0.0)
        assert of_data["batch_size"] == (1024 if name == "imagenet" else 512)
        assert tuple(of_data["colour_jitter"]) == (0.4, 0.4, 0.4, 0.2)


def test_data_that_do_not_fit(tmp_path):
    small = {"supernet": {"name": "toy", "image_shape": [16, 16, 1], "num_classes": 3}}
    with pytest.raises(DataError, match="expected at least 10"):
        Searching(complete(config(tmp_path, model=small)))
    with pytest.raises(DataError, match="30 for validation, fewer than a batch of 64"):
        Searching(complete(config(tmp_path, data={"batch_size": 64})))
    for measure, message in (
        ("none.json", r"none\.json"),
        ("latncy", "one of latency, parameters"),
    ):
        fields = config(tmp_path, criteria={"x": {"measure": measure, "target": 1.0}})
        with pytest.raises(ConfigError, match=message):
            Searching(complete(fields))
    images = np.zeros((40, 16, 16, 1), np.uint8)
    for labels, message in (
        (np.zeros(40, int), "are of class 0"),
        (np.arange(40) % 3 - 1, "-1 on"),
    ):
        np.savez(tmp_path / "odd.npz", x_train=images, y_train=labels)
        data = {"name": f"npz:{tmp_path / 'odd.npz'}", "num_images": None, "batch_size": 2}
        with pytest.raises(DataError, match=message):
            Searching(complete(config(tmp_path, data=data)))


@pytest.mark.slow
def test_a_damaged_newest_save_costs_what_was_in_it(tmp_path):
    """A search falls back on the one before, and ends as it would have."""
    workdir = Workdir(tmp_path / "run")
    found = Searching(complete(config(tmp_path)), workdir, report=lambda line: None).run()
    newest = CheckpointManager(workdir.checkpoints).latest()
    newest.write_bytes(newest.read_bytes()[:-100])
    again = Searching(complete(config(tmp_path)), workdir, report=lambda line: None)
    with pytest.warns(UserWarning, match="Trying the one before it"):
        assert again.run() == found


def test_a_second_search_in_the_same_folder_is_refused(tmp_path):
    workdir = Workdir(tmp_path / "run")
    second = Searching(complete(config(tmp_path)), Workdir(workdir.path), report=lambda line: None)
    with workdir.claimed(), pytest.raises(UserError, match="is in use by"):
        second.run()


def test_pictures_of_published_genotypes(tmp_path):
    for name in ("unas_cifar10", "unas_proxyless"):
        for path in draw_genotype(GENOTYPES[name], tmp_path):
            assert path.read_bytes().startswith(b"\x89PNG")
