"""Opens files of PyTorch, in a process of its own: one that holds TensorFlow too may crash."""

import os
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfgen.errors import CheckpointError, UserError
from tfgen.files.json_file import parse_json
from tfgen.files.names import shown
from tfgen.files.regular import regular_file

# Names the Python that has PyTorch, where that is another one than runs this program.
PYTHON_VARIABLE = "TFGEN_TORCH_PYTHON"
_READER = Path(__file__).with_name("torch_reader.py")


class TorchFile(NamedTuple):
    """What a file of PyTorch holds.

    kind: name of the type of its content.
    names: keys of its content in order of the alphabet, where that is a dict.
    plain: the values asked for, as JSON has them; those that are absent are left out.
    arrays: the tensors asked for, float32 arrays by name; None where there is no such dict.
    """

    kind: str
    names: list[str]
    plain: dict[str, Any]
    arrays: dict[str, np.ndarray] | None

    def __str__(self) -> str:
        if self.kind != "dict":
            return f"a {self.kind}"
        return "a dict with " + (
            ", ".join(self.names[:6]) + (", ..." if self.names[6:] else "") or "nothing"
        )


def torch_python() -> str:
    """The Python that runs PyTorch: TFGEN_TORCH_PYTHON, or the one of this process."""
    return os.environ.get(PYTHON_VARIABLE) or sys.executable


def read_torch_file(
    path: str | os.PathLike, arrays: str, plain: Sequence[str] = (), allow_pickle: bool = False
) -> TorchFile:
    """Reads a file that `torch.save` wrote.

    Args:
        path: the file.
        arrays: name of the dict of tensors in it that is wanted.
        plain: names of the plain values that are wanted; none by default.
        allow_pickle: let the file run whatever code it names while it is read. By default only
            tensors, containers and `argparse.Namespace` are made.

    Raises:
        CheckpointError: the file is absent, truncated, damaged, something else, asks for more than
            it may without `allow_pickle`, or one of its tensors is no tensor or not finite.
        UserError: PyTorch is not installed.
    """
    try:
        path = regular_file(path, CheckpointError)
    except FileNotFoundError:
        raise CheckpointError(f"there is no file {path}") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    switches = ["mmap"] * _is_whole_archive(path) + ["pickle"] * allow_pickle
    with tempfile.TemporaryDirectory() as folder:
        reply = _ask(path, folder, arrays, ",".join(plain), *switches)
        _refuse(path, reply)
        entries = reply.get("entries")
        found = None if entries is None else _read_arrays(path, entries, Path(folder))
    return TorchFile(reply["kind"], reply.get("names", []), reply.get("plain", {}), found)


def _ask(path, folder, *arguments) -> dict:
    command = [torch_python(), "-P", _READER, path, folder, *arguments]
    ended = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True)
    try:
        text = (Path(folder) / "reply.json").read_bytes()
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} could not be read by PyTorch: {_last_words(ended)}"
        ) from None
    return parse_json(text, f"what PyTorch found in {path}", CheckpointError, "take another copy")


def _last_words(ended) -> str:
    if ended.returncode < 0:
        return f"it was ended by {signal.Signals(-ended.returncode).name}"
    return (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]


def _refuse(path, reply) -> None:
    error = reply.get("error")
    if error == "missing":
        raise UserError(
            "reading the authors' checkpoints needs PyTorch, which is not installed: "
            f"pip install 'tfgen[torch]', or name a Python that has it in {PYTHON_VARIABLE}"
        )
    if error == "bounds":
        raise CheckpointError(
            f"{path} asks for more memory than there is, or than an honest file of its size needs"
        )
    if error == "unsafe":
        raise CheckpointError(
            f"{path} asks for {shown(reply['asks'])} while it is read, which could run code; if "
            "you trust where the file comes from, pass --allow_pickle (allow_pickle=True)"
        )
    if error:
        raise CheckpointError(
            f"{path} is truncated, damaged, or no checkpoint of PyTorch ({shown(error)}); copy or "
            "download it again"
        )


def _is_whole_archive(path) -> bool:
    """Whether it is the zip archive that PyTorch writes since 1.6; damage to it is found here."""
    try:
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            _refuse_packed(path, archive)
            broken = archive.testzip()
    except CheckpointError:
        raise
    except Exception:  # `zipfile` raises all kinds on damaged files
        broken = "its table of contents"
    if broken:
        raise CheckpointError(
            f"{path} is damaged: {shown(broken)} does not match its checksum; "
            "copy or download it again"
        )
    return True


def _refuse_packed(path, archive) -> None:
    """PyTorch writes its entries one after the other as they are; what unpacks is a bomb."""
    entries = archive.infolist()
    plain = all(e.compress_type == zipfile.ZIP_STORED and not e.flag_bits & 1 for e in entries)
    if not plain or sum(e.file_size for e in entries) > path.stat().st_size:
        raise CheckpointError(
            f"{path} is no archive of PyTorch: its entries are compressed, encrypted or overlap"
        )


def _read_arrays(path, entries, folder) -> dict[str, np.ndarray]:
    arrays = {}
    with np.load(folder / "arrays.npz") as values:
        for index, (name, kind) in enumerate(entries):
            if kind is not None:
                raise CheckpointError(
                    f"{path}: entry {name!r} is of type {kind}; expected a tensor"
                )
            array = values[f"arr_{index}"]
            if not np.all(np.isfinite(array)):
                raise CheckpointError(
                    f"{path}: entry {name!r} is not finite; this training had failed, take an "
                    "earlier checkpoint"
                )
            arrays[name] = array
    return arrays
