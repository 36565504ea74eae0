"""tfgen-train on data that are damaged, odd or missing."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.data import Pipeline, Source


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_what_happened_to_the_data_is_said(cli, tiny, tmp_path):
    folder = tmp_path / "pictures" / "train"
    folder.mkdir(parents=True)

    def add(names, channels):
        for name in names:
            pixels = np.random.default_rng(0).integers(0, 256, (16, 16, channels), np.uint8)
            tf.io.write_file(str(folder / f"{name}.png"), tf.io.encode_png(pixels))

    add(range(18), 1)
    add(["colour"], 3)
    (folder / "notes.txt").write_text("of the photographer")
    (folder / ".hidden.png").write_bytes(b"")
    arguments = (f"--config.data.name=folder:{folder.parent}", f"--workdir={tmp_path / 'run'}")
    result = cli("train", *tiny, *arguments, "--config.training.epochs=1")
    assert result.code == 0, result.err
    assert "all 19 train images, batches of 16\n" in result.out
    assert "  files left out: 2 (1 *.txt, 1 hidden)\n" in result.out
    # The one-channel model decides, not the one colour file.
    assert "  images converted from colour to grey (ITU-R 601 luma): 1 of 19\n" in result.out
    add(["later", "latest"], 1)
    result = cli("train", *tiny, *arguments)
    assert result.code == 0, result.err
    assert "19 examples then, 21 now" in result.out
    result = cli("train", *tiny, *arguments)
    assert "then" not in result.out


@pytest.mark.parametrize("damage", ["nan", "truncated", "shape", "empty"])
def test_bad_arrays_are_named(cli, tiny, tmp_path, damage):
    images = np.random.default_rng(0).random((20, 16, 16, 1)).astype(np.float32)
    path = tmp_path / "data.npz"
    if damage == "nan":
        images[3, 2, 1] = np.nan
    if damage == "shape":
        images = images[:, :12]
    npz(path, x_train=images[:0] if damage == "empty" else images)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-300])
    content = path.read_bytes()
    result = cli("train", *tiny, f"--config.data.name=npz:{path}", f"--workdir={tmp_path / 'run'}")
    line = result.mistake()
    assert "data.npz" in line or "npz:" in line
    assert path.read_bytes() == content


def test_a_corrupt_image_in_a_folder_is_named(cli, tiny, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(3):
        tf.io.write_file(
            str(folder / f"{index}.png"), tf.io.encode_png(np.zeros((16, 16, 1), np.uint8))
        )
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes()[:20])
    result = cli(
        "train", *tiny, f"--config.data.name=folder:{folder}", f"--workdir={tmp_path / 'run'}"
    )
    assert "broken.png" in result.mistake()


def test_damage_met_late_costs_no_step(cli, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("tfgen.data.folders.MEMORY_LIMIT_BYTES", 0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 1), np.uint8)
    for index in range(48):
        tf.io.write_file(str(folder / f"{index:02d}.png"), tf.io.encode_png(pixels))
    arguments = (
        *tiny,
        f"--config.data.name=folder:{folder}",
        "--config.data.split=all",
        f"--workdir={tmp_path / 'run'}",
        "--config.training.epochs=1",
    )
    # One of the third batch of three; headers alone are read before.
    numbers = Pipeline(Source("made", "all", {"numbers": np.arange(48)}), 16).batch(2)["numbers"]
    damaged = folder / f"{int(numbers[0]):02d}.png"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-30])
    line = cli("train", *arguments).mistake()
    assert damaged.name in line
    assert "2 steps until then are saved" in line
    damaged.write_bytes(whole)
    result = cli("train", *arguments)
    assert result.code == 0, result.err
    assert "continues at step 2\n" in result.out


def test_missing_data_say_where_to_put_them(cli, root, tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("keras.utils.get_file", offline)
    monkeypatch.setattr("tfgen.data.libraries.fetch_keras", offline, raising=False)
    (tmp_path / "data").mkdir()
    result = cli(
        "train",
        f"--config={root / 'configs/nvae/omniglot.py'}:runlocal",
        f"--data_dir={tmp_path / 'data'}",
        f"--workdir={tmp_path / 'run'}",
    )
    assert str(tmp_path / "data" / "omniglot.npz") in result.mistake()
