"""Tensor files: what is written is read, and nothing else."""

import hashlib
import json
import resource
import stat
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
import safetensors
from irregular import irregular_files

from tfgen.files.tensor_file import FIRST_FORMAT, CorruptFileError, read_tensors, write_tensors

TENSORS = {
    "bytes": np.arange(3, dtype=np.uint8),
    "empty": np.zeros([0, 4], np.float32),
    "scalar": np.array(2**40, np.int64),
    "matrix": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "half": np.array([1.5, np.nan], np.float16),
    "brain": np.array([1.5, -np.inf], ml_dtypes.bfloat16),
    "flags": np.array([True, False]),
}
_NO_DIGEST = "0" * 64


def seal(path, header: str | bytes, data: bytes = b""):
    """Writes a file with this header and a checksum that fits: damage it is not."""
    text = header.encode() if isinstance(header, str) else header
    whole = len(text).to_bytes(8, "little") + text + data
    digest = hashlib.sha256(whole).hexdigest()
    path.write_bytes(whole.replace(_NO_DIGEST.encode(), digest.encode(), 1))
    return path


def first_format(entries: str, metadata: str = "", note: str = '"{}"') -> str:
    """A header of the first format with the entries of its arrays as text."""
    return (
        f'{{"__metadata__": {{"format": "{FIRST_FORMAT}", "sha256": "{_NO_DIGEST}", '
        f'"note": {note}{metadata}}}{entries and ", "}{entries}}}'
    )


def entry(name, begin, end, dtype='"F32"', shape="[2]") -> str:
    return f'"{name}": {{"dtype": {dtype}, "shape": {shape}, "data_offsets": [{begin}, {end}]}}'


def assert_are_tensors(found):
    assert list(found) == list(TENSORS)
    for name, array in TENSORS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_round_trip(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS, {"note": [1, "ü"]})
    tensors, note = read_tensors(path)
    assert note == {"note": [1, "ü"]}
    assert_are_tensors(tensors)


def test_other_tools_read_it(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS, {})
    with safetensors.safe_open(path, "np") as file:
        assert sorted(file.keys()) == sorted(TENSORS)
        np.testing.assert_array_equal(file.get_tensor("matrix"), TENSORS["matrix"])


def test_equal_content_is_an_equal_file_with_the_mode_of_any_other(tmp_path):
    contents = set()
    for index in range(4):
        path = tmp_path / str(index)
        write_tensors(path, TENSORS, {"b": 1, "a": 2})
        contents.add(path.read_bytes())
    assert len(contents) == 1
    (tmp_path / "other").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


def test_files_of_the_first_format_are_read_in_their_order(tmp_path):
    entries = entry("b", 0, 8) + ", " + entry("a", 8, 10, '"BF16"', "[1]")
    data = np.float32([1, 2]).tobytes() + np.array([3], ml_dtypes.bfloat16).tobytes()
    path = seal(tmp_path / "a", first_format(entries, note=json.dumps('{"x": 1}')), data)
    tensors, note = read_tensors(path)
    assert note == {"x": 1}
    assert list(tensors) == ["b", "a"]
    np.testing.assert_array_equal(tensors["b"], np.float32([1, 2]))
    assert tensors["a"].dtype == ml_dtypes.bfloat16


