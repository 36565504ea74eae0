"""A program: reads a file of PyTorch and leaves it as NumPy arrays and JSON.

    python -P torch_reader.py FILE FOLDER ARRAYS PLAIN,... [mmap] [pickle]

`tfgen.files.torch_file` starts it. PyTorch and TensorFlow do not bear each other in one process, so
nothing of tfgen or TensorFlow is imported here. FOLDER gets `reply.json` and `arrays.npz`.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def main(path: str, folder: str, arrays: str, plain: str, *switches: str) -> None:
    """Writes the reply: what the file holds, or what stood in the way."""
    try:
        import torch
    except ImportError:
        reply = {"error": "missing"}
    else:
        reply = answer(torch, path, Path(folder), arrays, plain.split(","), switches)
    (Path(folder) / "reply.json").write_text(json.dumps(reply), encoding="utf-8")


def answer(torch, path, folder, arrays, plain, switches) -> dict:
    """The content as JSON, its tensors under the name `arrays` written beside."""
    try:
        content = load(torch, path, "mmap" in switches, "pickle" in switches)
        if not isinstance(content, Mapping):
            return {"kind": type(content).__name__}
        reply = {"kind": "dict", "names": sorted(map(str, content))}
        reply["plain"] = {name: as_json(content[name]) for name in plain if name in content}
        if isinstance(content.get(arrays), Mapping):
            reply["entries"] = write_arrays(torch, content[arrays], folder)
    except MemoryError:
        return {"error": "memory"}
    except Exception as error:  # PyTorch and pickle raise all kinds on damaged files
        found = re.search(r"GLOBAL (\S+) (?:was not an allowed|whose module)", str(error))
        return {"error": "unsafe", "asks": found[1]} if found else {"error": type(error).__name__}
    return reply


def load(torch, path, mmap: bool, allow_pickle: bool):
    """The content of the file, by default without running code that it names."""
    # Naming the class is all it takes: `weights_only` then fills it without running its code.
    torch.serialization.add_safe_globals([argparse.Namespace])
    # Mapped, the moments of the optimizer, two thirds of the file, are never read.
    return torch.load(path, map_location="cpu", weights_only=not allow_pickle, mmap=mmap)


def write_arrays(torch, state, folder) -> list:
    """Writes float32 arrays in order; returns their names and what is no tensor's type."""
    entries, found = [], []
    for name, tensor in state.items():
        is_tensor = isinstance(tensor, torch.Tensor)
        entries.append([str(name), None if is_tensor else type(tensor).__name__])
        found.append(tensor.detach().float().numpy() if is_tensor else np.zeros(0, np.float32))
    np.savez(folder / "arrays.npz", *found)
    return entries


def as_json(value):
    """Plain values as they are, options as a dict, everything else as its text."""
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        return {str(key): as_json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(entry) for entry in value]
    return value if isinstance(value, bool | int | float | str | None) else repr(value)


if __name__ == "__main__":
    main(*sys.argv[1:])
