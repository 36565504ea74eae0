"""The package as a whole: what importing costs, which way imports point, what is tracked."""

import ast
import functools
import graphlib
import importlib.metadata
import pathlib
import re
import subprocess
import sys

import pytest
from ml_collections import config_dict
from scripts import script

import tfgen

# Bottom to top: a room may import from itself and from those before it.
_ORDER = (
    "errors",
    "stopping",
    "cores",
    "recipes",
    "files",
    "ops",
    "serving",
    "data",
    "training",
    "distributions",
    "layers",
    "optimizers",
    "samplers",
    "metrics",
)
# These stand side by side on that ground, and use each other by public classes.
_HOUSES = ("generative", "search", "privacy", "ood", "grounding")
_ABOVE = ("systems", "export", "runs", "bin")

ROOMS = {room: set(_ORDER[:place]) for place, room in enumerate(_ORDER)}
ROOMS |= {house: {*_ORDER, *_HOUSES} - {house} for house in _HOUSES}
# Rooms within rooms, likewise bottom to top.
_SUB_ROOMS = {"privacy": ("network", "attack", "defence", "audit")}
ROOMS |= {room: {*_ORDER, *_HOUSES, *_ABOVE[:place]} for place, room in enumerate(_ABOVE)}

# What a recipe is made of: for training, and for what is not training.
SECTIONS = {
    "default": {"model", "data", "optimizer", "training", "evaluation"},
    "gradinversion": {"model", "data", "threat_model", "attacks", "defences", "audit"},
    "unas": {"model", "criteria", "data", "training"},
    "hant": {
        *("model", "data", "teacher", "pool", "distillation", "scores", "latency", "plan"),
        *("fine_tuning", "quantization", "evaluation", "training"),
    },
}

# Folders and addresses of whoever wrote a file mean nothing to whoever reads it.
_PRIVATE = re.compile(
    r"/(home|root|work|Users|tmp/venv)/[\w.-]|\b(?:\d{1,3}\.){3}\d{1,3}:\d{2,5}\b"
)
_TEXT = (".py", ".md", ".cfg", ".toml", ".txt", ".json", ".sh", "")


