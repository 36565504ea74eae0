"""What is said before training in half precision on a processor."""

import keras
import numpy as np
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


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_products_are_timed_in_both(dtype):
    assert 0.0 < precision.product_speedup(dtype, 64) < np.inf
