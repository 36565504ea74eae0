"""A program, beside PyTorch only: damaged archives, one after the other, for the reader's `answer`.

    python -P torch_fuzz.py READER FOLDER FIRST LAST

Input k depends on k alone. Prints the number of the one it is at, so that a crash names it, and
fails where anything but an answer comes back.
"""

import collections
import importlib.util
import json
import random
import resource
import struct
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from torch_archives import called, mapping, number, save, sequence, storage, tensor, text

EXTREMES = [0, 1, 3, 127, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, -1, -(2**63)]


def hostile_pickle(draw: random.Random) -> bytes:
    """Well-formed, with numbers, names and types that no honest one has."""
    pick = lambda: draw.choice([*EXTREMES, 2, 4, 4, 4])  # noqa: E731
    values = [
        lambda: tensor([pick()], [pick()], pick()),
        lambda: tensor([pick(), pick()], [pick()], pick()),
        lambda: storage(pick(), draw.choice(["0", "1", "../0", "\x00"])),
        lambda: called(draw.choice(["builtins.bytearray", "torch.Size", "os.system"]), number(9)),
        lambda: called("torch._utils._rebuild_tensor_v2", number(pick())),
        lambda: called("argparse.Namespace") + mapping(a=number(pick())) + b"b",
        lambda: sequence(number(pick()), text("a" * draw.randrange(9))),
        lambda: b"N",
    ]
    inner = {f"module.{k}": draw.choice(values)() for k in range(draw.randrange(4))}
    keys = draw.choice(["state_dict", "args", "model"]), draw.choice(["state_dict", "args", "x"])
    return mapping(**{keys[0]: mapping(**inner), keys[1]: draw.choice(values)()})


def damaged(whole: bytes, draw: random.Random) -> bytes:
    content = bytearray(whole)
    for _ in range(draw.randrange(1, 4)):
        place = draw.randrange(len(content))
        found = draw.choice(
            [draw.randbytes(1), draw.randbytes(2), struct.pack("<i", draw.choice([0, 1, -1]))]
        )
        content[place : place + len(found)] = found
    return bytes(content[: draw.choice([len(content), len(content), draw.randrange(len(content))])])


def main(reader_path: str, folder: str, first: str, last: str) -> None:
    """Reads them all."""
    spec = importlib.util.spec_from_file_location("torch_reader", reader_path)
    reader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reader)
    torch.set_num_threads(1)
    path, place = Path(folder) / "checkpoint.pt", Path(folder) / "place"
    honest = mapping(state_dict=mapping(a=tensor([2, 2], [2, 1], 4)), args=mapping(rate=number(3)))
    reader.bound(1 << 16)
    resource.setrlimit(resource.RLIMIT_CPU, (resource.getrlimit(resource.RLIMIT_CPU)[1],) * 2)
    outcomes = collections.Counter()
    for index in range(int(first), int(last)):
        place.write_text(str(index))
        draw = random.Random(index)
        pickled = honest if index % 2 else hostile_pickle(draw)
        save(path, pickled, bytes(16))
        if index % 2 or not draw.randrange(4):
            path.write_bytes(damaged(path.read_bytes(), draw))
        switches = ["mmap"] * draw.randrange(2)
        reply = reader.answer(torch, path, Path(folder), "state_dict", ["args"], switches)
        json.dumps(reply)
        outcomes["refused" if "error" in reply else "read"] += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**outcomes, "peak_mib": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
