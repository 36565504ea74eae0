"""What the tests of this folder share."""

import numpy as np
import pytest


def each(table):
    """Asks a question of every name in a table."""
    return pytest.mark.parametrize("name", list(table))


def plain_first(names, slow=()):
    """Systems for a question that is long to answer where a VAE is below.

    Those on a VAE and with further options ("ncp with everything") are slow tests, and those named.
    """

    def marks(name):
        long = " " in name and not name.startswith("nvae")
        return pytest.mark.slow if long or name in slow else ()

    return [pytest.param(name, marks=marks(name)) for name in names]


def shake(variables):
    """Moves every number away from its start, so that forgetting one shows."""
    rng = np.random.default_rng(1)
    for variable in variables:
        if "float" in str(variable.dtype):
            variable.assign(variable + 0.1 * rng.random(variable.shape))
        elif "int" in str(variable.dtype):
            variable.assign(variable + 1)
