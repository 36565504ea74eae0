"""The last lines of a test run: how many tests were skipped, and for which reasons."""

import collections
from collections.abc import Iterable

import pytest


def lines(reports: Iterable, total: int) -> list[str]:
    """What to print.

    Args:
        reports: pytest's reports of what was skipped; of a file skipped as a whole there is one.
        total: number of tests and of files skipped as a whole.
    """
    reasons = collections.Counter(map(_reason, reports))
    if not reasons:
        return [f"none of {total:,} tests was skipped"]
    found = [f"{reasons.total():,} of {total:,} tests were skipped:"]
    return found + [f"{count:>7,}  {reason}" for reason, count in reasons.most_common()]


def _reason(report) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter):
    """Prints the lines after everything else but pytest's closing line."""
    result = yield
    stats = terminalreporter.stats
    ended = ("passed", "failed", "skipped", "error", "xfailed", "xpassed")
    total = sum(len(stats.get(kind, ())) for kind in ended)
    for line in lines(stats.get("skipped", ()), total):
        terminalreporter.write_line(line)
    return result
