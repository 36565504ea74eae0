"""tfgen-evaluate, tfgen-sample and tfgen-export on a run, and what mistakes get."""

import contextlib
import csv
import io
import json
import re
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfgen import cores, data, from_preset
from tfgen.export import FORMATS
from tfgen.files.tensor_file import read_tensors, write_tensors
from tfgen.generative import seeds_for
from tfgen.metrics import Moments, frechet_distance


def picture(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def run_copy(trained, tmp_path_factory):
    """A workdir of this module's own."""
    workdir = tmp_path_factory.mktemp("runs") / "digits"
    shutil.copytree(trained, workdir)
    return workdir


@pytest.fixture(scope="module")
def evaluated(exit_code, trained, tmp_path_factory):
    """The workdir of an evaluation, which no test changes, and what was said."""
    folder = tmp_path_factory.mktemp("runs") / "evaluated"
    shutil.copytree(trained, folder)
    (folder / "metrics.json").unlink(missing_ok=True)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert exit_code("evaluate", f"--workdir={folder}", "--temperatures=0.7,1") == 0
    return folder, said.getvalue()


def test_evaluate_writes_numbers_and_pictures(evaluated):
    folder, said = evaluated
    assert "NLL" in said
    assert "+-" in said
    metrics = json.loads((folder / "metrics.json").read_text())["test"]
    assert metrics["num_images"] == 24
    assert metrics["images"] == "a random 24 of 297 test images (seed 0)"
    assert "scoring digits: a random 24 of 297 test images (seed 0)\n" in said
    assert metrics["num_importance_samples"] == 3
    assert metrics["nll"] <= metrics["nelbo"] + 1e-3
    assert 0 < metrics["nll_standard_error"] < metrics["nll"]
    bits = metrics["nll"] / (16 * 16 * np.log(2))
    np.testing.assert_allclose(metrics["bits_per_dim"], bits, rtol=1e-6)
    # The same posterior samples give both; batches differ, so not to the last bit.
    assert len(metrics["kl_per_group"]) == 1
    assert metrics["latent_channels"] == 2
    assert 0 <= metrics["active_units"] <= 2
    for name in (
        "samples_temperature_0.7",
        "samples_temperature_1",
        "reconstructions",
        "interpolations",
        "kl_per_group",
    ):
        assert picture(folder / "samples" / f"{name}.png").std() > 1


def test_evaluating_again_gives_the_same_numbers_whatever_the_batch(cli, evaluated, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(evaluated[0], folder)
    (folder / "metrics.json").unlink()
    result = cli("evaluate", f"--workdir={folder}", "--batch_size=7", "--nopictures")
    assert result.code == 0, result.err
    found = [
        json.loads((run / "metrics.json").read_text())["test"] for run in (evaluated[0], folder)
    ]
    for name in ("nll", "nelbo", "kl"):
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=1e-5)
    np.testing.assert_allclose(found[0]["kl_per_group"], found[1]["kl_per_group"], rtol=1e-4)


@pytest.fixture
def feature_model(tmp_path):
    """A file with a network that maps digits to eight features."""
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Input((16, 16, 1)),
        keras.layers.Conv2D(8, 5, 3, activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
    ]
    path = tmp_path / "features.keras"
    keras.Sequential(layers, name="features").save(path)
    return path


def test_samples_are_compared_with_real_images(cli, run_copy, feature_model):
    flags = (f"--extractor={feature_model}", "--num_samples=60", "--nopictures")
    result = cli("evaluate", f"--workdir={run_copy}", "--num_images=8", *flags)
    assert result.code == 0, result.err
    assert "FID" in result.out
    metrics = json.loads((run_copy / "metrics.json").read_text())["test"]["sample_quality"]
    # The same numbers from the parts: grey digits, decoder means, binarised digits encoded.
    generator = from_preset(run_copy).frozen()
    source = data.load("digits", split="train").take(60, seed=0)
    images = next(iter(data.Pipeline(source, 60, training=False).dataset()))["images"]
    binary = tf.cast(images > 0.5, tf.float32)
    model = keras.saving.load_model(feature_model)

    def distance(others):
        moments = [Moments.of(model(x).numpy()) for x in (images, others)]
        return frechet_distance(*moments)

    samples = generator.sample(60, seed=0)
    np.testing.assert_allclose(metrics["fid"], distance(samples), rtol=1e-2)
    rebuilt = generator.reconstruct(binary, seeds_for(60, 0))
    np.testing.assert_allclose(metrics["reconstruction_fid"], distance(rebuilt), rtol=1e-2)
    assert metrics["num_fake"] == metrics["num_real"] == 60
    assert metrics["reference"] == "digits: a random 60 of 1,500 train images (seed 0)"
    assert metrics["reference"] in result.out
    assert metrics["extractor"].startswith("features#")


def test_an_extractor_that_is_no_model_is_named(cli, run_copy, tmp_path):
    (tmp_path / "broken.keras").write_text("not a model")
    for name, words in (
        ("broken.keras", "broken.keras is no Keras model"),
        ("missing.keras", "missing.keras is no Keras model"),
        ("missing.h5", "missing.h5 do not exist"),
    ):
        flags = (f"--extractor={tmp_path / name}", "--num_samples=8")
        result = cli("evaluate", f"--workdir={run_copy}", *flags)
        assert words in result.mistake()


def test_evaluate_another_split(cli, run_copy):
    result = cli(
        "evaluate", f"--workdir={run_copy}", "--split=train", "--num_images=8", "--nopictures"
    )
    assert result.code == 0, result.err
    metrics = json.loads((run_copy / "metrics.json").read_text())
    assert metrics["train"]["num_images"] == 8
    assert metrics["train"]["images"] == "a random 8 of 1,500 train images (seed 0)"


def test_samples_depend_on_seed_and_index_only(cli, run_copy, tmp_path):
    for name, count, batch in (("a", 5, 64), ("b", 3, 2)):
        result = cli(
            "sample",
            f"--workdir={run_copy}",
            f"--num_images={count}",
            f"--batch_size={batch}",
            "--seed=3",
            "--individual",
            f"--output={tmp_path / name}",
        )
        assert result.code == 0, result.err
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [f"{k}.png" for k in range(5)]
    for k in range(3):
        a, b = (picture(tmp_path / name / f"{k}.png") for name in "ab")
        assert a.shape == (16, 16)
        assert np.abs(a.astype(int) - b).max() <= 1  # rounding to 8 bits


def test_batches_are_computed_in_parts_where_there_are_cores(cli, run_copy, monkeypatch):
    """One thread an operation is asked for before the weights are, and parts make the same."""
    first, asked = run_copy / "whole.png", []
    flags = [f"--workdir={run_copy}", "--num_images=5"]
    assert cli("sample", *flags, f"--output={first}").code == 0
    monkeypatch.setattr(cores, "share_cores", asked.append)
    monkeypatch.setattr(cores, "parts_at_once", lambda: 2)
    assert cli("sample", *flags, f"--output={run_copy / 'parts.png'}").code == 0
    assert asked == [1]
    assert (run_copy / "parts.png").read_bytes() == first.read_bytes()
    assert cli("evaluate", *flags, "--nopictures", "--num_importance_samples=1").code == 0
    assert asked == [1, 1]


def test_sample_grid(cli, run_copy):
    result = cli("sample", f"--workdir={run_copy}", "--num_images=6", "--columns=3")
    assert result.code == 0, result.err
    grid = picture(run_copy / "samples" / "seed_0_temperature_1.png")
    assert grid.shape == (2 * 48 + 2, 3 * 48 + 4, 3)


def test_export_refuses_what_exists_and_replaces_when_told(cli, run_copy):
    result = cli("export", f"--workdir={run_copy}", "--name=digits")
    assert result.code == 0, result.err
    folder = run_copy / "export"
    lines = result.out.splitlines()
    assert len(lines) == 2 * len(FORMATS)  # each announced, then reported
    assert all(line.endswith("comparing ...") for line in lines[::2])
    served = tf.saved_model.load(str(folder / "digits" / "1"))
    images = served.signatures["sample"](
        seeds=tf.constant([1, 2], tf.int32), temperature=tf.constant(1.0)
    )["images"]
    assert images.shape == (2, 16, 16, 1)
    report = json.loads((run_copy / "metrics.json").read_text())["export"]
    assert len(report) == len(FORMATS)

    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    again = cli("export", f"--workdir={run_copy}", "--name=digits", "--formats=onnx")
    assert "digits.onnx exists already" in again.mistake()
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    replaced = cli(
        "export", f"--workdir={run_copy}", "--name=digits", "--formats=onnx", "--overwrite"
    )
    assert replaced.code == 0, replaced.err


@pytest.mark.parametrize(
    ("name", "argv", "words"),
    [
        ("evaluate", [], "--workdir is missing"),
        ("sample", ["--workdir={empty}"], "holds no run"),
        ("export", ["--workdir={empty}/none"], "holds no run"),
        ("sample", ["--workdir={empty}", "--preset=no_such_model"], "'no_such_model'"),
        ("sample", ["--workdir=nvae_mnist"], "--preset=nvae_mnist"),
        ("sample", ["--workdir={run}", "--num_images=0"], "num_images"),
        ("sample", ["--workdir={run}", "--temperature=-1"], "temperature"),
        ("sample", ["--workdir={run}", "--temperature=nan"], "expected a finite number"),
        ("sample", ["--workdir={run}", "--temperature=inf"], "expected a finite number"),
        ("evaluate", ["--workdir={run}", "--quality_temperature=inf"], "expected a finite number"),
        ("evaluate", ["--workdir={run}", "--temperatures=warm"], "--temperatures"),
        ("evaluate", ["--workdir={run}", "--split=trian"], "trian"),
        ("export", ["--workdir={run}", "--formats=onxx"], "onxx"),
        ("export", ["--workdir={run}", "--name=../../evil"], "'../../evil'; expected a plain name"),
        ("export", ["--workdir={run}", "--name=.."], "'..'; expected a plain name"),
        ("export", ["--workdir={run}", "--name=a\x1b[2J"], r"a\x1b[2J"),
    ],
)
def test_mistakes_get_one_line(cli, trained, tmp_path, name, argv, words):
    argv = [word.format(empty=tmp_path, run=trained) for word in argv]
    assert words in cli(name, *argv).mistake()


@pytest.mark.parametrize("name", ["sample", "detect"])
def test_a_damaged_checkpoint_is_passed_over_and_said(cli, trained, tmp_path, name):
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    older, newest = sorted((workdir / "checkpoints").glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-100])
    result = cli(name, f"--workdir={workdir}", "--num_images=4")
    assert result.code == 0, result.err
    assert f"{newest.name} is truncated" in result.err
    assert newest.exists()
    older.write_bytes(b"")
    result = cli(name, f"--workdir={workdir}", "--num_images=4")
    assert result.code == 2
    assert "no older checkpoint is whole" in result.err.splitlines()[-1]


