"""`tfgen-search`: plans, runs killed at any moment, mistakes in one line."""

import json

import numpy as np
import pytest
import tensorflow as tf
from killing import command, finish

import tfgen
from tfgen.bin.search import summary
from tfgen.search.unas.published import NETWORKS


def test_plans(cli, search_recipe):
    plan = json.loads(cli("search", search_recipe, "--dry_run").out)
    assert plan["factors"] == 8
    assert plan["architectures"] == (2 * 2) ** 4
    assert (plan["images"], plan["validation_images"], plan["total_steps"]) == (144, 16, 4)
    assert plan["criteria"] == ["size"]


def test_mistakes_take_one_line(cli, search_recipe, tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    assert "--config is missing" in cli("search").mistake()
    assert "--workdir is missing" in cli("search", search_recipe).mistake()
    found = cli("search", search_recipe, workdir, "--config.criteria.size.target=3.0")
    assert "no architecture has a size of 3: the smallest is" in found.mistake()
    assert "cuda" in cli("search", search_recipe, workdir, "--config.data.name=cuda").mistake()


def test_what_was_found_in_a_line_each():
    rows = [
        {"genotype": {}, "log_prob": -1.5, "objective": 2.0, "meets_targets": True, "ms": 3.0},
        {"genotype": {}, "log_prob": -1.0, "objective": 1.5, "meets_targets": False, "ms": 9.25},
    ]
    assert list(summary(rows)) == [
        "1. objective 2, log p -1.50, ms 3",
        "2. objective 1.5, log p -1.00, ms 9.25; misses a target",
    ]


def test_networks_have_their_names():
    assert list(NETWORKS) == [
        "unas_cifar10",
        "unas_cifar100",
        "unas_imagenet_46",
        "unas_imagenet_48",
        "unas_proxyless",
        "darts_v2_cifar10",
        "darts_v2_imagenet",
        "proxyless_gpu",
        "supernet_cifar10",
        "supernet_cifar100",
        "supernet_imagenet",
        "supernet_proxyless",
    ]


def test_networks_have_the_sizes_of_the_reference(cli, reference_values):
    values = reference_values("unas_sizes")
    found = json.loads(cli("search", "--list_networks").out)
    expected = dict(zip(map(str, values["supernet_names"]), values["supernet_parameters"]))
    for name, parameters in expected.items():
        assert found[name] == {"parameters": int(parameters), "macs": None}
    assert found["unas_cifar10"]["parameters"] == 3_330_766
    assert found["proxyless_gpu"]["parameters"] == 7_119_848
    assert np.isclose(found["unas_imagenet_48"]["macs"], 595.18e6, rtol=1e-4)


@pytest.mark.slow
def test_a_search_goes_on_and_its_network_trains_evaluates_and_exports(
    cli, root, search_recipe, tmp_path
):
    """As it is used: a search, its recipe through the other programs."""
    folder = tmp_path / "run"
    found = cli("search", search_recipe, f"--workdir={folder}")
    assert found.code == 0, found.err
    assert "1. objective" in found.out
    assert {"normal.png", "reduction.png", "curves.png"} <= {p.name for p in folder.iterdir()}
    again = cli("search", search_recipe, f"--workdir={folder}")
    assert again.code == 0, again.err

    small = ("--config.model.network.num_channels=2", "--config.model.network.num_cells=3")
    trained = tmp_path / "trained"
    options = (*small, "--config.training.epochs=1", "--config.training.steps_per_epoch=2")
    config = f"--config={folder / 'recipe.py'}:runlocal"
    done = cli("train", config, *options, f"--workdir={trained}")
    assert done.code == 0, done.err
    assert cli("evaluate", f"--workdir={trained}").code == 0
    metrics = json.loads((trained / "metrics.json").read_text())
    assert 0.0 <= metrics["test"]["accuracy"] <= 1.0
    done = cli("export", f"--workdir={trained}", "--formats=saved_model,litert_float32,onnx")
    assert done.code == 0, done.err
    reports = json.loads((trained / "metrics.json").read_text())["export"]
    assert set(reports) == {"saved_model", "litert float32", "onnx"}
    for report in reports.values():  # the exporter compared them in their own runtimes
        assert report["max_difference"] <= 1e-4

    presets = tmp_path / "presets"
    finish(root, command("pack", trained, "found", f"--output_dir={presets}"))
    images = np.random.default_rng(0).random((3, 16, 16, 1), np.float32)
    model = tfgen.from_preset(str(presets / "found"))
    served = tf.saved_model.load(str(presets / "found" / "1"))
    found_logits = served.signatures["predict"](images=tf.constant(images))["logits"]
    np.testing.assert_allclose(found_logits, model(images), atol=1e-5)
