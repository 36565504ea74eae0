"""Logs that grow by lines: what is appended, torn, damaged, foreign."""

import csv
import os
import resource
import time
import warnings

import numpy as np
import pytest

from tfgen.errors import UserError
from tfgen.files.row_log import RowLog

COLUMNS = ["step", "epoch", "rate", "skips"]


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def filled(path, count):
    log = RowLog(path, COLUMNS)
    log.resume(0)
    for step in range(1, count + 1):
        log.add({"step": step, "epoch": 1, "rate": 0.5, "skips": 0, "loss": 1.0 / step})
    return log


def test_rows_are_appended_and_a_later_one_of_the_same_count_wins(tmp_path):
    path = tmp_path / "logs" / "log.csv"
    log = filled(path, 3)
    log.add({"step": 3, "rate": 0.25, "loss": 7.0, "val_loss": 2.0})
    log.add({"step": 4, "rate": 0.25})
    log.add({"step": 4, "rate": 0.125, "loss": 3.0})
    assert list(rows(path)[0]) == [*COLUMNS, "loss", "val_loss"]
    assert [row["step"] for row in rows(path)] == ["1", "2", "3", "4"]
    assert [row["val_loss"] for row in rows(path)] == ["", "", "2.0", ""]
    assert rows(path)[-1]["rate"] == "0.125"


def test_resuming_drops_what_lies_beyond_and_goes_on(tmp_path):
    path = tmp_path / "log.csv"
    filled(path, 6)
    log = RowLog(path, COLUMNS)
    log.resume(4)
    log.add({"step": 5, "rate": 1.0, "loss": 9.0})
    assert [row["step"] for row in rows(path)] == ["1", "2", "3", "4", "5"]
    assert rows(path)[-1]["loss"] == "9.0"


@pytest.mark.parametrize("lost", [1, 2, 3, 5, 12])
def test_a_torn_last_line_is_dropped_without_a_word(tmp_path, lost, recwarn):
    path = tmp_path / "log.csv"
    filled(path, 4)
    path.write_bytes(path.read_bytes()[:-lost])
    log = RowLog(path, COLUMNS)
    log.resume(4)
    log.add({"step": 4, "rate": 1.0, "loss": 9.0})
    assert [row["step"] for row in rows(path)] == ["1", "2", "3", "4"]
    assert not recwarn


@pytest.mark.parametrize("share", [0.2, pytest.param(1.0, marks=pytest.mark.slow)])
def test_no_flipped_bit_ends_the_log(tmp_path, share):
    path = tmp_path / "log.csv"
    filled(path, 4)
    whole = path.read_bytes()
    places = np.random.default_rng(0).permutation(8 * len(whole))
    for place in places[: int(share * len(places))].tolist():
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        log = RowLog(path, COLUMNS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            log.resume(4)
        log.add({"step": 5, "rate": 1.0, "loss": 9.0})
        left = [row["step"] for row in rows(path)]
        assert left[-1] == "5", place
        assert all(step.isdigit() for step in left), place
        # A flip in the last line end looks like a line that was being written.
        if len(left) < 4 or (len(left) < 5 and place // 8 < whole.rindex(b"\r\n")):
            beyond = [k for k in ("1", "2", "3", "4") if k not in left]
            beside = tmp_path / "log.csv.damaged"
            assert beside.exists() or len(beyond) == 1, place
            assert not beside.exists() or beside.read_bytes() == content
        for beside in tmp_path.glob("*.damaged"):
            beside.unlink()


def test_damage_is_said_and_kept(tmp_path):
    path = tmp_path / "log.csv"
    filled(path, 4)
    content = path.read_bytes().replace(b"2,1,0.5", b'"2,1,0.\xff')
    path.write_bytes(content)
    log = RowLog(path, COLUMNS)
    with pytest.warns(UserWarning, match=r"1 damaged lines.*log.csv.damaged"):
        log.resume(4)
    assert [row["step"] for row in rows(path)] == ["1", "3", "4"]
    assert (tmp_path / "log.csv.damaged").read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\0" * 99, b"\x89PNG\r\n"])
def test_foreign_files_are_left_alone(tmp_path, content):
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match="move it away"):
        RowLog(path, COLUMNS).resume(4)
    assert path.read_bytes() == content


def test_a_folder_and_a_pipe_are_no_logs(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    for name in ("pipe.csv", "folder.csv"):
        with pytest.raises(UserError, match="is no file"):
            RowLog(tmp_path / name, COLUMNS).resume(4)


def test_a_full_disk_keeps_the_rows_before(tmp_path):
    path = tmp_path / "log.csv"
    log = filled(path, 4)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 4, hard))
        with pytest.raises(OSError, match="File too large"):
            log.add({"step": 5, "rate": 1.0, "loss": 9.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    log.add({"step": 5, "rate": 1.0, "loss": 9.0})
    assert [row["step"] for row in rows(path)] == ["1", "2", "3", "4", "5"]


def test_a_file_that_vanished_is_an_error(tmp_path):
    log = filled(tmp_path / "log.csv", 4)
    (tmp_path / "log.csv").unlink()
    with pytest.raises(FileNotFoundError):
        log.add({"step": 5, "rate": 1.0, "loss": 9.0})


def test_a_row_costs_the_same_however_many_there_are(tmp_path):
    def milliseconds(log, first):
        begin = time.perf_counter()
        for step in range(first, first + 200):
            log.add({"step": step, "epoch": 1, "rate": 0.5, "skips": 0, "loss": 1.0})
        return 5 * (time.perf_counter() - begin)

    few, many = filled(tmp_path / "few.csv", 1), filled(tmp_path / "many.csv", 1)
    path = tmp_path / "many.csv"
    path.write_bytes(
        path.read_bytes() + b"".join(b"%d,1,0.5,0,1.0\r\n" % k for k in range(2, 20_001))
    )
    many.resume(20_000)
    # Rewriting 20,000 rows each time would cost thousands of times as much.
    assert milliseconds(many, 20_001) < 20 * milliseconds(few, 2) + 1
