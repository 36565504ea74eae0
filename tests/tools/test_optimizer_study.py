"""The optimizer study: its networks and data, and the tool from a configuration to a report."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from scripts import script

CONFIG = """
from ml_collections import config_dict


def get_config(mode=""):
    config = config_dict.ConfigDict()
    config.model = dict(name="mlp", width=8, depths=(1, 2))
    config.data = dict(name="mnist", batch_size=4, num_images=config_dict.placeholder(int))
    config.optimizer = dict(
        fromage=dict(learning_rates=(0.1, 0.01) if mode else (0.1,)),
        adam=dict(learning_rates=(1e38,)),
    )
    config.training = dict(
        epochs=2, steps_per_epoch=3, decay=0.5, steps_per_execution=3, jit_compile=False, seed=0
    )
    config.evaluation = dict(split="test", batch_size=10)
    return config
"""


# The exit codes of several command lines, of which each would import TensorFlow for itself.
COMMANDS = """
import json, sys
sys.path.insert(0, sys.argv[1])
import optimizer_study
from absl.testing import flagsaver
from tfgen.bin import app
codes = []
for flags in json.loads(sys.argv[2]):
    sys.argv = ["optimizer_study", *flags]
    with flagsaver.flagsaver():
        rest = app.parse("optimizer_study", sys.argv)
        codes.append(app.execute("optimizer_study", optimizer_study.main, rest))
print(codes)
"""


@pytest.fixture(scope="module")
def tasks(root):
    with script(root / "tools" / "studies" / "tasks.py") as module:
        yield module


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 30), ("test", 25)):
        arrays[f"x_{split}"] = rng.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"y_{split}"] = np.arange(count, dtype=np.uint8) % 10
    np.savez(tmp_path / "mnist.npz", **arrays)
    (tmp_path / "letters.txt").write_text("abcde" * 40)
    return tmp_path


def python(root, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.mark.slow
def test_runs_once_and_goes_on(root, folder):
    (folder / "config.py").write_text(CONFIG)
    workdir, tools = folder / "run", root / "tools" / "studies"
    flags = [f"--data_dir={folder}", f"--workdir={workdir}"]
    config = f"--config={folder / 'config.py'}"
    first = python(root, tools / "optimizer_study.py", config, *flags)
    assert first.returncode == 0, first.stderr
    results = json.loads((workdir / "metrics.json").read_text())
    assert set(results) == {
        f"{run} depth {d}" for run in ("fromage 0.1", "adam 1e+38") for d in (1, 2)
    }
    run = results["fromage 0.1 depth 2"]
    assert len(run["loss"]) == len(run["accuracy"]) == 2
    assert 0.0 <= run["test_accuracy"] <= 1.0
    # A run that diverged is reported as what it is.
    assert results["adam 1e+38 depth 1"]["loss"][-1] is None
    assert "nan" in (workdir / "report.md").read_text()
    assert (workdir / "curves.png").stat().st_size > 5_000

    # Another rate is added; what is done stays as it is. Another study is refused.
    commands = [[f"{config}:more", *flags], [config, *flags, "--config.training.epochs=3"]]
    later = python(root, "-c", COMMANDS, tools, json.dumps(commands))
    assert later.stdout.splitlines()[-1] == "[0, 2]", later.stderr
    assert "holds another study (training.epochs: 2 -> 3)" in later.stderr
    extended = json.loads((workdir / "metrics.json").read_text())
    assert set(extended) - set(results) == {"fromage 0.01 depth 1", "fromage 0.01 depth 2"}
    assert {name: extended[name] for name in results} == results


def test_runs_of_other_types_are_left_out_and_said(root):
    run = {"loss": [1.0, None], "accuracy": [0.5, 0.6], "test_loss": None, "test_accuracy": 0.1}
    run["seconds"] = 3
    damaged = [{**run, "loss": "low"}, {**run, "accuracy": []}, {**run, "seconds": [3]}, {}]
    found = {f"run {index}": values for index, values in enumerate([run, *damaged])}
    words = "'run [1-4]' is left out of the report"
    with (
        script(root / "tools" / "studies" / "report.py") as report,
        pytest.warns(UserWarning, match=words),
    ):
        assert report.readable(found) == {"run 0": run}


def test_examples_are_the_same_for_every_run(tasks, folder):
    section = {"name": "mnist", "batch_size": 8, "num_images": 20}
    examples = tasks.load_examples(section, {}, "train", str(folder))
    assert examples.num == 20
    first, again = (list(examples.dataset(8, 5, seed=3).as_numpy_iterator()) for _ in range(2))
    assert len(first) == 5
    assert first[0][0].shape == (8, 28, 28, 1)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
    # 40 draws are two passes over the 20 images.
    drawn = np.concatenate([x for x, _ in first]).reshape(40, -1)
    np.testing.assert_array_equal(np.unique(drawn, axis=0, return_counts=True)[1], np.full(20, 2))
    pixels = np.load(folder / "mnist.npz")["x_test"][0] / 255.0
    images, _ = next(iter(tasks.load_examples(section, {}, "test", str(folder)).in_order(5)))
    np.testing.assert_allclose(images[0, ..., 0], (pixels - 0.1307) / 0.3081, atol=1e-5)


def test_text_is_cut_into_windows(tasks, folder):
    section, model = {"name": "text:letters.txt"}, {"context": 5}
    train = tasks.load_examples(section, model, "train", str(folder))
    letters, following = next(iter(train.in_order(2)))
    np.testing.assert_array_equal(letters, [[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]])
    np.testing.assert_array_equal(following, [[1, 2, 3, 4, 0], [2, 3, 4, 0, 1]])
    assert train.num == 174
    test = tasks.load_examples(section, model, "test", str(folder))
    assert sum(len(x) for x, _ in test.in_order(2)) == 2  # of 20 letters, without overlap


def test_networks(tasks):
    keras.utils.set_random_seed(0)
    network = tasks.build_model({"name": "mlp", "depths": [3], "width": 784}, 3)
    assert [w.shape for w in network.weights[::2]] == 3 * [(784, 784)] + [(784, 10)]
    for weight in network.weights:
        limit = 784**-0.5
        assert 0.7 * limit < np.max(np.abs(weight.numpy())) <= limit
    assert tasks.cnn(width=4).output_shape == (None, 10)
    letters = tasks.transformer(width=8, num_heads=2, context=6, num_letters=9)
    x = np.arange(6)[None] % 9
    logits = letters(x).numpy()
    x[0, -1] = 0  # the last letter changes no prediction before it
    np.testing.assert_allclose(letters(x).numpy()[:, :-1], logits[:, :-1], atol=1e-5)
    assert np.any(letters(x).numpy()[:, -1] != logits[:, -1])
    with pytest.raises(tasks.ConfigError, match="expected one of"):
        tasks.build_model({"name": "rnn", "depths": [1]}, 1)
    with pytest.raises(tasks.ConfigError, match="does not make a network"):
        tasks.build_model({"name": "mlp", "depths": [1], "wide": 3}, 1)
