"""Readers of tensors, archives and JSON on damaged files: an error of ours or data.

What is tried is drawn by hypothesis. Under the marker `slow`, 100,000 inputs of each.
"""

import contextlib
import json

import pytest
from fuzzing import budgets, damages, either, json_value, try_many
from test_tensor_file import TENSORS, entry, first_format, seal
from torch_archives import mapping, save, tensor

from tfgen.files import torch_file
from tfgen.files.json_file import parse_json, read_json, to_json
from tfgen.files.row_log import RowLog
from tfgen.files.tensor_file import read_tensors, write_tensors


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


def reading(path, read):
    def attempt(content):
        path.write_bytes(content)
        return read(path)

    return attempt


@budgets
def test_tensor_file(path, budget):
    write_tensors(path, TENSORS, {"note": [1, "ü"]})
    outcomes = try_many(damages(path.read_bytes()), reading(path, read_tensors), budget)
    assert outcomes["refused"] > budget / 2


def entries(draw) -> str:
    """Headers of arrays that may overlap, leave holes, repeat, and be of any dtype and shape."""

    def place():
        return draw.choice([-1, 0, 0, 4, 8, 8, 16, 24, 1 << 40, 1 << 63, 1 << 64, 1 << 70])

    def one():
        shape = draw.choice(["[2]", "[6]", f"[{place()}, {place()}]", "[]", "3", '"a"', "[1.5]"])
        dtype = draw.choice(['"F32"', '"BF16"', '"U8"', '"F8_E4M3"', '"C64"', "[]", "3", '""'])
        if not draw.randint(0, 2):
            return entry("a", 0, 24, shape="[6]")
        return entry(draw.choice("abc"), place(), place(), dtype, shape)

    return ", ".join(one() for _ in range(draw.randint(1, 4)))


@budgets
def test_tensor_file_whose_checksum_is_right(path, budget):
    whole = first_format(entry("a", 0, 8) + ", " + entry("b", 8, 24, '"F64"'), ', "x": "1"')
    headers = either(
        damages(whole.encode()),
        lambda draw: first_format(entries(draw)),
        lambda draw: first_format(entries(draw), note=json.dumps(json.dumps(json_value(draw)))),
        lambda draw: json.dumps({"__metadata__": json_value(draw)}),
    )

    def attempt(header):
        seal(path, header, bytes(24))
        arrays, _ = read_tensors(path)
        assert sum(array.nbytes for array in arrays.values()) <= 24

    outcomes = try_many(headers, attempt, budget)
    assert outcomes["read"]
    assert outcomes["refused"] > budget / 2


@budgets
def test_json(path, budget):
    whole = json.dumps({"model": {"name": "nvae", "rates": [1e-3, -2], "ä": None}}).encode()

    def deep(draw):
        levels = draw.randint(1, 3000)
        return b'{"a":' * levels + b"1" + b"}" * levels

    texts = either(damages(whole), lambda draw: json.dumps(json_value(draw)).encode(), deep)

    def attempt(text):
        path.write_bytes(text)
        found = read_json(path)
        assert parse_json(to_json(found), "it") == found
        to_json(found).encode()

    outcomes = try_many(texts, attempt, budget)
    assert min(outcomes["read"], outcomes["refused"]) > budget / 20


class AskedError(Exception):
    """PyTorch would be asked now."""


@budgets
def test_torch_archive_before_pytorch_is_asked(path, budget, monkeypatch):
    def ask(*arguments):
        raise AskedError

    monkeypatch.setattr(torch_file, "_ask", ask)
    save(path, mapping(state_dict=mapping(a=tensor([4], [1], 4))), bytes(16))
    whole = path.read_bytes()

    def attempt(content):
        path.write_bytes(content)
        with contextlib.suppress(AskedError):
            torch_file.read_torch_file(path, "state_dict")

    # The directory of an archive is at its end.
    begin = whole.index(b"PK\1\2")
    damaged_end = damages(whole[begin:])
    inputs = either(damages(whole), lambda draw: whole[:begin] + damaged_end(draw))
    outcomes = try_many(inputs, attempt, budget)
    assert min(outcomes["read"], outcomes["refused"]) > budget / 20


@budgets
def test_row_log(path, budget):
    columns = ("step", "epoch", "loss")
    log = RowLog(path, columns)
    for step in range(1, 30):
        log.add({"step": step, "epoch": 1 + step // 10, "loss": 1 / step, "kl": -step})
    whole = path.read_bytes()

    def attempt(content):
        path.write_bytes(content)
        found = RowLog(path, columns)
        found.resume(20)
        found.add({"step": 21, "epoch": 3, "loss": 0.5})
        assert path.read_text().count("21,3,0.5") == 1

    # Damaged lines are left out; only what has lost its header is refused.
    assert try_many(damages(whole), attempt, budget)["read"] > budget / 2
