"""A run of the tests ends with what it left out."""

import types

import skips


def report(reason):
    return types.SimpleNamespace(longrepr=("tests/test_x.py", 3, f"Skipped: {reason}"))


def test_reasons_are_counted():
    found = skips.lines([report("needs the data set mnist.npz"), *[report("PyTorch")] * 2], 2404)
    assert found == [
        "3 of 2,404 tests were skipped:",
        "      2  PyTorch",
        "      1  needs the data set mnist.npz",
    ]


def test_nothing_skipped():
    assert skips.lines([], 2404) == ["none of 2,404 tests was skipped"]


def test_conftest_prints_them(pytestconfig):
    hooks = pytestconfig.hook.pytest_terminal_summary.get_hookimpls()
    assert any(hook.function is skips.pytest_terminal_summary for hook in hooks)
