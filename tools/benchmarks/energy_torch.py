"""VAEBM's energy network and Langevin chain in PyTorch, the peer of `langevin.py`.

Written from the equations for this comparison. Attributes are named so that `state_dict` has the
names of published energies, which is how the equality of both sides is proven before their speed is
compared (tests/benchmarks).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from nvae_torch import NVAE, scale_from_raw, soft_clamp
from nvae_torch_layers import WeightNormConv
from torch import Tensor, nn

BLOCKS = ((1, True), (1, False), (2, True), (2, False), (2, True), (2, False))  # CIFAR-10


def lip_swish(x: Tensor) -> Tensor:
    return F.silu(x) / 1.1


class Block(nn.Module):
    """Two 3x3 convolutions, a skip, average pooling where the grid halves."""

    def __init__(self, channels: int, filters: int, down: bool) -> None:
        super().__init__()
        self.conv1 = WeightNormConv(channels, filters, 3)
        self.conv2 = WeightNormConv(filters, filters, 3)
        self.down = down
        self.skip = nn.Identity()
        if down or channels != filters:
            self.skip = nn.Sequential(WeightNormConv(channels, filters, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(lip_swish(self.conv1(x))) + self.skip(x)
        return lip_swish(F.avg_pool2d(x, 2) if self.down else x)


class Energy(nn.Module):
    """Energies `[B]` of images `[B, C, H, W]` in [0, 1]."""

    def __init__(self, image_channels: int, width: int, blocks: Sequence = BLOCKS) -> None:
        super().__init__()
        self.conv1 = WeightNormConv(image_channels, width, 3)
        channels, modules = width, []
        for multiple, down in blocks:
            modules.append(Block(channels, multiple * width, down))
            channels = multiple * width
        self.blocks = nn.ModuleList(modules)
        self.linear = nn.Linear(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = lip_swish(self.conv1(x))
        for block in self.blocks:
            x = block(x)
        return self.linear(x.sum((2, 3)))[:, 0]

    @torch.no_grad()
    def freeze_kernels(self, frozen: bool = True) -> None:
        """Computes the effective kernels once, for chains under fixed weights."""
        for module in self.modules():
            if isinstance(module, WeightNormConv):
                module.kernel = module.effective_kernel() if frozen else None
                module.frozen = frozen


def decode(vae: NVAE, latents: Sequence[Tensor], pixels: Tensor) -> Tensor:
    """Images in [0, 1], clipped, of standard normal noise."""
    head = vae.crop(vae.prior_logits(len(pixels), noise=latents))
    mean, raw = head.chunk(2, dim=1)
    x = soft_clamp(mean) + scale_from_raw(raw) * pixels
    return 0.5 * x.clamp(-1.0, 1.0) + 0.5


def potential(vae: NVAE, energy: Energy, latents: Sequence[Tensor], pixels: Tensor) -> Tensor:
    """E(x(eps)) + |eps|^2 / 2, `[B]`."""
    squares = sum(eps.square().sum((1, 2, 3)) for eps in (*latents, pixels))
    return energy(decode(vae, latents, pixels)) + 0.5 * squares


def langevin(
    vae: NVAE,
    energy: Energy,
    state: list[Tensor],
    num_steps: int,
    step_size: float,
    potential: Callable[..., Tensor] = potential,
) -> list[Tensor]:
    """Unadjusted Langevin dynamics of `[*latents, pixels]`; `potential` may be a compiled one."""
    for _ in range(num_steps):
        state = [eps.detach().requires_grad_(True) for eps in state]
        values = potential(vae, energy, state[:-1], state[-1])
        gradients = torch.autograd.grad(values.sum(), state)
        with torch.no_grad():
            state = [
                eps - 0.5 * step_size * g + step_size**0.5 * torch.randn_like(eps)
                for eps, g in zip(state, gradients)
            ]
    return [eps.detach() for eps in state]
