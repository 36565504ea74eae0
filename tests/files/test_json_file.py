"""JSON, read with suspicion."""

import json
import stat

import numpy as np
import pytest
from irregular import irregular_files

from tfgen.errors import ConfigError, UserError
from tfgen.files.json_file import MOST_BYTES, parse_json, read_json, to_json, write_json
from tfgen.files.regular import regular_file

NO_JSON = {
    "brackets": "[" * 200_000,
    "braces": '{"a":' * 200_000,
    "closed brackets": '{"a": ' + "[" * 900 + "]" * 900 + "}",
    "a little too deep": '{"a": ' + "[" * 64 + "]" * 64 + "}",
    "no object": "[1, 2]",
    "a string": '"name"',
    "nothing": "",
    "cut off": '{"a": 1',
    "the same key twice": '{"a": 1, "a": 2}',
    "the same key twice within": '{"b": [{"a": 1, "a": 2}]}',
    "NaN": '{"a": NaN}',
    "infinity": '{"a": -Infinity}',
    "a number beyond float64": '{"a": 1e999}',
    "65 bits": f'{{"a": {1 << 64}}}',
    "65 bits, negative": f'{{"a": {-(1 << 63) - 1}}}',
    "5,000 digits": '{"a": ' + "9" * 5000 + "}",
    "half a surrogate pair": '{"a": "\\ud800"}',
    "half a surrogate pair as a key": '{"\\ud800": 1}',
    "a control character": '{"a": "\n"}',
}


@pytest.mark.parametrize("text", NO_JSON.values(), ids=NO_JSON)
def test_what_is_no_plain_object_is_named_in_one_sentence(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json cannot be read as JSON \(.*; mend"):
        read_json(path, ConfigError, "mend it")
    with pytest.raises(UserError, match="the note cannot be read") as found:
        parse_json(text, "the note")
    assert len(str(found.value)) < 300


@pytest.mark.parametrize("content", [b"\xff{}", b'{"a": "\xed\xa0\x80"}', b'{"a": "\x80"}', b"\0"])
def test_bytes_that_are_no_utf8(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"config\.json cannot be read as JSON"):
        read_json(path)


def test_a_file_beyond_all_measure_is_not_read(tmp_path):
    path = tmp_path / "config.json"
    with open(path, "wb") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(UserError, match=f"more than {MOST_BYTES >> 20} MiB"):
        read_json(path)


def test_many_keys_with_one_twice_take_no_quadratic_time():
    text = json.dumps({str(i): i for i in range(100_000)})[:-1] + ', "99999": 0}'
    with pytest.raises(UserError, match="'99999' occurs twice"):
        parse_json(text, "it")


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "a" / "config.json"
    value = {"a": [1, -2.5, True, None, {"b": "ä ☃"}], "least": -(1 << 63), "most": (1 << 64) - 1}
    write_json(path, value)
    assert read_json(path) == value
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as some editors begin a file
    assert read_json(path) == value
    deep = '{"a": ' + "[" * 63 + "]" * 63 + "}"
    assert parse_json(deep, "it")


def test_what_is_not_finite_is_written_as_null():
    value = {"a": [np.nan, (np.inf, 1)], "b": np.float32(-np.inf), "c": np.array([0.5, np.nan])}
    assert json.loads(to_json(value, None)) == {"a": [None, [None, 1]], "b": None, "c": [0.5, None]}


def test_what_has_no_form_in_json_is_not_written(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"a\.json cannot be read: No such file .*; restore it"):
        read_json(tmp_path / "a.json", ConfigError)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    for kind, path in irregular_files(tmp_path).items():
        for read in (regular_file, read_json):
            with pytest.raises(ConfigError, match=f"is {kind.rstrip('.')}; expected a regular"):
                read(path, ConfigError)
    with pytest.raises(UserError, match="cannot be the path of a file"):
        regular_file("a\0b")


def test_links_to_regular_files_are_followed(tmp_path):
    (tmp_path / "a").write_text("{}")
    (tmp_path / "b").symlink_to("a")
    assert stat.S_ISREG(regular_file(tmp_path / "b").stat().st_mode)
    assert read_json(tmp_path / "b") == {}


def test_a_loop_of_links_is_an_error_of_the_file(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UserError, match=r"a cannot be read: .*symbolic links"):
        read_json(tmp_path / "a")
