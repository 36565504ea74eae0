"""Files of PyTorch that someone made to harm: refused in one sentence, in bounded memory."""

import collections
import json
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fuzzing import budgets
from irregular import irregular_files
from torch_archives import called, mapping, number, save, storage, tensor, text

from tfgen.errors import CheckpointError
from tfgen.files import torch_file
from tfgen.files.torch_file import read_torch_file, torch_python

FOUR = np.float32([1, 2, 3, 4]).tobytes()


def doubled(times: int) -> bytes:
    """A list that holds twice one that holds twice one ...: short, and endless when written out."""
    found = b"]q\0"
    for index in range(times):
        found = b"](" + found + b"h" + bytes([index]) + b"eq" + bytes([index + 1])
    return found


VIEW = tensor([1 << 12], [1], 1 << 12)
HOSTILE = {
    "expanded": (
        mapping(state_dict=mapping(a=tensor([1 << 40], [0], 4))),  # 16 KiB become 4 TiB
        "more memory",
    ),
    "one storage a thousand times": (
        mapping(state_dict=mapping(a=VIEW + b"q\x63", **{f"a{i}": b"h\x63" for i in range(1000)})),
        "more memory",
    ),
    "beyond its storage": (mapping(state_dict=mapping(a=tensor([99], [1], 4))), "damaged"),
    "a storage": (mapping(state_dict=mapping(a=storage(4))), "is of type .*; expected a tensor"),
    "no storage": (mapping(a=storage(1, "no")), "damaged"),
    "bytes": (mapping(a=called("builtins.bytearray", number(1 << 42))), "more memory"),
    "doubled": (mapping(args=doubled(60)), "more memory"),
    "nested": (mapping(args=b"]" * 50_000 + b"a" * 49_999), "RecursionError"),
    "deep": (mapping(args=b"]" * 150 + b"a" * 149), "nested deeper than"),
    "wide integer": (mapping(args=number(1 << 70)), "more than 64 bits"),
    "code": (mapping(a=called("os.system", text("true"))), "asks for os.system"),
    "nothing": (b"", "damaged"),
}


@pytest.fixture(scope="module")
def torch():
    command = [torch_python(), "-P", "-c", "import torch"]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("needs PyTorch (the extra 'torch', or TFGEN_TORCH_PYTHON)")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.pt"


class TestArchives:
    """What is refused before PyTorch is asked."""

    @pytest.mark.parametrize(
        "method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=str
    )
    def test_compressed(self, path, method):
        save(path, mapping(), bytes(1 << 24), compression=method)
        with pytest.raises(CheckpointError, match="entries are compressed, encrypted or overlap"):
            read_torch_file(path, "state_dict")

    def test_overlapping(self, path):
        """Many names of the same bytes, as quines among the zip bombs have."""
        save(path, mapping(), bytes(1 << 16))
        content = path.read_bytes()
        start, end = content.index(b"PK\1\2"), content.index(b"PK\5\6")
        entries = content[start:end]
        record = bytearray(content[end:])
        count = 50 * record[10]
        record[8:12] = 2 * count.to_bytes(2, "little")
        record[12:16] = (50 * len(entries)).to_bytes(4, "little")
        path.write_bytes(content[:start] + 50 * entries + record)
        with pytest.raises(CheckpointError, match="entries are compressed, encrypted or overlap"):
            read_torch_file(path, "state_dict")

    def test_encrypted(self, path):
        save(path, mapping())
        content = bytearray(path.read_bytes())
        content[content.index(b"PK\1\2") + 8] |= 1
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="entries are compressed, encrypted or overlap"):
            read_torch_file(path, "state_dict")

    def test_names_within_are_shown_on_one_line(self, path):
        save(path, mapping())
        content = bytearray(path.read_bytes())
        for place in (content.index(b"data.pkl"), content.rindex(b"data.pkl")):
            content[place + 4] = ord("\n")
        content[content.index(b"data\npkl") + 9] ^= 1  # its content
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"data\\npkl does not match its checksum; copy"):
            read_torch_file(path, "state_dict")

    def test_what_is_no_regular_file(self, tmp_path):
        for found in irregular_files(tmp_path).values():
            with pytest.raises(CheckpointError, match="expected a regular file"):
                read_torch_file(found, "state_dict")


@pytest.mark.usefixtures("torch")
class TestPickles:
    """What only PyTorch finds out, in its own process, of which memory and disk are bounded."""

    def test_made_by_hand_and_honest(self, path):
        state = mapping(a=tensor([2, 2], [2, 1], 4), b=tensor([4], [1], 4))
        args = mapping(rate=b"G" + b"\x7f\xf8" + bytes(6), size=number(3))
        save(path, mapping(state_dict=state, args=args), FOUR)
        found = read_torch_file(path, "state_dict", ["args"])
        assert found.plain == {"args": {"rate": "nan", "size": 3}}
        np.testing.assert_array_equal(found.arrays["a"], [[1, 2], [3, 4]])
        np.testing.assert_array_equal(found.arrays["b"], [1, 2, 3, 4])

    @pytest.mark.parametrize("kind", HOSTILE)
    def test_hostile(self, path, kind):
        pickled, words = HOSTILE[kind]
        save(path, pickled, bytes(1 << 14))
        with pytest.raises(CheckpointError, match=words):
            read_torch_file(path, "state_dict", ["args"])


@budgets
@pytest.mark.usefixtures("torch")
def test_reader_beside_pytorch_answers_whatever_comes(tmp_path, budget):
    """Within the process that reads; what crashes PyTorch itself is an error outside of it."""
    reader = Path(torch_file.__file__).with_name("torch_reader.py")
    program = Path(__file__).with_name("torch_fuzz.py")
    first, outcomes, crashes = 0, collections.Counter(), []
    while first < budget:
        command = [torch_python(), "-P", program, reader, tmp_path, first, budget]
        ended = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True)
        assert ended.returncode <= 0, ended.stderr
        if ended.returncode == 0:
            found = json.loads(ended.stdout)
            assert found.pop("peak_mib") < 1024
            outcomes.update(found)
            break
        crashes.append(int((tmp_path / "place").read_text()))
        first = crashes[-1] + 1
    print(dict(outcomes), "PyTorch crashed at", crashes)
    assert outcomes["refused"] > outcomes["read"] > 0
