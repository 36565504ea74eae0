"""No two uses of a seed draw the same numbers, and none hides outside the table."""

import ast
import itertools
import re

import numpy as np
import pytest
import tensorflow as tf

from tfgen.data.transforms import BINARIZATIONS, Binarize, Flip, Quantize
from tfgen.ops import random_streams
from tfgen.ops.random_streams import STREAMS, fold_in, hashed, number


def _numbers(stream):
    return range(stream.first, stream.first + stream.stride * stream.count, stream.stride)


def test_no_two_streams_of_a_space_share_a_number():
    for (a, first), (b, second) in itertools.combinations(STREAMS.items(), 2):
        if first.space == second.space:
            few, many = sorted((_numbers(first), _numbers(second)), key=len)
            assert not any(n in many for n in few), f"{a!r} and {b!r}"


def test_names_of_a_training_step_hash_apart():
    names = [(name,) for name in random_streams.STEP_NAMES]
    names += [(name, group) for name in random_streams.STEP_NAMES for group in range(200)]
    names += [(name, f"z_{group}") for name in random_streams.STEP_NAMES for group in range(200)]
    names += [("start", extra) for extra in ("x", "n")]
    # A seed takes 31 bits of them; the plain numbers of groups come first.
    numbers = {hashed(*name) % 2**31 for name in names}
    assert len(numbers) == len(names)
    assert min(numbers) >= STREAMS["group posterior"].count


def test_numbers_are_those_of_earlier_versions():
    assert (number("normal noise"), number("uniform noise")) == (0x6E, 0x75)
    assert number("image chain uniform", 3) == 0x10000 + 4 * 3 + 2
    assert number("conservative proposals", 5) == 2**14 + 2**10 + 5
    assert hashed("negatives", 2) == 0x3CFA9471
    np.testing.assert_array_equal(fold_in([3, 4], 5, 6), fold_in(fold_in([3, 4], 5), 6))
    expected = tf.random.fold_in([3, 4], 5, alg="philox")
    np.testing.assert_array_equal(fold_in([3, 4], 5), expected)


def test_transforms_draw_from_tables_that_stand_here():
    transforms = [Quantize(), Flip(), *(Binarize(how) for how in BINARIZATIONS)]
    assert {t.stream("train")[0] for t in transforms} <= set(random_streams.DATA_NAMES)


def test_what_the_table_does_not_have():
    with pytest.raises(KeyError, match="made up"):
        number("made up")
    with pytest.raises(ValueError, match="1024 numbers; number 1024"):
        number("scoring proposals", 1024)


_OWN = re.compile(r"^_?[A-Z_]*(SALT|STREAM|STRIDE)S?$")


def test_no_file_has_numbers_of_its_own(root):
    """Constants that are called salts, seeds folded by hand, and names that the table lacks."""
    wrong = []
    for path in sorted((root / "tfgen").rglob("*.py")):
        if path.name == "random_streams.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            place = f"{path.relative_to(root)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant | ast.Tuple):
                names = [n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)]
                number_like = [n for n in ast.walk(node.value) if isinstance(n, ast.Constant)]
                if any(_OWN.match(n) for n in names) and any(
                    isinstance(n.value, int) for n in number_like
                ):
                    wrong.append(f"{place} {names}")
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            called = called or getattr(node.func, "id", "")
            if called in ("fold_in", "stateless_fold_in") and any(
                isinstance(a, ast.Constant) for a in node.args[1:]
            ):
                wrong.append(f"{place} folds a bare number")
            if called == "step_seed" and node.args:
                word = node.args[0]
                if not isinstance(word, ast.Call) and (
                    not isinstance(word, ast.Constant)
                    or word.value not in random_streams.STEP_NAMES
                ):
                    wrong.append(f"{place} draws from a stream that the table lacks")
    assert not wrong, "\n".join(wrong)
