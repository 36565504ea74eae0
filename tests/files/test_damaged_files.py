"""Readers of tensors, archives and JSON on damaged files: an error of ours or data.

What is tried is drawn by hypothesis. Under the marker `slow`, 100,000 inputs of each.
"""

import contextlib
import json

import pytest
from fuzzing import budgets, damages, json_values, try_many
from hypothesis import strategies as st
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


def entries():
    """Headers of arrays that may overlap, leave holes, repeat, and be of any dtype and shape."""
    places = st.one_of(st.integers(-1, 24), st.sampled_from([1 << 40, 1 << 63, 1 << 64, 1 << 70]))
    shapes = st.lists(places, max_size=3).map(str) | st.sampled_from(["3", '"a"', "{}", "[1.5]"])
    dtypes = st.sampled_from(['"F32"', '"BF16"', '"U8"', '"F8_E4M3"', '"C64"', "[]", "3", '""'])
    one = st.builds(entry, st.sampled_from("abc"), places, places, dtypes, shapes)
    right = st.just(entry("a", 0, 24, shape="[6]"))
    return st.lists(one | right, min_size=1, max_size=4).map(", ".join)


@budgets
def test_tensor_file_whose_checksum_is_right(path, budget):
    whole = first_format(entry("a", 0, 8) + ", " + entry("b", 8, 24, '"F64"'), ', "x": "1"')
    notes = json_values().map(lambda value: json.dumps(json.dumps(value)))
    headers = st.one_of(
        damages(whole.encode()),
        entries().map(first_format),
        st.builds(first_format, entries(), st.just(""), notes),
        json_values().map(lambda value: json.dumps({"__metadata__": value})),
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
    deep = st.integers(1, 3000).map(lambda n: b'{"a":' * n + b"1" + b"}" * n)
    texts = st.one_of(
        damages(whole), json_values().map(lambda value: json.dumps(value).encode()), deep
    )

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
    inputs = damages(whole) | damages(whole[begin:]).map(lambda end: whole[:begin] + end)
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
