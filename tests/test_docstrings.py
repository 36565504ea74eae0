"""Argument lines say what to pass: a type or a shape, in plain English, and the default.

"num_steps: made." is a riddle. Every line of an `Args`, `Attributes` or `Call arguments` section
names a kind of thing (`KINDS`), and what is public (`__all__` of a package) documents all it takes,
the defaults as they are in the signature, and the errors that it raises itself.
"""

import ast
import importlib
import inspect
import pkgutil
import re
import textwrap
from pathlib import Path

import pytest

import tfgen

ROOT = Path(tfgen.__file__).resolve().parent
SECTIONS = "Args|Attributes|Call arguments|Returns|Raises|Yields|Examples?"
ARGUMENTS = ("Args", "Attributes", "Call arguments")
KINDS = re.compile(
    r"\b(integers?|floats?|float32|float64|int32|uint8|numbers?|booleans?|bool|whether|strings?"
    r"|names?|paths?|files?|folders?|dicts?|pairs?|triples?|sequences?|lists?|tuples?|sets?"
    r"|iterables?|batches|tensors?|arrays?|scalars?|vectors?|functions?|callables?"
    r"|expressions?|shapes?|variables?|generator|optimizers?|schedule|values|layers?|dtype"
    r"|keyword arguments)\b"
    r'|`[\[(][^`]*[\])]`|`(\w+\.)*[A-Z]\w+`|`(keras|tf|tfd|np)\.[\w.]+`|"\w+"',
)


def sections(docstring):
    """`{title: {name: text}}` of a docstring, its sections of free text under the name ""."""
    found, entries, name = {}, None, ""
    for line in docstring.splitlines():
        if title := re.fullmatch(rf"({SECTIONS}):", line):
            entries, name = found.setdefault(title[1], {}), ""
        elif line and not line.startswith(" "):
            entries = None
        elif entries is not None and line.strip():
            if start := re.match(r" {4}\*{0,2}([\w.]+):(?: (.*)|$)", line):
                name, text = start[1], start[2] or ""
            else:
                text = f"{entries.get(name, '')} {line.strip()}"
            entries[name] = text
    return found


def arguments(docstring):
    found = sections(docstring)
    return {k: v for title in ARGUMENTS for k, v in found.get(title, {}).items()}


def is_riddle(text):
    return len(text.split()) < 2 or not KINDS.search(text)


def sources():
    """`(file, name, syntax tree node)` of every documented class and function in the package."""
    for path in sorted(ROOT.rglob("*.py")):
        stack = [("", ast.parse(path.read_text()))]
        while stack:
            prefix, parent = stack.pop()
            for node in ast.iter_child_nodes(parent):
                if isinstance(node, ast.ClassDef | ast.FunctionDef):
                    name = f"{prefix}{node.name}"
                    stack.append((f"{name}.", node))
                    if ast.get_docstring(node):
                        yield path.relative_to(ROOT.parent), name, node


def public():
    """`(name, object)` of what packages offer."""
    found = {}
    for info in pkgutil.walk_packages(tfgen.__path__, "tfgen."):
        if info.name.startswith("tfgen.bin."):
            continue
        module = importlib.import_module(info.name)
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            if callable(thing) and str(getattr(thing, "__module__", "")).startswith("tfgen"):
                found.setdefault(id(thing), (f"{info.name}.{name}", thing))
    return found.values()


def parameters(thing):
    """`{name: default}`; `inspect.Parameter.empty` where there is none."""
    try:
        signature = inspect.signature(thing)
    except (ValueError, TypeError):  # an error class, an alias of types
        return {}
    return {
        p.name: p.default
        for p in signature.parameters.values()
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and not p.name.startswith("_")
    }


def says_default(text, default):
    """Whether a line tells a default, if it is one that can be written down."""
    if default is None:
        return "None" in text or "default" in text
    try:
        ast.literal_eval(repr(default))
    except (ValueError, SyntaxError):
        return True
    stated = re.search(r"Defaults to\s+`(.*?)`", text)
    try:
        return stated is not None and ast.literal_eval(stated[1]) == default
    except (ValueError, SyntaxError):
        return False


def tree_of(thing):
    """The syntax tree of a function or of a class's constructor, empty where there is no source."""
    body = inspect.unwrap(vars(thing).get("__init__", len) if inspect.isclass(thing) else thing)
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(body)))
    except (OSError, TypeError):  # made by `dataclasses`, or inherited
        return ast.Module([], [])


def returns(thing):
    """Whether a function returns something."""
    nodes = ast.walk(tree_of(thing))
    return any(isinstance(node, ast.Return) and node.value is not None for node in nodes)


def raised(thing):
    """Names of the errors that a function, or a class's constructor, raises itself."""
    errors = {
        node.exc.func.id
        for node in ast.walk(tree_of(thing))
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
    }
    return errors - {"NotImplementedError"}


def test_no_riddles():
    riddles = [
        f"{path}: {name}: {argument}: {text}"
        for path, name, node in sources()
        for argument, text in arguments(ast.get_docstring(node)).items()
        if argument and is_riddle(text)
    ]
    assert not riddles, f"{len(riddles)} lines say no type or shape:\n" + "\n".join(riddles)


def test_argument_sections_are_whole():
    wrong = []
    for path, name, node in sources():
        told = sections(ast.get_docstring(node)).get("Args")
        if told and isinstance(node, ast.FunctionDef):
            given = node.args
            named = [x.arg for x in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
            taken = [*named, *(x.arg for x in (given.vararg, given.kwarg) if x)]
            missing = {x for x in named if x not in ("self", "cls") and x[0] != "_"}
            if odd := missing - set(told) | set(told) - set(taken):
                wrong.append(f"{path}: {name}: {', '.join(sorted(odd))}")
    assert not wrong, "missing, or not taken:\n" + "\n".join(wrong)


def gaps(thing):
    """What the docstring of a public class or function leaves out."""
    docstring = inspect.getdoc(thing) or ""
    known, wanted = arguments(docstring), parameters(thing)
    for name, default in wanted.items():
        if name not in known:
            yield f"{name} has no line"
        elif default is inspect.Parameter.empty or name == "name":
            continue
        elif not says_default(known[name], default):
            yield f"{name}: the default {default!r} is not told: {known[name]}"
    for error in sorted(raised(thing) - set(sections(docstring).get("Raises", {}))):
        yield f"{error} is raised, but not told"
    summary = docstring.split("\n\n")[0]
    told = {"Returns", "Yields"} & set(sections(docstring)) or KINDS.search(summary)
    if not told and returns(thing):
        yield "what it returns is not told"


def test_public_docstrings_are_complete():
    found = [f"{name}: {gap}" for name, thing in public() for gap in gaps(thing)]
    assert not found, f"{len(found)} gaps:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("text", "riddle"),
    [
        ("made.", True),
        ("of the noise.", True),
        ("images at a time.", True),
        ("integer, images at a time.", False),
        ("`[B, H, W, C]` in [0, 1].", False),
        ('"mean" or "sample".', False),
        ("the `Conv` to run.", False),
        ("whether it has one.", False),
    ],
)
def test_what_a_riddle_is(text, riddle):
    assert is_riddle(text) is riddle


def test_defaults_are_compared():
    assert says_default("float eta. Defaults to `8e-5`.", 8e-5)
    assert not says_default("float eta. Defaults to `8e-4`.", 8e-5)
    assert not says_default("float eta.", 8e-5)
    assert not says_default("float eta.", None)
