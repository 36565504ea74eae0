"""Signals at any moment of a program: the same command again leaves what an undisturbed one does.

Moments are drawn in the time that the undisturbed program took.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile

import numpy as np

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL)
# What no two runs share: clocks, random names of SavedModels and so their sizes, and what is only
# there to be held or watched.
_CLOCKS = ("seconds", "ms_per_step", "latency", "peak_memory", "_ms", "created", "size_bytes")
_UNCOMPARED = (".lock", "events.out.tfevents", "fingerprint.pb", "audit.html", "/attacks/")


def command(name, *argv):
    return [sys.executable, "-m", f"tfgen.bin.{name}", *map(str, argv)]


def finish(root, argv):
    begun = time.monotonic()
    done = subprocess.run(argv, cwd=root, text=True, capture_output=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - begun


def kill(root, argv, moment, number):
    """Sends a signal; whoever may end by itself says so, unless Python is not there yet."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(argv, cwd=root, stdout=subprocess.DEVNULL, stderr=said)
        try:
            process.wait(timeout=moment)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            process.wait(timeout=300)
        said.seek(0)
        assert process.returncode in (0, -number, 128 + number), said.read()


def content(path):
    """What a file says, without what no two runs share."""
    if path.suffix == ".json":
        return _timeless(json.loads(path.read_text()))
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: arrays[name].tobytes() for name in arrays}
    if path.suffix == ".keras":  # all but when it was saved, and addresses in memory
        with zipfile.ZipFile(path) as parts:
            names = [name for name in parts.namelist() if name != "metadata.json"]
            return {n: re.sub(rb'"shared_object_id": \d+', b"", parts.read(n)) for n in names}
    return path.read_bytes()


def _timeless(value):
    if isinstance(value, dict):
        return {
            key: _timeless(item)
            for key, item in value.items()
            if not any(word in key for word in _CLOCKS)
        }
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def contents(folder, uncompared=_UNCOMPARED):
    return {
        str(path.relative_to(folder)): content(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(word in str(path) for word in uncompared)
    }


def same_after_kills(root, tmp_path, argv, seed, prepared=None, uncompared=()):
    """Runs `argv(folder)` undisturbed and again and again killed, and compares what is left.

    Args:
        argv: of a folder, the command that works in it.
        prepared: a folder to begin with a copy of.
        uncompared: parts of names of files that may differ as well.
    """
    whole, killed = tmp_path / "whole" / "run", tmp_path / "killed" / "run"
    for folder in (whole, killed):
        folder.parent.mkdir()
        if prepared is not None:
            shutil.copytree(prepared, folder)
    took = finish(root, argv(whole))
    moments = took * np.random.default_rng(seed).uniform(0.3, 1.0, len(SIGNALS))
    for moment, number in zip(moments, SIGNALS):
        kill(root, argv(killed), moment, number)
        for path in killed.parent.rglob("metrics.json"):
            json.loads(path.read_text())  # whole at any moment
    finish(root, argv(killed))
    uncompared = (*_UNCOMPARED, *uncompared)
    expected, found = (contents(folder.parent, uncompared) for folder in (whole, killed))
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    for name, value in expected.items():
        assert _relative(found[name], "killed") == _relative(value, "whole"), name


def _relative(value, folder):
    """Paths that a file holds, without the folder they lie in."""
    if isinstance(value, dict | list):
        return json.dumps(value, default=repr).replace(f"/{folder}/", "/")
    return value
