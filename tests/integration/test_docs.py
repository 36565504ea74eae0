"""What README and docs say is so: Python runs, commands parse, links lead somewhere.

Python blocks of a page run in order, in one namespace and an empty folder, as they stand: pages
keep them small. Commands are parsed by the program they call, recipe, mode and every flag included;
they are not run here, since most would train for an hour (tests/integration runs every program).
"""

import importlib
import pathlib
import re
import shlex
import sys

import pytest
from absl.testing import flagsaver

from tfgen.bin import app, arguments

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
NAMES = [path.stem for path in PAGES]
PROGRAMS = {
    f"tfgen-{n}": n
    for n in ("audit", "convert", "detect", "evaluate", "export", "ground", "sample", "search")
}
PROGRAMS |= {"tfgen-train": "train", "tfgen-transform": "transform", "tfgen-select": "selection"}


def python_blocks(text):
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(text):
    """Lines of indented blocks that call a program of this project."""
    for line in re.findall(r"^    (\S.*)$", text, re.MULTILINE):
        words = shlex.split(line, comments=True)
        if words and (words[0] in PROGRAMS or words[0].startswith(("tools/", "./tools/"))):
            yield words


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_python_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": page.stem}
    for block in python_blocks(page.read_text(encoding="utf-8")):
        exec(compile(block, str(page), "exec"), names)
    for file in tmp_path.glob("*.onnx"):
        assert file.stat().st_size > 1000


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_parse(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for words in commands(page.read_text(encoding="utf-8")):
        if words[0] not in PROGRAMS:
            assert (ROOT / words[0]).is_file(), words
            continue
        importlib.import_module(f"tfgen.bin.{PROGRAMS[words[0]]}")
        monkeypatch.setattr(sys, "argv", words)
        parse = arguments.parse if words[0] == "tfgen-convert" else app.parse
        with flagsaver.flagsaver():
            parse(words[0], words)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        known = target.startswith("https://") or target == "address"
        assert known or (page.parent / target).exists(), target


def test_readme_is_for_ten_minutes():
    assert len((ROOT / "README.md").read_text(encoding="utf-8")) <= 8000


def test_every_picture_is_shown_somewhere():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for picture in (ROOT / "docs" / "images").iterdir():
        assert f"images/{picture.name}" in text, picture.name
