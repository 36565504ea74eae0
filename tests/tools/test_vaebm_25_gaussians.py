"""A grid of 25 Gaussians, a VAE that bridges them, and the energy's cure."""

import pytest
from scripts import script


@pytest.mark.slow
def test_keeps_all_modes_and_empties_the_gaps(root):
    """5,000 samples: a share has a standard error of 0.007, so 0.1 is far beyond chance."""
    with script(root / "tools" / "examples" / "vaebm_25_gaussians.py") as example:
        results = example.run()
    assert results["vaebm"]["modes"] == 25
    assert results["vaebm"]["within_3_sigma"] > results["vae"]["within_3_sigma"] + 0.1
