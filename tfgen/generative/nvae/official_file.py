"""Opens the authors' checkpoint files: PyTorch archives with weights and training options."""

import os
from typing import Any

import numpy as np

from tfgen.errors import CheckpointError
from tfgen.files.torch_file import read_torch_file

_LSGM = {"dae_state_dict", "vae_state_dict"}  # what its authors' train_vada.py saves


def read_official(
    path: str | os.PathLike, *, allow_pickle: bool = False
) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, Any]]:
    """Reads a `checkpoint.pt` that the authors' `train.py` wrote. Needs PyTorch.

    Args:
        path: path of the file.
        allow_pickle: whether to let the file run whatever code it names while it is read. By
            default only tensors, containers and `argparse.Namespace` are made.

    Returns:
        The training options, the weights by name, and what else it tells of its training
        (`epoch`, `global_step`).

    Raises:
        CheckpointError: the file is truncated, damaged, something else, or asks for more than it
            may without `allow_pickle`.
        UserError: PyTorch is not installed.
    """
    counts = ("epoch", "global_step")
    content = read_torch_file(path, "state_dict", ("args", *counts), allow_pickle)
    if set(content.names) >= _LSGM:
        raise CheckpointError(
            f"{path} is of LSGM, whose VAE cannot be converted: its cells come after the latents "
            "join, and no model here has that form; with --vae=FOLDER its score network is put "
            "over a VAE of yours"
        )
    if not {"state_dict", "args"} <= set(content.names):
        raise CheckpointError(
            f"{path} holds {content}; expected a dict with 'state_dict' and 'args', as the "
            "authors' train.py saves it"
        )
    options = content.plain["args"]
    if not isinstance(options, dict) or content.arrays is None:
        raise CheckpointError(f"{path}: 'args' or 'state_dict' is no mapping of names to values")
    origin = {key: content.plain[key] for key in counts if _is_count(content.plain.get(key))}
    return options, _of_one_device(content.arrays), origin


def read_score_network(
    path: str | os.PathLike, *, allow_pickle: bool = False
) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """Training options and score network of a checkpoint of LSGM; None of anything else.

    Args:
        path: path of the file.
        allow_pickle: boolean, see `read_official`.

    Raises:
        CheckpointError, UserError: see `read_official`.
    """
    content = read_torch_file(path, "dae_state_dict", ("args",), allow_pickle)
    if not set(content.names) >= _LSGM:
        return None
    options = content.plain.get("args")
    if not isinstance(options, dict) or content.arrays is None:
        raise CheckpointError(f"{path}: 'args' or 'dae_state_dict' is no mapping")
    return options, _of_one_device(content.arrays)


def read_state_dict(
    path: str | os.PathLike, name: str, *, allow_pickle: bool = False
) -> dict[str, np.ndarray]:
    """The weights under `name` of a file that holds a dict of state dicts. Needs PyTorch.

    Args:
        path: path of the file.
        name: string, the key of the state dict.
        allow_pickle: boolean, see `read_official`.

    Raises:
        CheckpointError, UserError: see `read_official`.
    """
    content = read_torch_file(path, name, allow_pickle=allow_pickle)
    if content.arrays is None:
        raise CheckpointError(
            f"{path} holds {content}; expected a dict whose {name!r} maps names to tensors"
        )
    return _of_one_device(content.arrays)


def _of_one_device(arrays):
    """Without the prefix that a model on several devices gives its weights."""
    return {name.removeprefix("module."): array for name, array in arrays.items()}


def _is_count(value):
    return isinstance(value, int) and not isinstance(value, bool)
