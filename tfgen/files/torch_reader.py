"""A program: reads a file of PyTorch and leaves it as NumPy arrays and JSON.

    python -P torch_reader.py FILE FOLDER ARRAYS PLAIN,... [mmap] [pickle]

`tfgen.files.torch_file` starts it. PyTorch and TensorFlow do not bear each other in one process, so
nothing of tfgen or TensorFlow is imported here. FOLDER gets `reply.json` and `arrays.npz`.
"""

import argparse
import json
import math
import re
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

MOST_REPLY = 1 << 24  # bytes; what tfgen.files.json_file reads


def main(path: str, folder: str, arrays: str, plain: str, *switches: str) -> None:
    """Writes the reply: what the file holds, or what stood in the way."""
    try:
        import torch
    except ImportError:
        reply = {"error": "missing"}
    else:
        torch.set_num_threads(1)
        bound(Path(path).stat().st_size)
        reply = answer(torch, path, Path(folder), arrays, plain.split(","), switches)
    text = json.dumps(reply)
    if len(text) > MOST_REPLY:
        text = json.dumps({"error": "bounds"})
    (Path(folder) / "reply.json").write_text(text, encoding="utf-8")


def bound(size: int) -> None:
    """Takes from this process the memory, disk and time that no honest file of `size` bytes needs.

    A few bytes can ask for any amount of them. Honest tensors are mapped or read, and become
    float32 once, which is at most four times their size.
    """
    pages = Path("/proc/self/statm")  # where there is none, memory cannot be bounded either
    if pages.exists():
        used = int(pages.read_text().split()[0]) * resource.getpagesize()
        limit(resource.RLIMIT_AS, used + 8 * size + (256 << 20))
    limit(resource.RLIMIT_FSIZE, 8 * size + (64 << 20))
    limit(resource.RLIMIT_CPU, 120 + size // (1 << 20))


def limit(what: int, most: int) -> None:
    """The soft limit, where there is no tighter one."""
    soft, hard = resource.getrlimit(what)
    least = min([most] + [value for value in (soft, hard) if value != resource.RLIM_INFINITY])
    resource.setrlimit(what, (least, hard))


def answer(torch, path, folder, arrays, plain, switches) -> dict:
    """The content as JSON, its tensors under the name `arrays` written beside."""
    try:
        content = load(torch, path, "mmap" in switches, "pickle" in switches)
        if not isinstance(content, Mapping):
            return {"kind": type(content).__name__}
        reply = {"kind": "dict", "names": sorted(map(str, content))}
        reply["plain"] = {name: as_json(content[name]) for name in plain if name in content}
        if isinstance(content.get(arrays), Mapping):
            if num_elements(torch, content[arrays]) > Path(path).stat().st_size:
                return {"error": "bounds"}
            reply["entries"] = write_arrays(torch, content[arrays], folder)
    except MemoryError:
        return {"error": "bounds"}
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


def num_elements(torch, state) -> int:
    """Of all tensors; views can have more of them than there are bytes."""
    return sum(tensor.numel() for tensor in state.values() if isinstance(tensor, torch.Tensor))


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
    """Plain values as they are, options as a dict, all else and what JSON lacks as its text."""
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        return {str(key): as_json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value if isinstance(value, bool | int | float | str | None) else repr(value)


if __name__ == "__main__":
    main(*sys.argv[1:])
