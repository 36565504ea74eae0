"""Arrays of MATLAB files against SciPy, and files that are cut short, on which SciPy crashes."""

import numpy as np
import pytest
import scipy.io

from tfgen.data.mat_format import read_mat
from tfgen.errors import DataError

TYPES = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
def test_arrays_are_those_that_scipy_reads(tmp_path, rng, dtype, compressed):
    arrays = {
        "X": (100 * rng.random((3, 4, 5, 2))).astype(dtype),
        "y": np.arange(6, dtype=dtype)[:, None],
        "a_name_longer_than_four": np.ones((1, 1), dtype),
        "empty": np.zeros((0, 3), dtype),
        "logical": np.array([[True, False, True]]),
    }
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {**arrays, "text": "left alone"}, do_compression=compressed)
    found, expected = read_mat(path, list(arrays)), scipy.io.loadmat(path)
    for name, array in arrays.items():
        assert found[name].dtype == expected[name].dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_of_any_other_length_is_refused(tmp_path, rng, compressed):
    path = tmp_path / "a.mat"
    arrays = {"X": rng.integers(0, 256, (4, 4, 3, 2), np.uint8), "y": [[1], [2]]}
    scipy.io.savemat(path, arrays, do_compression=compressed)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"a\.mat cannot be read as a MATLAB file"):
            read_mat(path, ("X", "y"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("words", "no dense array of real numbers"),
        (np.array([[1j]]), "no dense array"),
        (np.array([1, "a"], object), "no dense array"),
        ({"field": 1.0}, "no dense array"),
        (scipy.sparse.eye(3), "no dense array"),
    ],
)
def test_other_kinds_of_arrays_are_refused(tmp_path, value, message):
    scipy.io.savemat(tmp_path / "a.mat", {"X": value})
    with pytest.raises(DataError, match=message):
        read_mat(tmp_path / "a.mat", ["X"])


def test_a_missing_array_and_another_version_are_named(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"X": np.eye(2)})
    with pytest.raises(DataError, match="it has no array y"):
        read_mat(tmp_path / "a.mat", ("X", "y"))
    scipy.io.savemat(tmp_path / "b.mat", {"X": np.eye(2)}, format="4")
    with pytest.raises(DataError, match="not of version 5"):
        read_mat(tmp_path / "b.mat", ["X"])


def test_big_endian_files(tmp_path):
    numbers = b"".join(n.to_bytes(4, "big") for n in (6, 8, 9, 0, 5, 8, 1, 3, 1 << 16 | 1))
    content = numbers + b"X\0\0\0" + (3 << 16 | 2).to_bytes(4, "big") + bytes([7, 8, 9, 0])
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\1\0MI"
    tag = (14).to_bytes(4, "big") + len(content).to_bytes(4, "big")
    (tmp_path / "a.mat").write_bytes(header + tag + content)
    np.testing.assert_array_equal(read_mat(tmp_path / "a.mat", ["X"])["X"], [[7, 8, 9]])
