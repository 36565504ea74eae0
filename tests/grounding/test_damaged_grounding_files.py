"""Every reader of phrase grounding on files damaged by chance: one sentence of ours, or data.

An input depends on its number alone. Under the marker `slow`, 100,000 of each, and 10,000 of HDF5.
"""

import base64
import contextlib
import json
import pickle

import damaged_readers as whole
import h5py
import numpy as np
import pytest
from fuzzing import LARGE, damages, either, json_value, try_many, with_values
from irregular import irregular_files

from tfgen.errors import UserError

budgets = pytest.mark.parametrize("budget", [40, pytest.param(LARGE, marks=pytest.mark.slow)])


@pytest.fixture(params=whole.READERS)
def reader(request, tmp_path):
    found = whole.READERS[request.param]
    found.write(tmp_path)
    found.read(tmp_path)  # whole, it is read
    return found


def attempts(reader, folder):
    def attempt(content):
        (folder / reader.name).write_bytes(content)
        reader.read(folder)

    return attempt


@budgets
def test_damaged_bytes(reader, tmp_path, budget):
    content = (tmp_path / reader.name).read_bytes()
    if reader.name.endswith(".hdf5") and budget == LARGE:
        budget //= 10
    outcomes = try_many(damages(content), attempts(reader, tmp_path), budget)
    assert outcomes["refused"] > budget / 10


@budgets
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("captions", whole.CAPTIONS),
        ("images", whole.IMAGES),
        ("MAF's rows", whole.ROWS),
        ("MAF's rows, pickled", whole.ROWS),
        ("MAF's boxes", whole.DETECTIONS),
    ],
)
def test_other_values(tmp_path, name, value, budget):
    reader = whole.READERS[name]
    reader.write(tmp_path)
    dump = pickle.dumps if "pickled" in name else lambda found: json.dumps(found).encode()
    inputs = either(with_values(value), with_values(value), json_value)
    outcomes = try_many(lambda draw: dump(inputs(draw)), attempts(reader, tmp_path), budget)
    assert outcomes["refused"] > budget / 10
    assert outcomes["read"]


def odd_array(draw):
    """Arrays of numbers of odd shapes and types, and what is none."""
    shape = draw.choice([(3, 4), (3, 4), (3,), (), (0, 4), (3, 0), (2, 4), (3, 4, 1)])
    kind = draw.choice(["f4", "f8", "f2", "i8", "u1", "c8", "?", "S3", ">f4"])
    array = np.ones(shape).astype(kind)
    if array.dtype.kind == "f" and array.size:
        array.flat[0] = draw.choice([0.0, 1.0, np.nan, np.inf, 1e300, -1e30])
    return draw.choice([array, array, array, h5py.SoftLink("/8"), h5py.Empty("f4"), None, "text"])


@budgets
@pytest.mark.parametrize("name", ["features", "boxes", "scores"])
def test_other_arrays(tmp_path, name, budget):
    whole.write_official(tmp_path)

    def attempt(array):
        with h5py.File(tmp_path / f"{name}.hdf5", "a") as file:
            del file["7"]
            if array is None:
                file.create_group("7")
            else:
                file["7"] = array
        whole.read_official(tmp_path)

    if budget == LARGE:
        budget //= 10
    with np.errstate(all="ignore"):
        outcomes = try_many(odd_array, attempt, budget)
    assert outcomes["refused"] > budget / 10
    assert outcomes["read"]


@budgets
def test_other_columns(tmp_path, budget):
    def packed(draw):
        array = np.full(draw.choice([0, 1, 6, 8]), draw.choice([0.0, np.nan, np.inf]), "<f4")
        return base64.b64encode(array.tobytes()).decode()

    def line(draw):
        texts = ["", "0", "-1", "2", "1e3", "9" * 30, "9" * 5000, "x", '"', "\t", "\r"]
        changes = [
            (draw.randint(0, 5), draw.choice([draw.choice(texts), packed(draw)]))
            for _ in range(draw.randint(0, 2))
        ]
        return whole.tsv_line(*changes).encode()

    attempt = attempts(whole.READERS["TSV"], tmp_path)
    outcomes = try_many(line, attempt, budget)
    assert outcomes["refused"] > budget / 4
    assert outcomes["read"]


@budgets
def test_other_elements(tmp_path, budget):
    whole.write_entities(tmp_path)
    numbers = ["", "0", "-1", "nan", "inf", "1e400", "1e300", "9" * 5000, "x", "&#0;", "<a/>"]

    def text(draw):
        found = whole.ANNOTATION
        for _ in range(draw.randint(0, 2)):
            old = draw.choice([">50<", ">40<", ">3<", ">15<", ">1<", "<name>1</name>", "<xmin>"])
            found = found.replace(old, f">{draw.choice(numbers)}<" if old[0] == ">" else "", 1)
        return found.encode()

    attempt = attempts(whole.READERS["annotations"], tmp_path)
    outcomes = try_many(text, attempt, budget)
    assert outcomes["refused"] > budget / 10
    assert outcomes["read"]


# -- what lies there instead -----------------------------------------------------------------------


def test_what_is_no_regular_file(reader, tmp_path):
    if reader.name == "val.txt":
        (tmp_path / "Sentences/77.txt").unlink()  # so that nothing else is amiss
    for found in irregular_files(tmp_path).values():
        path = tmp_path / reader.name
        path.unlink()
        path.symlink_to(found)
        with pytest.raises(UserError) as error:
            reader.read(tmp_path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", [b"", b"\xff\xfe\x00", b"[" * 200_000, b'{"a":' * 200_000])
def test_what_is_no_such_file_at_all(reader, tmp_path, text):
    (tmp_path / reader.name).write_bytes(text)
    is_text = reader.name.endswith((".txt", ".tsv")) or reader is whole.READERS["vocabulary"]
    if is_text and text[:1] != b"\xff":
        with contextlib.suppress(UserError):  # any text may be one of these
            reader.read(tmp_path)
        return
    with pytest.raises(UserError) as error:
        reader.read(tmp_path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000
