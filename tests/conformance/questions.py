"""What the tests of this folder share."""

import numpy as np
import pytest


def each(table):
    """Asks a question of every name in a table."""
    return pytest.mark.parametrize("name", list(table))


def shake(variables):
    """Moves every number away from its start, so that forgetting one shows."""
    rng = np.random.default_rng(1)
    for variable in variables:
        if "float" in str(variable.dtype):
            variable.assign(variable + 0.1 * rng.random(variable.shape))
        elif "int" in str(variable.dtype):
            variable.assign(variable + 1)