def test_import_is_lazy():
    code = (
        "import sys, tfgen; dir(tfgen); tfgen.__version__; from tfgen import errors, recipes; "
        "heavy = {'tensorflow', 'keras', 'numpy', 'matplotlib'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_public_names_load():
    for name in tfgen.__all__:
        assert getattr(tfgen, name) is not None, name
    with pytest.raises(AttributeError, match="has no attribute 'NAVE'"):
        tfgen.NAVE  # noqa: B018


def test_version_is_that_of_the_metadata():
    try:
        installed = importlib.metadata.version("tfgen")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("tfgen is on the path, not installed")
    assert installed == tfgen.__version__


@functools.cache
def _imported_names(path):
    """All that a file imports from the package, anywhere in it, as parts of dotted names."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            assert not isinstance(node, ast.ImportFrom), f"{path}: relative import"
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "tfgen" and len(parts) > 1:
                found.append(parts)
    return found


def _imported_rooms(path):
    """Rooms that a file of the package imports from."""
    return [parts[1] for parts in _imported_names(path) if parts[1] in ROOMS]


def test_imports_point_down(root):
    wrong = []
    for path in sorted((root / "tfgen").rglob("*.py")):
        room = path.relative_to(root / "tfgen").parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        assert room in ROOMS, f"{room} has no place in the import order: give it one here"
        for imported in _imported_rooms(path):
            if imported != room and imported not in ROOMS[room]:
                wrong.append(f"{path.relative_to(root)} imports tfgen.{imported}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("house", _SUB_ROOMS)
def test_imports_point_down_within(root, house):
    order, folder = _SUB_ROOMS[house], root / "tfgen" / house
    assert {p.parent.name for p in folder.glob("*/__init__.py")} == {*order}
    # Beside its rooms a house has only the file that collects their public names.
    assert [p.name for p in folder.glob("*.py")] == ["__init__.py"]
    wrong = []
    for place, room in enumerate(order):
        for path in sorted((folder / room).rglob("*.py")):
            for parts in _imported_names(path):
                if parts[1] == house and parts[2] not in order[: place + 1]:
                    wrong.append(f"{path.relative_to(root)} imports {'.'.join(parts)}")
    assert not wrong, "\n".join(wrong)


def test_no_import_circles(root):
    # Modules of the package by name, and those that each of them imports, for types or late too.
    paths = {
        ".".join(path.relative_to(root).with_suffix("").parts): path
        for path in (root / "tfgen").rglob("*.py")
        if path.name != "__init__.py"
    }
    imported = {
        name: {
            module
            for parts in _imported_names(path)
            for module in (".".join(parts), ".".join(parts[:-1]))
            if module in paths and module != name
        }
        for name, path in paths.items()
    }
    try:
        graphlib.TopologicalSorter(imported).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_houses_import_each_other_by_public_classes_only(root):
    wrong = []
    for house in _HOUSES:
        for path in sorted((root / "tfgen" / house).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tfgen."):
                    other = node.module.split(".")[1]
                    private = any(a.name.startswith("_") for a in node.names)
                    if other in _HOUSES and other != house and private:
                        wrong.append(f"{path.relative_to(root)} imports private {node.module}")
    assert not wrong, "\n".join(wrong)


def _imports(node):
    """First words of what is imported anywhere under `node`."""
    for part in ast.walk(node):
        if isinstance(part, ast.Import):
            yield from (alias.name.split(".")[0] for alias in part.names)
        elif isinstance(part, ast.ImportFrom) and part.module:
            yield part.module.split(".")[0]


def test_pytorch_and_tensorflow_never_meet(root):
    # PyTorch with triton and TensorFlow crash in one process, so one scope imports one of them.
    found, wrong = 0, []
    for folder in ("tfgen", "tools", "tests"):
        for path in sorted((root / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if "torch" not in text:
                continue
            body = ast.parse(text).body
            plain = (ast.Import, ast.ImportFrom)
            everywhere = {
                name for node in body if isinstance(node, plain) for name in _imports(node)
            }
            scopes = [everywhere | set(_imports(node)) for node in body]
            with_torch = [names for names in scopes if "torch" in names]
            found += len(with_torch)
            if any(names & {"tensorflow", "keras", "tfgen", "jax"} for names in with_torch):
                wrong.append(str(path.relative_to(root)))
    assert found > 5
    assert not wrong, wrong


def _config_modules():
    configs = pathlib.Path(__file__).resolve().parent.parent / "configs"
    return sorted(configs.rglob("*.py"))


@pytest.mark.parametrize("path", _config_modules(), ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_config_parses(path):
    with script(path) as module:
        text = path.read_text(encoding="utf-8")
        # What recipes share is light; the rest of the package would load TensorFlow.
        imported = re.findall(r"^(?:from|import) .*tfgen.*$", text, re.MULTILINE)
        assert set(imported) <= {"from tfgen import recipes"}
        assert f"--config=configs/{path.parent.name}/{path.name}" in module.__doc__
        assert "runlocal" in module.MODES
        assert module.MODES[0] == ""
        for mode in module.MODES:
            config = module.get_config(mode)
            assert isinstance(config, config_dict.ConfigDict)
            sections = SECTIONS.get(path.parent.name, SECTIONS["default"])
            assert sections == set(config) - {"vae"}
        with pytest.raises(ValueError, match="'nonsense'"):
            module.get_config("nonsense")


def test_no_machine_in_tracked_files(root):
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = root / name
        if path.suffix not in _TEXT or not path.is_file() or path.name == "test_package.py":
            continue
        # Files without a suffix may be binary, such as the requests that warm a server up.
        text = path.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            if _PRIVATE.search(line):
                found.append(f"{name}:{number}: {line.strip()[:80]}")
    assert not found, "\n".join(found)


def test_names_of_test_files_are_unique():
    # pytest imports them by name alone, and refuses to collect two of one name.
    names = [path.name for path in pathlib.Path(__file__).parent.rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)
