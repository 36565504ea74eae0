"""The authors' checkpoints, converted: equal numbers, and one line for every damaged file.

The weights are the authors' reference values, put into a file of the form their program saves.
"""

import dataclasses
import json
import pathlib
import stat

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver
from killing import command, same_after_kills
from published import Checkpoint, assert_same_as_authors

import tfgen
from tfgen.bin import arguments, convert
from tfgen.generative.nvae import official

HERE = pathlib.Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class Result:
    """How the binary ended and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(capfd):
    def call(*argv) -> Result:
        capfd.readouterr()
        line = [convert.NAME, *map(str, argv)]
        with flagsaver.flagsaver():
            try:
                rest = arguments.parse(convert.NAME, line)
                code = arguments.execute(convert.NAME, convert.main, convert.WORDS, rest)
            except SystemExit as end:
                code = end.code
        return Result(code, *capfd.readouterr())

    return call


@pytest.fixture(scope="module")
def writer(root):
    """`writer("nvae", path, ...)` calls `torch_checkpoints.Writer` beside PyTorch; or a skip."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root / "tools" / "benchmarks"))
        import process
    if not process.has_torch():
        pytest.skip("needs PyTorch (the extra 'torch', or TFGEN_TORCH_PYTHON)")
    with process.Process(HERE / "torch_checkpoints.py", "Writer") as made:
        yield made.call


@pytest.fixture(scope="module")
def checkpoint(reference_values):
    return Checkpoint(reference_values("nvae_bernoulli"))


@pytest.fixture
def saved(writer, checkpoint, tmp_path):
    """`saved("no args")` writes a checkpoint file after that change of its content."""

    def save(change="nothing", **options):
        path = tmp_path / "checkpoint.pt"
        writer("nvae", path, checkpoint.weights(), checkpoint.args, change, **options)
        return path

    return save


def test_bernoulli(run, saved, checkpoint, tmp_path):
    output = tmp_path / "mnist"
    result = run(saved(), output)
    assert (result.code, result.err) == (0, "")
    assert "535,678 parameters, 4 latent groups, images 28x28x1" in result.out
    model = tfgen.from_preset(output)
    assert_same_as_authors(model, checkpoint)

    config = json.loads((output / "config.json").read_text())
    assert config["data"]["name"] == "mnist"
    assert config["data"]["binarize"] == "dynamic"
    assert config["evaluation"]["split"] == "test"  # complete: the other binaries take it
    assert config["model"]["spectral_coefficient"] == 1e-2
    assert config["model"]["spectral_initial"] == 10.0
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["origin"] == {"file": "checkpoint.pt", "epoch": 4, "global_step": 300}


def test_logistic_mixture_with_flow(run, writer, reference_values, tmp_path):
    checkpoint = Checkpoint(reference_values("nvae_logistic_flow"))
    writer("nvae", tmp_path / "checkpoint.pt", checkpoint.weights(), checkpoint.args)
    result = run(tmp_path / "checkpoint.pt", tmp_path / "cifar", "--edge=nvae2020")
    assert (result.code, result.err) == (0, "")
    model = tfgen.from_preset(tmp_path / "cifar")
    assert_same_as_authors(model, checkpoint)
    logits = checkpoint.nhwc("logits")  # of the first image
    loss = -model.image_decoder.log_prob(logits, checkpoint.nhwc("x")[: len(logits)])
    expected = checkpoint.values["reconstruction_loss"][: len(logits)]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize("form", ["single device", "old options", "dict", "old file format"])
def test_other_forms(form, run, saved, checkpoint, tmp_path):
    old_file = form == "old file format"
    path = saved("nothing" if old_file else form, _use_new_zipfile_serialization=not old_file)
    assert run(path, tmp_path / "out").code == 0
    model = tfgen.from_preset(tmp_path / "out")
    for name in ("stem.weight", "image_conditional.1.bias"):
        variable, row, order = official.slots(model)[name]
        expected = checkpoint.values[f"weights/{name}"].transpose(order)
        np.testing.assert_array_equal(variable.numpy()[row], expected)


