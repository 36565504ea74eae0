"""VAEBM's energy network and Langevin chain in PyTorch, the peer of `langevin.py`.

Written from the equations for this comparison. Attributes are named so that `state_dict` has the
names of published energies, which is how the equality of both sides is proven before their speed is
compared (tests/benchmarks).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from nvae_torch import NVAE, Architecture, scale_from_raw, soft_clamp
from nvae_torch_layers import WeightNormConv
from torch import Tensor, nn
from torch_parts import side_by_side

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


LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}


class Peer:
    """VAE and energy of a configuration of `langevin.py`, and a chain's state."""

    def __init__(self, config: dict, batch_size: int, threads: int, step_size: float) -> None:
        torch.set_num_threads(threads)
        self._threads, self._step_size, self._compiled = threads, step_size, None
        size, image_channels = config["image"]
        self._vae = NVAE(
            Architecture(
                groups=(config["groups"],),
                num_channels=config["channels"],
                image_size=size,
                image_channels=image_channels,
                head_channels=2 * image_channels,
                padding=0,
                preprocess_blocks=1,
                preprocess_cells=2,
                postprocess_blocks=1,
                postprocess_cells=2,
            )
        )
        self._energy = Energy(image_channels, config["energy"])
        for module in (self._vae, self._energy):
            module.eval()
            module.requires_grad_(False)
        side = size // self._vae.architecture.top_factor
        shapes = [(batch_size, 20, side, side)] * config["groups"]
        shapes.append((batch_size, image_channels, size, size))
        self._state = [torch.randn(shape) for shape in shapes]

    def variants(self, compile_too: bool) -> list[str]:
        """Names of what `seconds` can run: layout, whether kernels are fixed, whether compiled, and
        whether parts of the batch run side by side."""
        names = [f"{layout}{fixed}" for layout in LAYOUTS for fixed in ("", ", kernels fixed")]
        names += ["channels_last, kernels fixed, compiled"] * compile_too
        return names + [f"{name}, in parts" for name in names if self._threads > 1]

    def seconds(self, variant: str, num_steps: int) -> float:
        """How long a chain takes in one of the variants."""
        begin = time.perf_counter()
        self._run(variant.split(", "), num_steps)
        return time.perf_counter() - begin

    def _run(self, words: list[str], num_steps: int) -> None:
        layout = LAYOUTS[words[0]]
        for module in (self._vae, self._energy):
            module.to(memory_format=layout)
            module.freeze_kernels("kernels fixed" in words)
        moved = [eps.contiguous(memory_format=layout) for eps in self._state]
        function = self._potential() if "compiled" in words else potential

        def of(rows: slice) -> list[Tensor]:
            part = [eps[rows] for eps in moved]
            return langevin(self._vae, self._energy, part, num_steps, self._step_size, function)

        batch = len(moved[0])
        if "in parts" in words:
            side_by_side(of, batch, self._threads)
        else:
            of(slice(0, batch))

    def _potential(self) -> Callable[..., Tensor]:
        if self._compiled is None:
            self._compiled = torch.compile(potential, dynamic=False)
        return self._compiled
