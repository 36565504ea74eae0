"""The authors' checkpoints, converted: equal numbers, and one line for every damaged file.

The weights are the authors' reference values, put into a file of the form their program saves.
"""

import argparse
import ast
import collections
import dataclasses
import json
import os
import pathlib
import stat
import sys

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver

import tfgen
from tfgen.bin import arguments, convert
from tfgen.generative.nvae import official

torch = pytest.importorskip("torch")

ROOT = pathlib.Path(__file__).resolve().parents[2]


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


class Checkpoint:
    """What the authors' program would save of a reference model, and what it computes."""

    def __init__(self, name):
        folder = os.environ.get("TFGEN_ORACLES_DIR", ROOT.parent / "shared" / "oracles")
        path = pathlib.Path(folder) / f"{name}.npz"
        if not path.exists():
            pytest.skip(f"needs {path} (or TFGEN_ORACLES_DIR)")
        self.values = np.load(path)
        self.args = {
            **ast.literal_eval(str(self.values["config"])),
            "save": "/tmp/nvae/eval-exp",
            "distributed": True,
            "weight_decay_norm": 1e-2,
            "weight_decay_norm_init": 10.0,
            "weight_decay_norm_anneal": True,
        }

    @property
    def content(self):
        """A fresh copy, with the prefix of a model on several devices and with counters."""
        state = collections.OrderedDict()
        for key in self.values.files:
            if key.startswith("weights/"):
                name = "module." + key.removeprefix("weights/")
                state[name] = torch.from_numpy(self.values[key])
                if name.endswith("running_var"):
                    state[name.replace("running_var", "num_batches_tracked")] = torch.tensor(3)
        return {
            "epoch": 4,
            "global_step": 300,
            "state_dict": state,
            "optimizer": {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": []},
            "args": argparse.Namespace(**self.args),
            "scheduler": {"last_epoch": 4, "_last_lr": [0.01]},
            "grad_scalar": {"scale": 1024.0, "_growth_tracker": 3},
        }

    def nhwc(self, name):
        return tf.constant(self.values[name].transpose(0, 2, 3, 1), tf.float32)


@pytest.fixture(scope="module")
def checkpoint():
    return Checkpoint("nvae_bernoulli")


@pytest.fixture
def saved(checkpoint, tmp_path):
    """`saved(change)` writes a checkpoint file after `change(content)`."""

    def save(change=lambda content: None, **options):
        content, path = checkpoint.content, tmp_path / "checkpoint.pt"
        torch.save(change(content) or content, path, **options)
        return path

    return save


def assert_same_as_authors(model, checkpoint):
    num_groups = model.network.num_groups
    noise = [checkpoint.nhwc(f"eps/{index}") for index in range(num_groups)]
    result = model.posterior_pass(model.weights_view(), checkpoint.nhwc("x"), noise)
    for value, name in ((result.head, "logits"), (result.kl, "kl")):
        expected = checkpoint.values[name]
        expected = expected.transpose(0, 2, 3, 1) if expected.ndim == 4 else expected
        assert np.abs(value - expected).max() <= 1e-4 * np.abs(expected).max(), name


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


def test_logistic_mixture_with_flow(run, tmp_path):
    checkpoint = Checkpoint("nvae_logistic_flow")
    torch.save(checkpoint.content, tmp_path / "checkpoint.pt")
    result = run(tmp_path / "checkpoint.pt", tmp_path / "cifar", "--edge=nvae2020")
    assert (result.code, result.err) == (0, "")
    model = tfgen.from_preset(tmp_path / "cifar")
    assert_same_as_authors(model, checkpoint)
    loss = -model.image_decoder.log_prob(checkpoint.nhwc("logits"), checkpoint.nhwc("x"))
    np.testing.assert_allclose(loss, checkpoint.values["reconstruction_loss"], rtol=1e-5)


@pytest.mark.parametrize("form", ["single device", "old options", "dict", "old file format"])
def test_other_forms(form, run, saved, checkpoint, tmp_path):
    def change(content):
        args = vars(content["args"])
        if form == "single device":
            state = content["state_dict"]
            content["state_dict"] = {k.removeprefix("module."): v for k, v in state.items()}
            # The authors load without the derived entries too.
            for name in [n for n in state if n.endswith("weight_normalized")]:
                del content["state_dict"][name.removeprefix("module.")]
        elif form == "old options":
            for name in ("num_mixture_dec", "ada_groups", "min_groups_per_scale"):
                del args[name]
        elif form == "dict":
            content["args"] = dict(args)

    path = saved(change, _use_new_zipfile_serialization=form != "old file format")
    assert run(path, tmp_path / "out").code == 0
    model = tfgen.from_preset(tmp_path / "out")
    for name in ("stem.weight", "image_conditional.1.bias"):
        variable, row, order = official.slots(model)[name]
        expected = checkpoint.values[f"weights/{name}"].transpose(order)
        np.testing.assert_array_equal(variable.numpy()[row], expected)


def test_norms_without_fused_activation():
    options = dict(image_shape=(8, 8, 1), padding=0, num_channels=4, num_scales=1, num_groups=1)
    cells = dict(preprocess_blocks=1, preprocess_cells=1, postprocess_blocks=1, postprocess_cells=1)
    model = tfgen.NVAE(**options, **cells, architecture="res_bnelu", latent_channels=2)
    model.build()
    state = {}
    for name, (variable, row, order) in official.slots(model).items():
        value = variable.numpy() if row is None else variable.numpy()[row]
        value = value.reshape(-1) if order is None else value.transpose(np.argsort(order))
        state[name.replace(".bn_act.", ".bn.bn.")] = value + 0.5
    assert any("_ops.1.bn.bn.weight" in name for name in state)
    official.load_official(model, state)


def drop(*keys):
    def change(content):
        for key in keys:
            del content[key]

    return change


def set_option(**options):
    return lambda content: vars(content["args"]).update(options)


def set_entry(name, value):
    return lambda content: content["state_dict"].update({f"module.{name}": value})


class RunsCode:
    """Makes a folder when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


class TestMistakes:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (drop("args"), "expected a dict with 'state_dict' and 'args'"),
            (drop("state_dict"), "expected a dict with 'state_dict' and 'args'"),
            (lambda content: [1], "holds a list; expected a dict"),
            (lambda content: content.update(args=3), "'args' or 'state_dict' is no mapping"),
            (lambda content: vars(content["args"]).pop("res_dist") and None, "lack res_dist"),
            (set_option(num_channels_enc=16, num_channels_dec=16), "expects"),
            (set_option(num_groups_per_scale=3), "entries are missing"),
            (set_option(arch_instance="res_mbconv9"), "'res_mbconv9' is unknown"),
            (set_option(num_latent_scales="two"), "do not describe an NVAE"),
            (set_option(dataset="galaxies"), "give image_shape"),
            (set_entry("energy.weight", torch.ones(3)), "1 are unknown (first: energy.weight"),
            (set_entry("stem.bias", 3), "'module.stem.bias' is of type int; expected"),
            (set_entry("stem.bias", torch.full([8], torch.nan)), "is not finite"),
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
        path = saved(lambda content: content.update(scheduler=RunsCode(str(trace))))
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

    def test_without_pytorch(self, run, saved, tmp_path, monkeypatch):
        path = saved()
        monkeypatch.setitem(sys.modules, "torch", None)
        self.assert_refused(run(path, tmp_path / "out"), "pip install 'tfgen[torch]'", tmp_path)

    def assert_refused(self, result, words, folder):
        assert result.code == 2
        assert result.out == ""
        assert result.err.startswith("tfgen-convert: ")
        assert result.err.count("\n") == 1
        assert words in result.err
        assert {path.name for path in folder.iterdir()} <= {"checkpoint.pt"}


def test_tool_is_executable(root):
    assert (root / "tools" / "convert_checkpoint").stat().st_mode & stat.S_IXUSR


class TestEnergies:
    """VAEBM's files: a dict of state dicts without options, and the VAE beside it."""

    @pytest.fixture(scope="class")
    def files(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("vaebm")
        found = Checkpoint("vaebm_small")
        values, args = found.values, argparse.Namespace(**found.args)

        def state(prefix):
            names = [key for key in values.files if key.startswith(prefix)]
            return {key.removeprefix(prefix): torch.from_numpy(values[key]) for key in names}

        vae = {"epoch": 1, "global_step": 2, "state_dict": state("vae/"), "args": args}
        torch.save(vae, folder / "checkpoint.pt")
        torch.save({"model": state("energy/"), "optimizer": {}}, folder / "EBM_500.pth")
        return folder, values

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
