"""What the benchmark's PyTorch energy makes of reference values; runs beside PyTorch only."""

import ast
import pathlib
import sys

import energy_torch
import nvae_torch
import torch

sys.path.append(str(pathlib.Path(__file__).parent))
from nvae_peer import load


class Case:
    """The networks with the weights of a file of reference values."""

    def __init__(self, values):
        self.values = values
        options = ast.literal_eval(str(values["config"]))
        self.vae = nvae_torch.NVAE(
            nvae_torch.Architecture(
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
        self.energy = energy_torch.Energy(3, int(values["energy_channels"]))
        for module, prefix in ((self.vae, "vae/"), (self.energy, "energy/")):
            load(module, values, prefix)
            module.eval()

    def energies(self):
        return self.energy(torch.from_numpy(self.values["x"])).detach().numpy()

    def potential(self, fixed):
        """Potentials, and their gradients with respect to every noise tensor."""
        for module in (self.vae, self.energy):
            module.freeze_kernels(fixed)
        names = ("eps_z/0", "eps_z/1", "eps_x")
        state = [torch.from_numpy(self.values[name]).requires_grad_(True) for name in names]
        potentials = energy_torch.potential(self.vae, self.energy, state[:-1], state[-1])
        gradients = torch.autograd.grad(potentials.sum(), state)
        return potentials.detach().numpy(), [gradient.numpy() for gradient in gradients]
