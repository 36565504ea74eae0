"""The Langevin benchmark's PyTorch side computes the published model's energies and potential."""

import ast
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is a benchmark extra")


@pytest.fixture(scope="module")
def peer(root):
    folder = str(root / "tools" / "benchmarks")
    sys.path.insert(0, folder)
    try:
        import energy_torch
        import nvae_torch

        yield energy_torch, nvae_torch
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def reference(peer, shared_dir):
    path = shared_dir / "oracles" / "vaebm_small.npz"
    if not path.is_file():
        pytest.skip(f"needs the reference values {path}")
    values = np.load(path)
    options = ast.literal_eval(str(values["config"]))
    vae = peer[1].NVAE(
        peer[1].Architecture(
            groups=(options["num_groups_per_scale"],),
            num_channels=options["num_channels_enc"],
            image_size=32,
            image_channels=3,
            head_channels=6,
            padding=0,
            encoder_cells=options["num_cell_per_cond_enc"],
            decoder_cells=options["num_cell_per_cond_dec"],
            preprocess_blocks=1,
            preprocess_cells=2,
            postprocess_blocks=1,
            postprocess_cells=2,
        )
    )
    energy = peer[0].Energy(3, int(values["energy_channels"]))
    for module, prefix in ((vae, "vae/"), (energy, "energy/")):
        weights = {
            name.removeprefix(prefix): torch.from_numpy(values[name])
            for name in values.files
            if name.startswith(prefix) and not name.endswith("weight_normalized")
        }
        missing = module.load_state_dict(weights, strict=False)
        assert not missing.unexpected_keys
        assert all("num_batches_tracked" in name for name in missing.missing_keys)
        module.eval()
    return values, vae, energy


def test_energy(reference):
    values, _, energy = reference
    actual = energy(torch.from_numpy(values["x"])).detach().numpy()
    np.testing.assert_allclose(actual, values["energy_of_x"], rtol=1e-4)


@pytest.mark.parametrize("fixed", [False, True])
def test_potential_and_its_gradient(peer, reference, fixed):
    values, vae, energy = reference
    for module in (vae, energy):
        module.freeze_kernels(fixed)
    state = [torch.from_numpy(values[name]) for name in ("eps_z/0", "eps_z/1", "eps_x")]
    state = [eps.requires_grad_(True) for eps in state]
    potentials = peer[0].potential(vae, energy, state[:-1], state[-1])
    expected = values["potential_exact"]
    np.testing.assert_allclose(potentials.detach().numpy(), expected, rtol=1e-4)
    for gradient, name in zip(torch.autograd.grad(potentials.sum(), state), ("0", "1", "x")):
        expected = values[f"gradient_exact/{name}"]
        np.testing.assert_allclose(gradient, expected, atol=1e-3 * np.abs(expected).max())
