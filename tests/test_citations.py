"""Every number that is cited exists in a paper that is named beside it.

"Section 3.2" helps nobody who cannot tell of which paper. So a section, appendix, equation,
algorithm, theorem, table or figure is cited by its number only where the same docstring, comment or
paragraph names the paper, or the head of the file does; and only if `PAPERS` knows the number.
"""

import ast
import re
import subprocess
import tokenize
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]


class Paper(NamedTuple):
    """What may be cited of a paper; a number that nobody has looked up does not stand here."""

    names: tuple[str, ...]
    arxiv: str
    section: str = ""
    appendix: str = ""
    equation: str = ""
    algorithm: str = ""
    theorem: str = ""
    table: str = ""
    figure: str = ""


PAPERS = (
    Paper(
        ("NVAE",),
        "2007.03898",
        section="1 1.1 2 3 3.1 3.1.1 3.1.2 3.2 4 4.1 4.2 4.3 5",
        appendix="A",
        equation="1 2",
        figure="1 2 3",
    ),
    Paper(("NCP-VAE", "Aneja et al."), "2010.02917"),
    Paper(
        ("VAEBM", "Xiao et al."),
        "2010.00654",
        section="1 2 3 3.1 4 5 5.1 5.5 6",
        appendix="B B.1 C C.2 E H",
        table="1 2 3 4 5 6 7 8",
        figure="1 2 3 5 6 9",
    ),
    Paper(
        ("LSGM",),
        "2106.05931",
        section="3 3.4 5 5.2",
        appendix="B G G.5.1",
        equation="4 8 9",
        algorithm="1 2 3",
        theorem="1",
        table="1 2 3 4 5 6 7 8",
        figure="1 2 3 4 5 6 9",
    ),
    Paper(
        ("Fromage", "Bernstein et al."),
        "2002.03432",
        algorithm="1",
        theorem="1",
        figure="1 2",
    ),
    Paper(
        ("GradInversion", "Yin et al."),
        "2104.07586",
        section="3 3.1 3.2 3.3 3.4 3.5 4",
        equation="1 2 3 7 8 9 10 11 12",
        table="1 2 3 4 5",
        figure="1 2 3 4 5 6 7 8",
    ),
    Paper(("Mohseni et al.", "Mohseni, Vahdat & Yadawa"), "2106.03899"),
    Paper(("Kingma & Ba",), "1412.6980", section="7.1", algorithm="1 2"),
    Paper(("Hoffman & Gelman",), "1111.4246", section="3.2", equation="6"),
    Paper(("He et al.",), "1512.03385", section="4.2"),
    Paper(("Balle & Wang",), "1805.06530", equation="6", theorem="8"),
)

_NAMES = [
    (paper, re.compile("|".join(rf"\b{re.escape(name)}(?!\w)" for name in paper.names)))
    for paper in PAPERS
]
_SHORT = {"sec": "section", "eq": "equation", "fig": "figure", "appendice": "appendix"}
_NUMBER = r"\(?((?:[A-Z]\.)?\d+(?:\.\d+)*|[A-Z](?:\.\d+)+|[A-Z])\)?(?![\w-])"
CITATION = re.compile(
    r"(?<![\w.`])(sections?|secs?\.|appendix|appendices|equations?|eqs?\.|algorithms?|theorems?"
    rf"|tables?|figures?|figs?\.)[ \n#]+{_NUMBER}((?:(?:,|,? and|,? to)[ \n#]+{_NUMBER})*)",
    re.IGNORECASE,
)
# Documents that do not come with the project.
ELSEWHERE = re.compile(
    r"\b(the|NVAE) (specification|derivation)\b|\bspecs/|\b(oracles?|pitfalls?)[ _](O|B|T)?\d"
    r"|#.*\bO\d+\b|\bT\d+: ",
    re.IGNORECASE,
)


def citations(text):
    """Pairs `(kind, number)`."""
    for match in CITATION.finditer(text):
        kind = match[1].lower().rstrip(".s")
        numbers = [match[2], *re.findall(_NUMBER, match[3] or "")]
        # A capital may be the first letter of a sentence after "tables" in small print.
        if match[2].isalpha() and kind not in ("appendix", "appendice"):
            continue
        yield from ((_SHORT.get(kind, kind), number) for number in numbers)


def named(text):
    """The papers that a text names."""
    return [paper for paper, names in _NAMES if paper.arxiv in text or names.search(text)]


def mistakes(text, head):
    """What is wrong with the citations of one docstring, comment or paragraph."""
    found = list(citations(text))
    if not found:
        return
    papers = named(text) or named(head)
    if not papers:
        yield f"cites {found} of no paper"
        return
    for kind, number in found:
        if not any(number in getattr(paper, kind).split() for paper in papers):
            yield f"{'/'.join(paper.names[0] for paper in papers)} has no {kind} {number}"


def docstrings(tree):
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), text


def comments(path):
    """Comments; those of successive lines are one."""
    block, last = [], -1
    with open(path, "rb") as file:
        tokens = [t for t in tokenize.tokenize(file.readline) if t.type == tokenize.COMMENT]
    for token in tokens:
        if block and token.start[0] != last + 1:
            yield last, "\n".join(block)
            block = []
        block.append(token.string)
        last = token.start[0]
    if block:
        yield last, "\n".join(block)


def passages(path):
    """The head of a file and its `(line, text)`."""
    text = path.read_text()
    if path.suffix == ".md":
        parts = [(1, part) for part in text.split("\n\n")]
        return "\n".join(part for _, part in parts[:2]), parts
    tree = ast.parse(text)
    return ast.get_docstring(tree) or "", [*docstrings(tree), *comments(path)]


def files():
    listed = subprocess.run(
        ["git", "ls-files", "tfgen", "configs", "docs", "tests", "tools", "README.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout.split()
    paths = [ROOT / name for name in listed] or [
        path for name in ("tfgen", "configs", "docs", "tests") for path in (ROOT / name).rglob("*")
    ]
    return [p for p in paths if p.suffix in (".py", ".md") and p.exists() and p != Path(__file__)]


def test_citations_resolve():
    wrong = []
    for path in files():
        if not CITATION.search(path.read_text()):
            continue  # before it is taken apart
        head, parts = passages(path)
        for line, text in parts:
            where = f"{path.relative_to(ROOT)}:{line}"
            wrong += [f"{where} {mistake}" for mistake in mistakes(text, head)]
    assert not wrong, "\n".join(wrong)


def test_no_documents_from_elsewhere():
    wrong = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in files()
        for match in ELSEWHERE.finditer(path.read_text())
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("text", "head", "wrong"),
    [
        ("As in NVAE, section 3.2.", "", 0),
        ("As in NVAE, section 3.7.", "", 1),
        ("See section 3.2.", "", 1),
        ("See section 3.2.", "NVAE: a deep VAE.", 0),
        ("See (section\n4.6).", "NVAE: a deep VAE.", 1),
        ("(arXiv:2104.07586, sections 3.3 and 3.9)", "NVAE", 1),
        ("VAEBM, eq. 7 and appendix B", "", 1),
        ("Of LSGM: Algorithm 3, Table 12", "", 1),
        ("# Sections whose fields are names", "", 0),
        ("Figures are float64. A table of 3 rows.", "", 0),
        ("Kingma & Ba, 2015, algorithm 1", "", 0),
    ],
)
def test_what_counts_as_a_mistake(text, head, wrong):
    assert len(list(mistakes(text, head))) == wrong
