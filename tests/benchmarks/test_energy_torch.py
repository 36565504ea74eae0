"""The Langevin benchmark's PyTorch side computes the published model's energies and potential."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def values(reference_values):
    with reference_values("vaebm_small") as archive:
        return {name: archive[name] for name in archive.files}


@pytest.fixture(scope="module")
def case(in_torch, values):
    return in_torch("energy_peer.py", "Case", values)


def test_energy(case, values):
    np.testing.assert_allclose(case.call("energies"), values["energy_of_x"], rtol=1e-4)


@pytest.mark.parametrize("fixed", [False, True])
def test_potential_and_its_gradient(case, values, fixed):
    potentials, gradients = case.call("potential", fixed)
    np.testing.assert_allclose(potentials, values["potential_exact"], rtol=1e-4)
    for gradient, name in zip(gradients, ("0", "1", "x"), strict=True):
        expected = values[f"gradient_exact/{name}"]
        np.testing.assert_allclose(gradient, expected, atol=1e-3 * np.abs(expected).max())
