"""Binaries as processes of their own: what the terminal shows, and what kill -9 leaves."""

import importlib
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from absl.flags import FlagHolder

import tfgen
from tfgen.files.tensor_file import read_tensors


def start(root, name, *argv):
    return subprocess.Popen(
        [sys.executable, "-m", f"tfgen.bin.{name}", *map(str, argv)],
        cwd=root,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("name", ["train", "evaluate", "sample", "export"])
def test_a_wrong_flag_is_answered_before_anything_loads(root, name):
    process = start(root, name, "--wrokdir=x")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert out == ""
    assert err == f"tfgen-{name}: Unknown command line flag 'wrokdir'. Did you mean: workdir ?\n"


def test_a_mistake_found_later_is_one_line_too(root, tiny, tmp_path):
    process = start(root, "train", *tiny, "--config.model.num_chanels=3", "--dry_run")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 2
    assert out == ""
    assert err.count("\n") == 1, err
    assert "'num_channels'" in err


@pytest.mark.slow
def test_killed_and_continued_is_bit_equal(root, tiny, tmp_path):
    argv = [*tiny, "--config.training.epochs=30"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = start(root, "train", *argv, f"--workdir={killed}")
    deadline = time.monotonic() + 600
    while not list(killed.glob("checkpoints/checkpoint-*.safetensors")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (killed / "checkpoints" / "checkpoint-00000090.safetensors").exists()

    for workdir in (killed, whole):
        process = start(root, "train", *argv, f"--workdir={workdir}")
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
        assert "trained 90 of 90 steps" in out
    a, b = (
        read_tensors(sorted(workdir.glob("checkpoints/*.safetensors"))[-1])[0]
        for workdir in (killed, whole)
    )
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


PROGRAMS = ["train", "evaluate", "sample", "export", "audit", "detect", "ground", "convert", "pack"]
PROGRAMS += ["search", "transform"]


def console_script(root, name, *argv):
    """A program as pip installs it: the file that is started holds no flag."""
    entry = f"import sys; sys.argv[0] = 'bin/tfgen-{name}'; from tfgen.bin.{name} import run; run()"
    return subprocess.run(
        [sys.executable, "-c", entry, *argv], cwd=root, text=True, capture_output=True, timeout=60
    )


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("flag", ["--help", "-h", "--helpfull", "--version"])
def test_a_console_script_says_what_it_is(root, name, flag):
    said = console_script(root, name, flag)
    assert said.returncode == 0
    assert said.stderr == ""
    if flag == "--version":
        assert said.stdout.split()[-1] == tfgen.__version__
        return
    module = importlib.import_module(f"tfgen.bin.{name}")
    flags = {flag.name for flag in vars(module).values() if isinstance(flag, FlagHolder)}
    for word in {*flags, "workdir", "debug"}:
        assert re.search(rf"^ +-?-.*\b{word}\b", said.stdout, re.M), word
    if flag != "--helpfull":
        assert module.__doc__.splitlines()[0] in said.stdout
        assert "\nFlags of every program:\n" in said.stdout
