"""Fields of a recipe on the command line: their types, `=None`, and one sentence for the rest."""

import sys

import pytest
from absl.testing import flagsaver

from tfgen.bin import app, recipe

RECIPE = """
from ml_collections import config_dict

def get_config():
    return config_dict.create(
        model=dict(flip=True, width=3, rate=0.5, names=["a", "b"], kind="plain", shape=(1, 2)),
        data=dict(),
    )
"""


@pytest.fixture
def parsed(tmp_path, monkeypatch):
    """The `model` section under overrides of its fields."""
    path = tmp_path / "recipe.py"
    path.write_text(RECIPE)

    def parse(*overrides):
        argv = ["tfgen-test", f"--config={path}", *(f"--config.{each}" for each in overrides)]
        monkeypatch.setattr(sys, "argv", argv)
        with flagsaver.flagsaver():
            app.parse("tfgen-test", argv)
            return recipe.CONFIG.value.model.to_dict()

    return parse


@pytest.mark.parametrize(
    ("field", "word", "value"),
    [
        ("flip", "no", False),
        ("flip", "Yes", True),
        ("flip", "off", False),
        ("flip", "None", None),
        ("width", "None", None),
        ("names", "None", None),
        ("names", "['c']", ["c"]),
        ("names", "[]", []),
        ("shape", "(3,)", (3,)),
        ("kind", "other", "other"),
    ],
)
def test_words_for_fields(parsed, field, word, value):
    assert parsed(f"model.{field}={word}")[field] == value


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.flip=ten", "model.flip=ten: expected true or false"),
        ("model.width=ten", "model.width=ten: expected a whole number"),
        ("model.width=inf", "model.width=inf: expected a whole number"),
        ("model.rate=ten", "model.rate=ten: expected a number"),
        ("model.names=ten", "model.names=ten: expected a list, such as ['a', 'b']"),
        ("model.names={'a': 1}", "expected a list, such as ['a', 'b']"),
        ("model.kind.name=foo", "within one that holds a single word; give that one whole"),
    ],
)
def test_other_words_are_one_sentence(parsed, override, words, capfd):
    with pytest.raises(SystemExit) as end:
        parsed(override)
    assert end.value.code == app.USER_ERROR
    err = capfd.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert "base 10" not in err
