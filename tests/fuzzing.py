"""Many damaged inputs for a reader: each is read or refused in one sentence, in bounded memory.

An input is drawn by a function of a `random.Random`: of hypothesis for the small budget, which
shrinks what fails, and of the input's number for the large one, which is forty times as fast.
"""

import collections
import copy
import random
import resource
import struct
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfgen.errors import UserError

Draw = Callable[[random.Random], Any]

MEMORY_MIB = 512  # by which the process may grow, whatever an input of a kilobyte promises
SMALL, LARGE = 100, 100_000
_EXTREMES = (0, 1, 127, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_SCALARS = (
    *(None, True, False, 0, -3, 2, 1 << 63, 1 << 64, -(1 << 70), 0.5, -0.0, 1e308),
    *(float("nan"), float("inf"), "", "a", "9" * 400, "nvae", "None", "\x1b[2J", "../x", "1e999"),
    *("\ud800", "ä\u202e", "\n", "\0"),
)

budgets = pytest.mark.parametrize(
    "budget", [pytest.param(SMALL), pytest.param(LARGE, marks=pytest.mark.slow)]
)


def damages(whole: bytes) -> Draw:
    """Copies of a file with foreign bytes, cut, or with a tail; mostly where headers lie."""

    def draw_from(draw):
        content = bytearray(whole)
        for _ in range(draw.randint(0, 4)):
            place = draw.randint(0, min(len(whole), draw.choice([160, len(whole)])))
            number = struct.pack(draw.choice(["<I", ">I"]), draw.choice(_EXTREMES))
            found = draw.choice([number, bytes([draw.randint(0, 255)])])
            content[place : place + len(found)] = found
        end = draw.choice([len(whole), len(whole), draw.randint(0, len(whole))])
        return bytes(content[:end]) + bytes(draw.choice([0, 0, 1, 8]))

    return draw_from


def json_value(draw: random.Random, depth: int = 3):
    """Anything that JSON can hold, and what only some writers put there."""
    kind = draw.randint(0, 5) if depth else 0
    size = draw.randint(0, 3)
    if kind == 4:
        return [json_value(draw, depth - 1) for _ in range(size)]
    if kind == 5:
        return {draw.choice("abc"): json_value(draw, depth - 1) for _ in range(size)}
    return draw.choice(_SCALARS)


def with_values(whole: dict) -> Draw:
    """Copies of nested dicts and lists of which up to three entries, at any depth, are other
    values, or are not there.
    """
    paths = list(_paths(whole))

    def draw_from(draw):
        found = copy.deepcopy(whole)
        for _ in range(draw.randint(0, 3)):
            _change(found, draw.choice(paths), draw)
        return found

    return draw_from


def either(*choices: Draw) -> Draw:
    """What one of them draws."""
    return lambda draw: draw.choice(choices)(draw)


def try_many(inputs: Draw, attempt: Callable, budget: int) -> collections.Counter:
    """Calls `attempt` with so many inputs; all but `UserError` fails, and so does great memory.

    Returns:
        How many were `"read"` and how many `"refused"`.
    """
    outcomes = collections.Counter()

    def try_one(draw):
        value = inputs(draw)
        try:
            attempt(value)
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017
            outcomes["refused"] += 1
        else:
            outcomes["read"] += 1

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # parsers warn of what they mend
        if budget == SMALL:
            _try_by_hypothesis(try_one)
        else:
            _try_by_number(try_one, budget)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{dict(outcomes)}, grown by {grown:.0f} MiB")
    assert grown < MEMORY_MIB
    return outcomes


def _try_by_hypothesis(try_one):
    quiet = list(HealthCheck)
    options = dict(deadline=None, database=None, derandomize=True, suppress_health_check=quiet)
    settings(max_examples=SMALL, **options)(given(st.randoms(use_true_random=False))(try_one))()


def _try_by_number(try_one, budget):
    for number in range(budget):
        try:
            try_one(random.Random(number))
        except Exception as error:
            raise AssertionError(f"input {number} of {budget}") from error


def _paths(value, prefix=()):
    for key in _keys(value):
        yield (*prefix, key)
        yield from _paths(value[key], (*prefix, key))


def _keys(value):
    return (
        range(len(value)) if isinstance(value, list) else value if isinstance(value, dict) else ()
    )


def _change(place, path, draw):
    """Another value at a path, or none; nothing where the path is no longer."""
    *before, last = path
    for key in before:
        if key not in _keys(place):
            return
        place = place[key]
    if last not in _keys(place):
        return
    if draw.randint(0, 3):
        place[last] = json_value(draw)
    else:
        del place[last]
