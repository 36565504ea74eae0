"""Opens the authors' checkpoint files: PyTorch archives with weights and training options."""

import argparse
import importlib
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfgen.errors import CheckpointError, UserError


def read_official(
    path: str | os.PathLike, *, allow_pickle: bool = False
) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, Any]]:
    """Reads a `checkpoint.pt` that the authors' `train.py` wrote. Needs PyTorch.

    Args:
        path: the file.
        allow_pickle: let the file run whatever code it names while it is read. By default only
            tensors, containers and `argparse.Namespace` are made.

    Returns:
        The training options, the weights by name, and what else it tells of its training
        (`epoch`, `global_step`).

    Raises:
        CheckpointError: the file is truncated, damaged, something else, or asks for more than it
            may without `allow_pickle`.
        UserError: PyTorch is not installed.
    """
    path = Path(path)
    content = _load(path, allow_pickle)
    if not isinstance(content, Mapping) or not {"state_dict", "args"} <= content.keys():
        raise CheckpointError(
            f"{path} holds {_describe(content)}; expected a dict with 'state_dict' and 'args', as "
            "the authors' train.py saves it"
        )
    options = content["args"]
    options = vars(options) if isinstance(options, argparse.Namespace) else options
    if not isinstance(options, Mapping) or not isinstance(content["state_dict"], Mapping):
        raise CheckpointError(f"{path}: 'args' or 'state_dict' is no mapping of names to values")
    origin = {key: content[key] for key in ("epoch", "global_step") if _is_count(content.get(key))}
    return dict(options), _arrays(path, content["state_dict"]), origin


def read_state_dict(
    path: str | os.PathLike, name: str, *, allow_pickle: bool = False
) -> dict[str, np.ndarray]:
    """The weights under `name` of a file that holds a dict of state dicts. Needs PyTorch.

    Args:
        path: the file.
        name: of the state dict.
        allow_pickle: see `read_official`.

    Raises:
        CheckpointError, UserError: see `read_official`.
    """
    path = Path(path)
    content = _load(path, allow_pickle)
    if not isinstance(content, Mapping) or not isinstance(content.get(name), Mapping):
        raise CheckpointError(
            f"{path} holds {_describe(content)}; expected a dict whose {name!r} maps names to "
            "tensors"
        )
    return _arrays(path, content[name])


def _load(path, allow_pickle):
    torch = _torch()
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    archive = _is_whole_archive(path)
    # Naming the class is all it takes: `weights_only` then fills it without running its code.
    torch.serialization.add_safe_globals([argparse.Namespace])
    try:
        # Mapped, the moments of the optimizer, two thirds of the file, are never read.
        return torch.load(path, map_location="cpu", weights_only=not allow_pickle, mmap=archive)
    except MemoryError:
        raise
    except Exception as error:  # PyTorch and pickle raise all kinds on damaged files
        if found := re.search(r"GLOBAL (\S+) (?:was not an allowed|whose module)", str(error)):
            raise CheckpointError(
                f"{path} asks for {found[1]} while it is read, which could run code; if you trust "
                "where the file comes from, pass --allow_pickle (allow_pickle=True)"
            ) from error
        raise CheckpointError(
            f"{path} is truncated, damaged, or no checkpoint of PyTorch "
            f"({type(error).__name__}); copy or download it again"
        ) from error


def _is_whole_archive(path) -> bool:
    """Whether it is the zip archive that PyTorch writes since 1.6; damage to it is found here."""
    try:
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError):
        broken = "its table of contents"
    if broken:
        raise CheckpointError(
            f"{path} is damaged: {broken} does not match its checksum; copy or download it again"
        )
    return True


def _arrays(path, state):
    """float32 arrays under the names that a model on a single device has."""
    torch, arrays = _torch(), {}
    for name, tensor in state.items():
        if not isinstance(tensor, torch.Tensor):
            kind = type(tensor).__name__
            raise CheckpointError(f"{path}: entry {name!r} is of type {kind}; expected a tensor")
        array = tensor.detach().float().numpy()
        if not np.all(np.isfinite(array)):
            raise CheckpointError(
                f"{path}: entry {name!r} is not finite; this training had failed, take an earlier "
                "checkpoint"
            )
        arrays[str(name).removeprefix("module.")] = array
    return arrays


def _torch():
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise UserError(
            "reading the authors' checkpoints needs PyTorch, which is not installed: "
            "pip install 'tfgen[torch]'"
        ) from error


def _is_count(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _describe(content) -> str:
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    names = sorted(map(str, content))
    return "a dict with " + (", ".join(names[:6]) + (", ..." if names[6:] else "") or "nothing")