def test_weights_that_are_not_finite_are_refused(cli, trained, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    newest = sorted((workdir / "checkpoints").glob("*.safetensors"))[-1]
    tensors, note = read_tensors(newest)
    floats = [name for name, tensor in tensors.items() if tensor.dtype == np.float32]
    weight = next(name for name in floats if name.startswith("model/"))
    tensors[weight] = np.full_like(tensors[weight], np.nan)
    write_tensors(newest, tensors, note)
    for name in ("sample", "evaluate", "export", "detect"):
        assert "not finite, so it cannot be used" in cli(name, f"--workdir={workdir}").mistake()
    assert not (workdir / "export").exists()


def test_fewer_samples_leave_none_of_an_earlier_call(cli, run_copy):
    for count in (12, 3):
        result = cli("sample", f"--workdir={run_copy}", f"--num_images={count}", "--individual")
        assert result.code == 0, result.err
    folder = run_copy / "samples" / "seed_0_temperature_1"
    assert sorted(path.name for path in folder.iterdir()) == ["0.png", "1.png", "2.png"]


def save_digits(folder, count):
    for index, image in enumerate(data.load("digits", "test").images[np.arange(count)]):
        folder.mkdir(exist_ok=True)
        Image.fromarray(image[..., 0]).save(folder / f"{index:02d}.png")


def test_images_of_a_folder_are_accepted_or_not(cli, trained, tmp_path):
    save_digits(tmp_path / "images", 12)
    Image.new("RGB", (40, 20), "red").save(tmp_path / "images" / "red, wide.jpg")
    table = tmp_path / "found" / "scores.csv"
    argv = f"--workdir={trained}", f"--images={tmp_path / 'images'}", f"--output={table}"
    result = cli("detect", *argv, "--num_images=60", "--acceptance=0.9")
    assert result.code == 0, result.err
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["file"] for row in rows] == [f"{k:02d}.png" for k in range(12)] + ["red, wide.jpg"]
    assert {row["accepted"] for row in rows} <= {"0", "1"}
    accepted = sum(int(row["accepted"]) for row in rows)
    assert f"accepted: {accepted} of 13 images" in result.out
    assert f"scores: {table}" in result.out
    threshold = float(re.search(r"threshold (\S+),", result.out)[1])
    for row in rows:
        assert (float(row["ood_score"]) <= threshold) == (row["accepted"] == "1")


def test_folders_that_cannot_be_scored(cli, trained, tmp_path):
    (tmp_path / "empty").mkdir()
    for argv, words in (
        ((f"--images={tmp_path / 'empty'}",), "has no images"),
        ((f"--images={tmp_path / 'nowhere'}",), "there is no folder"),
        ((f"--images={tmp_path}", "--others=mnist"), "give one of them"),
    ):
        assert words in cli("detect", f"--workdir={trained}", *argv).mistake()
