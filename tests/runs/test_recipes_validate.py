"""Every recipe, in every mode, is a configuration that its program accepts."""

import pathlib

import pytest
from scripts import script

from tfgen.runs import auditing, config, search_config, transforming

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
# Recipes of studies, which are no system's: tools/optimizer_study reads those.
PROGRAMS = {
    "gradinversion": auditing.complete,
    "hant": transforming.complete,
    "unas": search_config.complete,
}
OTHER = ("fromage",)


@pytest.mark.parametrize(
    "path",
    sorted(p for p in CONFIGS.rglob("*.py") if p.parent.name not in OTHER),
    ids=lambda p: f"{p.parent.name}-{p.stem}",
)
def test_every_mode_is_accepted(path):
    complete = PROGRAMS.get(path.parent.name, config.complete)
    with script(path) as module:
        for mode in module.MODES:
            completed = complete(module.get_config(mode))
            assert completed == complete(completed), mode
