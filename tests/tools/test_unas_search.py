"""What the study of searched cells says of its rows, and that it goes on where it stopped."""

import pytest
from scripts import script

from tfgen.errors import UserError


@pytest.fixture(scope="module")
def report(root):
    with script(root / "tools" / "studies" / "unas_search_report.py") as module:
        yield module


def rows():
    random = {
        f"random {k}": {"test_accuracy": 0.4 + 0.01 * k, "validation_accuracy": 0.5 - 0.01 * k}
        for k in range(3)
    }
    found = {f"found {k}": {"test_accuracy": 0.45 + 0.01 * k} for k in range(3)}
    last = {"found for latency": {"test_accuracy": 0.44}}
    measured = {name: 1.0 + 0.1 * k for k, name in enumerate([*random, *found, *last])}
    again = dict(measured=measured, speed=0.5, latency=1.6, share_of_target=0.8)
    return {**random, **found, **last, "parts": {"target": 1.0}, "timed again": again}


def test_summary_and_picture(report, tmp_path):
    text = report.summary(rows())
    assert "mean 41.0%, standard deviation 1.0%" in text
    assert "+5.00 standard deviations of the random cells" in text
    assert "(95 % by Welch's t: +2.73 to +7.27)" in text  # 2.776 * sqrt(2 / 3) = 2.27
    assert "3 of 3 found cells are more than one above it" in text
    assert "best on validation images: 40.0%" in text
    assert "1.6000 ms measured again" in text
    assert "2.00 times what they did before: 80.0% of the target" in text
    report.draw(rows(), tmp_path / "pareto.png")
    assert (tmp_path / "pareto.png").read_bytes().startswith(b"\x89PNG")
    few = {name: row for name, row in rows().items() if name == "found 0"}
    assert "too few" in report.summary(few)
    report.draw(few, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_pareto_keeps_what_nothing_beats(report):
    points = [(2.0, 3.0), (1.0, 1.0), (3.0, 2.5), (2.0, 2.0), (4.0, 5.0), (1.0, 0.5)]
    assert report.pareto(points) == [(1.0, 1.0), (2.0, 3.0), (4.0, 5.0)]


def test_rows_are_made_once_and_of_one_setting(report, tmp_path):
    said, path = [], tmp_path / "folder" / "results.json"
    report.Rows(path, {"epochs": 3}, said.append).add("one", lambda: {"test_accuracy": 0.5})
    again = report.Rows(path, {"epochs": 3}, said.append)
    again.add("one", lambda: pytest.fail("it is there"))
    assert again["one"] == {"test_accuracy": 0.5}
    assert [line.split(",")[0] for line in said] == ["one: {'test_accuracy': 0.5}"]
    with pytest.raises(UserError, match="name another --folder"):
        report.Rows(path, {"epochs": 4}, said.append)
