"""LSGM's score network, its loss and its training step in PyTorch, the peer of `lsgm.py`.

Written from the equations for this comparison, as one would write them in PyTorch today. Modules
are named so that `state_dict` has the names of published score networks, which is how the equality
of both sides is proven before their speed is compared (tests/benchmarks).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from machine import CLOCKS
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

_HALF = math.sqrt(0.5)
BETA_MIN, BETA_MAX, CUTOFF = 0.1, 20.0, 0.01  # of the variance-preserving diffusion and its loss


def group_norm_of(channels: int) -> nn.GroupNorm:
    groups = max(1, min(channels // 4, 32))
    groups = next(g for g in range(groups, 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels, eps=1e-6)


class Block(nn.Module):
    """Residual block that is told the time, and halves or doubles the grid where asked to."""

    def __init__(
        self, channels: int, filters: int, units: int, resample: str | None, dropout: float
    ) -> None:
        super().__init__()
        self.resample, self.dropout = resample, dropout
        self.GroupNorm_0 = group_norm_of(channels)
        self.Conv_0 = nn.Conv2d(channels, filters, 3, padding=1)
        self.Dense_0 = nn.Linear(units, filters)
        self.GroupNorm_1 = group_norm_of(filters)
        self.Conv_1 = nn.Conv2d(filters, filters, 3, padding=1)
        if channels != filters or resample:
            self.Conv_2 = nn.Conv2d(channels, filters, 1)

    def resized(self, x: Tensor) -> Tensor:
        if self.resample == "down":
            return F.avg_pool2d(x, 2)
        return F.interpolate(x, scale_factor=2) if self.resample == "up" else x

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.Conv_0(self.resized(F.silu(self.GroupNorm_0(x))))
        h = h + self.Dense_0(embedding)[:, :, None, None]
        h = F.dropout(F.silu(self.GroupNorm_1(h)), self.dropout, self.training)
        x = self.resized(x)
        skip = self.Conv_2(x) if hasattr(self, "Conv_2") else x
        return (skip + self.Conv_1(h)) * _HALF


class Attention(nn.Module):
    """One head over all pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.GroupNorm_0 = group_norm_of(channels)
        for index in range(4):
            setattr(self, f"NIN_{index}", nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.GroupNorm_0(x)
        q, k, v = (conv(h).flatten(2).mT for conv in (self.NIN_0, self.NIN_1, self.NIN_2))
        h = F.scaled_dot_product_attention(q, k, v).mT.unflatten(2, x.shape[2:])
        return (x + self.NIN_3(h)) * _HALF


class ScoreUNet(nn.Module):
    """eps'(z, t) of latents `[B, C, H, W]` and times `[B]`.

    Args:
        latent_shape: `(H, W, C)`.
        num_channels: of the stem.
        multipliers: channels of every level, in multiples of the stem's.
        num_blocks: of a level on the way down.
        attention_grids: heights of the grids with attention.
        embedding_dims: sines and cosines of the time.
        dropout: share of numbers dropped in training.
    """

    def __init__(
        self,
        latent_shape: Sequence[int],
        num_channels: int,
        multipliers: Sequence[int],
        num_blocks: int,
        attention_grids: Sequence[int] = (16,),
        embedding_dims: int = 128,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.half, units = embedding_dims // 2, 4 * embedding_dims
        last, width = len(multipliers) - 1, num_channels
        modules = [nn.Linear(embedding_dims, units), nn.Linear(units, units)]
        modules.append(nn.Conv2d(latent_shape[-1], width, 3, padding=1))
        # What the forward pass does with its state around every module.
        self.plan, kept = [], [width]

        def add(module, *, keeps=False, joins=False):
            self.plan.append((joins, keeps))
            modules.append(module)

        def block(channels, filters, resample=None):
            return Block(channels, filters, units, resample, dropout)

        widths = [multiplier * num_channels for multiplier in multipliers]
        attends = [latent_shape[0] // 2**k in attention_grids for k in range(last + 1)]
        for level in range(last + 1):
            for _ in range(num_blocks):
                add(block(width, widths[level]), keeps=not attends[level])
                width = widths[level]
                if attends[level]:
                    add(Attention(width), keeps=True)
                kept.append(width)
            if level < last:
                add(block(width, width, "down"), keeps=True)
                kept.append(width)
        for module in (block(width, width), Attention(width), block(width, width)):
            add(module)
        for level in range(last, -1, -1):
            for _ in range(num_blocks + 1):
                add(block(width + kept.pop(), widths[level]), joins=True)
                width = widths[level]
            if attends[level]:
                add(Attention(width))
            if level:
                add(block(width, width, "up"))
        modules += [group_norm_of(width), nn.Conv2d(width, latent_shape[-1], 3, padding=1)]
        self.all_modules = nn.ModuleList(modules)

    def embedding(self, t: Tensor) -> Tensor:
        steps = torch.arange(self.half, dtype=torch.float32)
        angles = 1000.0 * t[:, None] * torch.exp(-math.log(1e4) / max(self.half - 1, 1) * steps)
        features = torch.cat([angles.sin(), angles.cos()], dim=1)
        first, second = self.all_modules[:2]
        return F.silu(second(F.silu(first(features))))

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        embedding = self.embedding(t)
        x = self.all_modules[2](z)
        kept = [x]
        for (joins, keeps), module in zip(self.plan, self.all_modules[3:-2]):
            x = module(torch.cat([x, kept.pop()], dim=1) if joins else x, embedding)
            if keeps:
                kept.append(x)
        norm, head = self.all_modules[-2:]
        return head(F.silu(norm(x)))


def integrated_beta(t):
    return BETA_MIN * t + 0.5 * (BETA_MAX - BETA_MIN) * t**2


VARIANCES = tuple(-math.expm1(-integrated_beta(t)) for t in (CUTOFF, 1.0))  # where times are drawn


class Prior(nn.Module):
    """The mixed score: of a standard Normal and of the network, channel by channel."""

    def __init__(self, network: ScoreUNet, channels: int, mixing_logit: float) -> None:
        super().__init__()
        self.network = network
        self.mixing_logit = nn.Parameter(torch.full((1, channels, 1, 1), mixing_logit))

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        alpha = torch.sigmoid(self.mixing_logit)
        normal = torch.sqrt(-torch.expm1(-integrated_beta(t)))[:, None, None, None] * z
        return normal + alpha * (self.network(z, t) - normal)

    def loss(self, z: Tensor, eps: Tensor, rho: Tensor) -> Tensor:
        """Cross entropies without their constant, `[B]`: times by importance, from uniforms."""
        first, last = VARIANCES
        variance = first ** (1.0 - rho) * last**rho
        slope = 0.5 * (BETA_MAX - BETA_MIN)
        beta = -torch.log1p(-variance)
        t = (torch.sqrt(BETA_MIN**2 + 4.0 * slope * beta) - BETA_MIN) / (2.0 * slope)
        coefficient = 0.5 * math.log(last / first) / (1.0 - variance)
        mean, std = torch.sqrt(1.0 - variance), torch.sqrt(variance)
        z_t = mean[:, None, None, None] * z + std[:, None, None, None] * eps
        return coefficient * (eps - self(z_t, t)).square().sum((1, 2, 3))


LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
TRAIN, EVALUATE = "train", "evaluate"
SIDE_BY_SIDE = "side by side"


class Peer:
    """A prior, its training step and its evaluation, in every layout, compiled or not.

    Args:
        options: keyword arguments of `ScoreUNet`.
        state: arrays of the network by name.
        latents: `[B, H, W, C]`, what is trained on.
        threads: of PyTorch.
        mixing_logit: where the mixing starts.
        learning_rate: of AdamW; `weight_decay` and `epsilon` too.
    """

    def __init__(
        self,
        options: Mapping,
        state: Mapping[str, np.ndarray],
        latents: np.ndarray,
        threads: int,
        mixing_logit: float,
        learning_rate: float,
        weight_decay: float,
        epsilon: float,
    ) -> None:
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        network = ScoreUNet(**options)
        network.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
        self._prior = Prior(network, latents.shape[-1], mixing_logit)
        self._latents = torch.from_numpy(np.ascontiguousarray(latents.transpose(0, 3, 1, 2)))
        self._times = torch.linspace(0.05, 1.0, len(latents))
        rates = {"lr": learning_rate, "weight_decay": weight_decay, "eps": epsilon}
        self._adamw = lambda parameters: torch.optim.AdamW(parameters, **rates, fused=True)
        self._steps: dict[tuple[str, str], Callable[[], Tensor]] = {}

    def version(self) -> str:
        return f"PyTorch {torch.__version__}"

    def parameters(self) -> int:
        return sum(p.numel() for p in self._prior.parameters())

    def compiled(self, what: str, layout: str) -> list[str]:
        """Names of the compiled variants of a layout, which are itself a variant; "folded": the
        compiler may take weights as constants."""
        return [f"{layout}, compiled"] + [f"{layout}, compiled, folded"] * (what == EVALUATE)

    def seconds(self, what: str, variant: str, count: int, clock: str = "wall") -> list[float]:
        """How long each of `count` steps takes in a variant, by a clock of `machine.CLOCKS`."""
        now = CLOCKS[clock]
        if (what, variant) not in self._steps:
            self._steps[what, variant] = self._step(what, variant.split(", "))
        step, found = self._steps[what, variant], []
        for _ in range(count):
            begin = now()
            step()
            found.append(now() - begin)
        return found

    def gflop(self, what: str) -> float:
        """1e9 operations of a step's matrix products and convolutions."""
        step = self._step(what, ["NCHW"])
        with FlopCounterMode(display=False) as counter:
            step()
        return counter.get_total_flops() / 1e9

    def forget(self, what: str, variant: str) -> None:
        """Frees what a variant holds."""
        self._steps.pop((what, variant), None)

    def evaluated(self, variant: str) -> np.ndarray:
        """The predictions for the latents, `[B, H, W, C]`."""
        self.seconds(EVALUATE, variant, 1)
        return self._steps[EVALUATE, variant]().numpy().transpose(0, 2, 3, 1)

    def losses(self, z: np.ndarray, eps: np.ndarray, rho: np.ndarray) -> tuple[np.ndarray, dict]:
        """Losses of latents `[B, H, W, C]`, and gradients of their sum by name."""
        z, eps = (torch.from_numpy(x.transpose(0, 3, 1, 2).copy()) for x in (z, eps))
        self._prior.eval().zero_grad()
        loss = self._prior.loss(z, eps, torch.from_numpy(rho))
        loss.sum().backward()
        named = self._prior.named_parameters()
        return loss.detach().numpy(), {name: p.grad.numpy() for name, p in named}

    def _step(self, what: str, words: list[str]) -> Callable[[], Tensor]:
        layout = LAYOUTS[words[0]]
        prior = copy.deepcopy(self._prior).to(memory_format=layout)
        latents = self._latents.contiguous(memory_format=layout)
        if SIDE_BY_SIDE in words:
            return self._in_parts(prior, latents)
        make = self._training if what == TRAIN else self._evaluation
        more = [] if what == TRAIN else [self._times]
        return make(prior, latents, *more, "compiled" in words, "folded" in words)

    def _in_parts(self, prior, latents) -> Callable[[], Tensor]:
        """An evaluation as tfgen has it: as many parts as threads, all at once."""
        count = torch.get_num_threads()
        pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
        parts = [
            self._evaluation(prior, *part, False, False)
            for part in zip(latents.chunk(count), self._times.chunk(count))
        ]
        return lambda: torch.cat(list(pool.map(lambda step: step(), parts)))

    def _training(self, prior, latents, compiled, folded) -> Callable[[], Tensor]:
        prior.train()
        optimizer = self._adamw(prior.parameters())
        loss_of = torch.compile(prior.loss, dynamic=False) if compiled else prior.loss

        def step():
            rho = (torch.arange(len(latents)) / len(latents) + torch.rand(())) % 1.0
            loss = loss_of(latents, torch.randn_like(latents), rho).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            return loss.detach()

        return step

    def _evaluation(self, prior, latents, times, compiled, folded) -> Callable[[], Tensor]:
        prior.eval().requires_grad_(False)
        run = prior
        if compiled:
            run = torch.compile(prior, dynamic=False, options={"freezing": folded})

        def step():
            with torch.no_grad() if compiled else torch.inference_mode():
                return run(latents, times)

        return step
