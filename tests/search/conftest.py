"""What tests of architecture search share."""

import keras
import pytest


@pytest.fixture(scope="class")
def double_precision():
    """Networks made meanwhile compute in float64, as the authors' program did.

    Gradients through batch norm over few places lose three digits in float32.
    """
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])