def test_a_full_disk_has_its_number(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        # No file may grow beyond this: what a full disk does, without filling one.
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
        with pytest.raises(OSError, match="File too large") as error:
            write_tensors(tmp_path / "a", {"a": np.zeros(1000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.value.errno == 27
    assert error.value.filename == str(tmp_path / "a")


EIGHT = bytes(8)
HOSTILE = {
    "overlap": (first_format(entry("a", 0, 8) + ", " + entry("b", 0, 8)), EIGHT),
    "partial overlap": (first_format(entry("a", 0, 8) + ", " + entry("b", 4, 12)), bytes(12)),
    "hole": (first_format(entry("a", 4, 12)), bytes(12)),
    "bytes of nobody": (first_format(entry("a", 0, 8)), bytes(12)),
    "beyond the end": (first_format(entry("a", 0, 1 << 40, shape="[274877906944]")), EIGHT),
    "beyond 64 bits": (first_format(entry("a", 0, 1 << 70)), EIGHT),
    "negative": (first_format(entry("a", -8, 0)), EIGHT),
    "backwards": (first_format(entry("a", 8, 0)), EIGHT),
    "the same name twice": (first_format(entry("a", 0, 8) + ", " + entry("a", 0, 8)), EIGHT),
    "shape of another size": (first_format(entry("a", 0, 8, shape="[3]")), EIGHT),
    "shape that overflows": (
        first_format(entry("a", 0, 8, shape=f"[{1 << 63}, {1 << 63}, 2]")),
        EIGHT,
    ),
    "empty shape beyond numpy": (
        first_format(entry("a", 0, 0, shape=f"[0, {(1 << 64) - 1}]")),
        b"",
    ),
    "65 axes": (first_format(entry("a", 0, 8, shape=str([1] * 65 + [2]))), EIGHT),
    "shape of text": (first_format(entry("a", 0, 8, shape='"2"')), EIGHT),
    "offsets of text": (first_format(entry("a", '"0"', '"8"')), EIGHT),
    "fractions": (first_format(entry("a", 0.0, 8.0)), EIGHT),
    "unknown dtype": (first_format(entry("a", 0, 8, '"X32"')), EIGHT),
    "dtype of nobody here": (first_format(entry("a", 0, 8, '"C64"', "[1]")), EIGHT),
    "dtype that is a list": (first_format(entry("a", 0, 8, '["F32"]')), EIGHT),
    "entry that is a list": (first_format('"a": [0, 8]'), EIGHT),
    "no metadata": ("{" + entry("a", 0, 8) + "}", EIGHT),
    "metadata that is a list": ('{"__metadata__": ["' + _NO_DIGEST + '"]}', b""),
    "no object": (f'["{_NO_DIGEST}"]', b""),
    "another format": (first_format("").replace(FIRST_FORMAT, "pt"), b""),
    "note that is no JSON": (first_format("", note='"{"'), b""),
    "note that is a list": (first_format("", note='"[]"'), b""),
    "note that is no text": (first_format("", note="{}"), b""),
    "deep note": (first_format("", note=json.dumps("[" * 200_000)), b""),
    "deep header": (first_format('"a": ' + "[" * 200_000), b""),
    "metadata of two kinds": (first_format("", ', "tfgen": "{}"'), b""),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_checksum_makes_no_truth(tmp_path, kind):
    path = seal(tmp_path / "a.safetensors", *HOSTILE[kind])
    with pytest.raises(CorruptFileError, match=r"a\.safetensors is (corrupt|truncated|no)"):
        read_tensors(path)


@pytest.mark.parametrize(
    "change",
    [
        {"names": ["a", "a"]},
        {"names": ["b"]},
        {"names": [["a"]]},
        {"names": None},
        {"note": 3},
        {"sha256": "0"},
        {"sha256": ["0" * 64]},
        {"format": "tfgen-checkpoint/3"},
    ],
)
def test_the_second_format_is_not_believed_either(tmp_path, change):
    metadata = {"format": "tfgen-checkpoint/2", "sha256": _NO_DIGEST, "note": {}, "names": ["a"]}
    for changes, right in (({}, True), (change, False)):
        text = json.dumps({"__metadata__": {"tfgen": json.dumps(metadata | changes)}})
        path = seal(tmp_path / "a", text[:-1] + ", " + entry("a", 0, 8) + "}", EIGHT)
        if right:
            assert list(read_tensors(path)[0]) == ["a"]
        else:
            with pytest.raises(CorruptFileError):
                read_tensors(path)


def test_no_bytes_are_given_out_twice(tmp_path):
    """8 MiB that 300 arrays claim would become 2.4 GiB."""
    size = 8 << 20
    entries = ", ".join(entry(f"a{i}", 0, size, shape=f"[{size // 4}]") for i in range(300))
    path = seal(tmp_path / "a", first_format(entries), bytes(size))
    tracemalloc.start()
    try:
        with pytest.raises(CorruptFileError):
            read_tensors(path)
        assert tracemalloc.get_traced_memory()[1] < 8 * size
    finally:
        tracemalloc.stop()


def test_a_header_beyond_all_measure_is_not_parsed(tmp_path):
    path = tmp_path / "a.safetensors"
    with open(path, "wb") as file:
        file.write((1 << 26).to_bytes(8, "little") + b"{")
        file.truncate(8 + (1 << 26))
    with pytest.raises(CorruptFileError, match="its header has 67108864 bytes"):
        read_tensors(path)


def test_what_is_no_regular_file(tmp_path):
    for path in irregular_files(tmp_path).values():
        with pytest.raises(CorruptFileError, match="expected a regular file"):
            read_tensors(path)
