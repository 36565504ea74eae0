"""Many damaged inputs for a reader: each is read or refused in one sentence, in bounded memory."""

import collections
import resource
import struct
import warnings
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfgen.errors import UserError

MEMORY_MIB = 512  # by which the process may grow, whatever an input of a kilobyte promises
SMALL, LARGE = 100, 100_000

budgets = pytest.mark.parametrize(
    "budget", [pytest.param(SMALL), pytest.param(LARGE, marks=pytest.mark.slow)]
)


def damages(whole: bytes) -> st.SearchStrategy[bytes]:
    """Copies of a file with foreign bytes, cut, or with a tail; mostly where headers lie."""
    size = len(whole)
    place = st.one_of(st.integers(0, min(size, 160)), st.integers(0, size))
    extreme = [0, 1, 127, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1]
    numbers = st.builds(struct.pack, st.sampled_from(["<I", ">I"]), st.sampled_from(extreme))
    edits = st.lists(st.tuples(place, st.binary(min_size=1, max_size=2) | numbers), max_size=4)
    ends = st.one_of(st.just(size), st.integers(0, size))

    def damaged(edits, end, tail):
        content = bytearray(whole)
        for start, found in edits:
            content[start : start + len(found)] = found
        return bytes(content[:end]) + tail

    return st.builds(damaged, edits, ends, st.binary(max_size=8))


def json_values() -> st.SearchStrategy:
    """Anything that JSON can hold, and what only some writers put there."""
    scalars = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 3),
        st.integers(-(1 << 70), 1 << 70),
        st.floats(),
        st.text(max_size=5),
        st.sampled_from(["9" * 400, "nvae", "None", "\x1b[2J", "../x", "1e999"]),
    )
    return st.recursive(
        scalars,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=6,
    )


def with_values(config: dict, values: st.SearchStrategy) -> st.SearchStrategy[dict]:
    """Copies of nested dicts of which up to three entries, at any depth, are other values."""
    changes = st.lists(st.tuples(st.sampled_from(list(_paths(config))), values), max_size=3)
    return changes.map(lambda found: _changed(config, found))


def try_many(inputs: st.SearchStrategy, attempt: Callable, budget: int) -> collections.Counter:
    """Calls `attempt` with so many inputs; all but `UserError` fails, and so does great memory.

    Returns:
        How many were `"read"` and how many `"refused"`.
    """
    outcomes = collections.Counter()

    @settings(
        max_examples=budget,
        deadline=None,
        database=None,
        derandomize=budget == SMALL,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def try_one(value):
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
        try_one()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{dict(outcomes)}, grown by {grown:.0f} MiB")
    assert grown < MEMORY_MIB
    return outcomes


def _paths(config, prefix=()):
    for key, value in config.items():
        yield (*prefix, key)
        if isinstance(value, dict):
            yield from _paths(value, (*prefix, key))


def _changed(config, changes):
    """A deep copy, so far as it is dicts, with the values put where they belong."""
    found = {k: _changed(v, ()) if isinstance(v, dict) else v for k, v in config.items()}
    for path, value in changes:
        place = found
        for key in path[:-1]:
            place = place[key] if isinstance(place, dict) and key in place else {}
        if isinstance(place, dict):
            place[path[-1]] = value
    return found
