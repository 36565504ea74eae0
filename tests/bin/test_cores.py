"""Cores are shared as programs ask, unless somebody else decided; parts of a batch are its rows."""

import subprocess
import sys

import numpy as np
import pytest

from tfgen import cores

SETTINGS = """
import os
{before}
from tfgen.cores import num_cores, parts_at_once, share_cores, threads_per_operation
import tensorflow as tf
{then}
print(share_cores(1), threads_per_operation() == 1, parts_at_once() == num_cores())
"""


@pytest.mark.parametrize(
    ("before", "then", "expected"),
    [
        ("", "", "True True True"),
        ("", "tf.zeros([]).numpy()", "False {one} {one}"),  # TensorFlow has begun
        ("os.environ['TF_NUM_INTRAOP_THREADS'] = '1'", "", "False True True"),
        pytest.param(
            *("os.environ['TF_NUM_INTRAOP_THREADS'] = 'many'", "", "True True True"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("", "tf.config.threading.set_inter_op_parallelism_threads(3)", "False {one} {one}"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_was_decided_before_stays(before, then, expected):
    one = cores.num_cores() == 1
    program = SETTINGS.format(before=before, then=then)
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "PATH": "", "PYTHONPATH": ":".join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert run.stdout.split() == expected.format(one=one).split(), run.stderr


@pytest.mark.parametrize(("size", "count"), [(7, 3), (2, 3), (1, 4), (0, 2), (6, 1)])
def test_parts_are_all_rows_in_order(monkeypatch, size, count):
    monkeypatch.setattr(cores, "parts_at_once", lambda: count)
    rows = np.arange(size)
    parts = cores.side_by_side(lambda part: rows[part], size)
    np.testing.assert_array_equal(np.concatenate(parts), rows)
    assert len(parts) == max(1, min(size, count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_half_of_the_cores_rounded_up(monkeypatch):
    given = []
    monkeypatch.setattr(cores, "_threads", lambda kind: 0)
    monkeypatch.setattr(cores.tf.config.threading, "set_intra_op_parallelism_threads", given.append)
    for count in (1, 2, 3, 8):
        monkeypatch.setattr(cores, "num_cores", lambda count=count: count)
        assert cores.share_cores()
    assert given == [1, 1, 2, 4]


def test_an_error_in_a_part_is_raised(monkeypatch):
    monkeypatch.setattr(cores, "parts_at_once", lambda: 2)
    with pytest.raises(ZeroDivisionError):
        cores.side_by_side(lambda part: 1 // part.start, 4)
