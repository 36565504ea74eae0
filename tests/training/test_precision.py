"""What is said before training in half precision on a processor."""

import keras
import pytest

from tfgen.training import precision


@pytest.fixture
def policy():
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy("float32")


def test_float32_needs_no_note():
    assert precision.half_precision_note() is None


@pytest.mark.parametrize(
    ("speedup", "words"),
    [
        (
            0.5,
            "take 2.00 of their time in float32 on this processor, so that training will be",
        ),
        (5.0, "take 0.20 of their time in float32 on this processor, and other operations no less"),
    ],
)
def test_the_note_follows_what_was_measured(policy, monkeypatch, speedup, words):
    asked = []
    monkeypatch.setattr(precision, "product_speedup", lambda dtype: asked.append(dtype) or speedup)
    policy("mixed_bfloat16")
    assert f"bfloat16: matrix products {words}" in precision.half_precision_note()
    assert asked == ["bfloat16"]


def test_speedup_of_a_type_over_itself_is_about_one():
    # Times are measured: only the order of magnitude is certain.
    assert 0.1 < precision.product_speedup("float32", 128) < 10.0
