"""Programs of tools/ and recipes of configs/, which no package holds, as modules."""

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest


@contextlib.contextmanager
def script(path: Path) -> Iterator[ModuleType]:
    """A file as a module. What lies beside it can be imported, as where Python runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path.parent)
        spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, spec.name, module)  # dataclasses look there
        spec.loader.exec_module(module)
        yield module


def recipe(path: Path, mode: str = ""):
    """The configuration of a recipe's mode."""
    with script(path) as module:
        return module.get_config(mode)
