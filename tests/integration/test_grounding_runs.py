"""Phrase grounding through the programs: scenes of digits, from pictures and captions to files."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfgen
from tfgen.systems.presets import save_preset


@pytest.mark.slow
def test_trains_evaluates_and_exports(cli, root, tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    recipe = f"--config={root / 'configs/grounding/scenes.py'}:runlocal"
    result = cli("train", recipe, workdir)
    assert result.code == 0, result.err
    assert "trained 20 of 20 steps" in result.out
    result = cli("train", recipe, workdir)
    assert "continues at step 20" in result.out
    result = cli("evaluate", workdir)
    assert result.code == 0, result.err
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    assert found["num_phrases"] == 300
    assert found["recall_1"] <= found["recall_5"] <= found["recall_10"] <= found["upper_bound"]
    assert "protocol: any-box" in result.out
    assert (tmp_path / "run" / "samples" / "grounding.html").is_file()
    result = cli("export", workdir, "--name=scenes")
    assert result.code == 0, result.err
    served = tf.saved_model.load(str(tmp_path / "run" / "export" / "scenes" / "1"))
    model = tfgen.from_preset(tmp_path / "run")
    question = model.signatures()["ground_image"].example(2, 0)
    answers = served.signatures["ground_image"](**{k: tf.constant(v) for k, v in question.items()})
    want = model(question)
    np.testing.assert_allclose(answers["attention"], want.attention, atol=1e-5)
    (phrase,) = model.ground(np.zeros((50, 70), np.uint8), "a seven", phrases=["a seven"])
    assert phrase.box.shape == (4,)
    assert phrase.box[2] <= 69


@pytest.mark.parametrize("name", ["flickr30k", "coco"])
def test_published_recipes_have_the_published_size(cli, root, name, tmp_path):
    recipe = f"--config={root / 'configs/grounding'}/{name}.py"
    result = cli("train", recipe, "--dry_run")
    assert result.code == 0, result.err
    assert json.loads(result.out)["parameters"] == 11_749_376
    result = cli("train", recipe, f"--workdir={tmp_path / 'run'}", f"--data_dir={tmp_path}")
    assert "there is no folder" in result.mistake()


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """A model that was never trained, and a picture."""
    folder = tmp_path_factory.mktemp("ground")
    model = tfgen.PhraseGrounding(
        dims=4,
        region_features=dict(image_shape=(8, 8, 3), grids=(1, 2), crop_size=2),
        word_encoder=dict(vocabulary=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "dog", "cat"], dims=4),
    )
    model.build()
    save_preset(model, folder / "model")
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "picture.png")
    return folder


def test_a_picture_and_a_caption(cli, preset):
    flags = (f"--preset={preset / 'model'}", f"--image={preset / 'picture.png'}")
    caption, output = "--caption=A dog near the café cat", preset / "found.png"
    result = cli("ground", *flags, caption, f"--output={output}")
    assert result.code == 0, result.err
    found = json.loads(result.out)["phrases"]
    assert [one["phrase"] for one in found] == ["A dog", "the café cat"]
    for one in found:
        x1, y1, x2, y2 = one["box"]
        assert -0.5 <= x1 < x2 <= 39.5
        assert -0.5 <= y1 < y2 <= 29.5
        assert np.isfinite(one["score"])
    with Image.open(output) as picture:
        assert picture.format == "PNG"
    result = cli("ground", *flags, caption, "--phrases=dog")
    assert [one["phrase"] for one in json.loads(result.out)["phrases"]] == ["dog"]
    assert "--caption='' has no noun" in cli("ground", *flags, "--caption=").mistake()


def test_the_preset_finds_clothes_and_digits(cli, root):
    """The picture of docs/grounding.md, whose boxes are known: middles are what it points by."""
    picture = root / "docs" / "images" / "grounding_composed.png"
    caption = "a sandal beside a one and a boot ."
    result = cli(
        "ground", "--preset=grounding_scenes", f"--image={picture}", f"--caption={caption}"
    )
    assert result.code == 0, result.err
    found = json.loads(result.out)["phrases"]
    assert [one["phrase"] for one in found] == ["a sandal", "a one", "a boot"]
    truth = [(70, 14, 92, 36), (15, 60, 40, 85), (75, 58, 95, 78)]
    for one, (x1, y1, x2, y2) in zip(found, truth):
        left, top, right, bottom = one["box"]
        assert x1 < (left + right) / 2 < x2
        assert y1 < (top + bottom) / 2 < y2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"caption": None}, "--caption is missing"),
        ({"preset": None}, "--workdir or --preset is missing"),
        ({"preset": "nvae_mnist"}, "nvae_mnist is a NVAE, which grounds no phrases"),
        ({"image": "nowhere.png"}, "nowhere.png"),
        ({"phrases": "horse"}, "the phrase 'horse' does not occur"),
    ],
)
def test_mistakes_are_one_sentence(cli, preset, change, sentence):
    given = {
        "preset": preset / "model",
        "image": preset / "picture.png",
        "caption": "a dog",
        **change,
    }
    flags = [f"--{name}={value}" for name, value in given.items() if value is not None]
    assert sentence in cli("ground", *flags).mistake()