class TestMistakes:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ("of LSGM", "whose VAE cannot be converted"),
            ("no args", "expected a dict with 'state_dict' and 'args'"),
            ("no state_dict", "expected a dict with 'state_dict' and 'args'"),
            ("a list", "holds a list; expected a dict"),
            ("args are a number", "'args' or 'state_dict' is no mapping"),
            ("no res_dist", "lack res_dist"),
            ("16 channels", "expects"),
            ("3 groups", "entries are missing"),
            ("unknown cell", "'res_mbconv9' is unknown"),
            ("scales in words", "num_latent_scales is 'two'"),
            ("unknown data", "give image_shape"),
            ("an energy's weight", "1 are unknown (first: energy.weight"),
            ("a number", "'module.stem.bias' is of type int; expected"),
            ("not finite", "is not finite"),
        ],
    )
    def test_content(self, change, words, run, saved, tmp_path):
        self.assert_refused(run(saved(change), tmp_path / "out"), words, tmp_path)

    @pytest.mark.parametrize("damage", ["truncated", "flipped", "text", "empty", "absent", "old"])
    def test_file(self, damage, run, saved, tmp_path):
        path = saved(_use_new_zipfile_serialization=damage != "old")
        content = bytearray(path.read_bytes())
        if damage == "flipped":
            content[len(content) // 2] ^= 4
        elif damage in ("truncated", "old"):
            del content[len(content) // 2 :]
        else:
            content = {"text": b"hello", "empty": b"", "absent": b""}[damage]
        path.write_bytes(content)
        words = {"flipped": "does not match its checksum", "absent": "there is no file"}
        if damage == "absent":
            path.unlink()
        result = run(path, tmp_path / "out")
        self.assert_refused(result, words.get(damage, "is truncated, damaged, or no"), tmp_path)

    def test_code_is_not_run(self, run, saved, tmp_path):
        trace = tmp_path / "ran"
        path = saved(trace=str(trace))
        result = run(path, tmp_path / "out")
        self.assert_refused(result, "asks for posix.mkdir", tmp_path)
        assert not trace.exists()
        assert run(path, tmp_path / "out", "--allow_pickle").code == 0
        assert trace.exists()

    def test_existing_target(self, run, saved, tmp_path):
        path, output = saved(), tmp_path / "out"
        output.mkdir()
        (output / "mine").write_text("")
        result = run(path, output)
        assert result.code == 2
        assert "exists already" in result.err
        assert (output / "mine").exists()
        assert run(path, output, "--overwrite").code == 0
        assert not (output / "mine").exists()

    @pytest.mark.parametrize(
        ("argv", "words"),
        [
            ([], "expected the arguments CHECKPOINT OUTPUT_DIR, got nothing"),
            (["a", "b", "c"], "got a b c"),
            (["a", "b", "--image_shape=3,x"], "--image_shape is '3,x'"),
            (["a", "b", "--imageshape=3,3,1"], "Unknown command line flag 'imageshape'"),
        ],
    )
    def test_command_line(self, argv, words, run):
        result = run(*argv)
        assert result.code == 2
        assert words in result.err

    def test_without_pytorch(self, run, tmp_path, monkeypatch):
        (tmp_path / "absent").mkdir()
        (tmp_path / "absent" / "torch.py").write_text("raise ImportError")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "absent"))
        path = tmp_path / "checkpoint.pt"
        path.write_bytes(b"hello")
        self.assert_refused(run(path, tmp_path / "out"), "pip install 'tfgen[torch]'", tmp_path)

    def assert_refused(self, result, words, folder):
        assert result.code == 2
        assert result.out == ""
        assert result.err.startswith("tfgen-convert: ")
        assert result.err.count("\n") == 1
        assert words in result.err
        assert {path.name for path in folder.iterdir()} <= {"checkpoint.pt", "absent"}


@pytest.mark.slow
def test_killed_at_any_moment(root, saved, tmp_path):
    path = saved()

    def argv(folder):
        return command("convert", path, folder / "mnist", "--overwrite")

    same_after_kills(root, tmp_path, argv, seed=6)


def test_tool_is_executable(root):
    assert (root / "tools" / "convert_checkpoint").stat().st_mode & stat.S_IXUSR


class TestEnergies:
    """VAEBM's files: a dict of state dicts without options, and the VAE beside it."""

    @pytest.fixture(scope="class")
    def files(self, writer, reference_values, tmp_path_factory):
        folder = tmp_path_factory.mktemp("vaebm")
        found = Checkpoint(reference_values("vaebm_small"))
        writer("nvae", folder / "checkpoint.pt", found.weights("vae/"), found.args)
        writer("energy", folder / "EBM_500.pth", found.weights("energy/"))
        return folder, found.values

    def test_energies_and_images_are_the_authors(self, run, files, tmp_path):
        folder, values = files
        result = run(folder / "EBM_500.pth", tmp_path / "a", f"--vae={folder / 'checkpoint.pt'}")
        assert result.code == 0, result.err
        model = tfgen.from_preset(tmp_path / "a")
        assert isinstance(model, tfgen.VAEBM)
        x = tf.constant(values["x"].transpose(0, 2, 3, 1), tf.float32)
        np.testing.assert_allclose(model(x), values["energy_of_x"], rtol=1e-4)
        assert model.get_config()["potential"] == "official"
        assert (model.sampler.num_steps, model.sampler.step_size) == (16, 8e-5)
        noise = {f"z_{k}": values[f"eps_z/{k}"].transpose(0, 2, 3, 1) for k in range(2)}
        np.testing.assert_allclose(
            model.vae.prepared().generate(noise),
            np.clip(0.5 * 5 * np.tanh(values["logits"][:, :3] / 5) + 0.5, 0, 1).transpose(
                0, 2, 3, 1
            ),
            atol=1e-4,
        )

    def test_over_a_vae_that_was_converted_before(self, run, files, tmp_path):
        folder, _ = files
        assert run(folder / "checkpoint.pt", tmp_path / "vae").code == 0
        result = run(folder / "EBM_500.pth", tmp_path / "b", f"--vae={tmp_path / 'vae'}")
        assert result.code == 0, result.err
        assert (tmp_path / "b" / "config.json").is_file()

    def test_an_energy_is_no_vae(self, run, files, tmp_path):
        folder, _ = files
        result = run(folder / "checkpoint.pt", tmp_path / "c", f"--vae={folder / 'checkpoint.pt'}")
        assert result.code == 2
        assert "'model'" in result.err
        assert not (tmp_path / "c").exists()
