"""NVAE in PyTorch, the peer of `tfgen.NVAE` in `nvae.py`: architecture, inference and sampling.

Reference: Vahdat and Kautz, "NVAE: A Deep Hierarchical Variational Autoencoder" (2020).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from nvae_torch_layers import (
    BatchNorm,
    DecoderCombiner,
    EncoderCombiner,
    FlowPair,
    PlainConv,
    WeightNormConv,
    decoder_cell,
    encoder_cell,
)
from torch import Tensor, nn


@dataclass(frozen=True)
class Architecture:
    """Sizes of an NVAE; `groups` counts the latent groups of each scale, coarsest first."""

    groups: tuple[int, ...]
    num_channels: int
    image_size: int = 28
    image_channels: int = 1
    head_channels: int = 1
    padding: int = 2
    latent_channels: int = 20
    encoder_cells: int = 2
    decoder_cells: int = 2
    preprocess_blocks: int = 2
    preprocess_cells: int = 3
    postprocess_blocks: int = 2
    postprocess_cells: int = 3
    num_flows: int = 0

    @property
    def top_factor(self) -> int:
        """How much coarser, and how many times wider, the top grid is than the image."""
        return 2 ** (self.preprocess_blocks + len(self.groups) - 1)


@dataclass
class Output:
    """`logits [B, C, H, W]` of the padded image, and per group `kl`, `log_q`, `log_p` `[B]`."""

    logits: Tensor
    kl: list[Tensor]
    log_q: list[Tensor]
    log_p: list[Tensor]


def soft_clamp(x: Tensor) -> Tensor:
    return 5.0 * torch.tanh(x / 5.0)


def scale_from_raw(raw: Tensor) -> Tensor:
    return soft_clamp(raw).exp() + 1e-2


def _log_prob(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    log_density = -0.5 * ((x - mean) / scale) ** 2 - scale.log()
    return log_density.sum((1, 2, 3)) - 0.9189385332046727 * x[0].numel()


def _normal_kl(mean_q: Tensor, scale_q: Tensor, mean_p: Tensor, scale_p: Tensor) -> Tensor:
    ratio = scale_q / scale_p
    elementwise = 0.5 * (((mean_q - mean_p) / scale_p) ** 2 + ratio**2) - 0.5 - ratio.log()
    return elementwise.sum((1, 2, 3))


class NVAE(nn.Module):
    """Deep hierarchical VAE. `forward` takes padded images `[B, C, H, W]` in [0, 1]."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = self.architecture = architecture
        top = a.top_factor
        side = (a.image_size + 2 * a.padding) // top
        self.prior_ftr0 = nn.Parameter(torch.rand(a.num_channels * top, side, side))
        self.stem = WeightNormConv(a.image_channels, a.num_channels, 3)
        self.pre_process, width = self._preprocess(a)
        self.enc_tower, width = self._encoder_tower(a, width)
        self.enc0 = nn.Sequential(nn.ELU(), WeightNormConv(width, width, 1), nn.ELU())
        self._samplers(a, width)
        self.dec_tower, width = self._decoder_tower(a, width)
        self.post_process, width = self._postprocess(a, width)
        self.image_conditional = nn.Sequential(nn.ELU(), WeightNormConv(width, a.head_channels, 3))
        self.convs = [m for m in self.modules() if isinstance(m, WeightNormConv | PlainConv)]
        self.norms = [m for m in self.modules() if isinstance(m, BatchNorm)]

    @staticmethod
    def _preprocess(a: Architecture) -> tuple[nn.ModuleList, int]:
        cells, width = nn.ModuleList(), a.num_channels
        for _ in range(a.preprocess_blocks):
            cells.extend(encoder_cell(width) for _ in range(a.preprocess_cells - 1))
            cells.append(encoder_cell(width, down=True))
            width *= 2
        return cells, width

    @staticmethod
    def _encoder_tower(a: Architecture, width: int) -> tuple[nn.ModuleList, int]:
        tower = nn.ModuleList()
        for scale in reversed(range(len(a.groups))):
            for group in reversed(range(a.groups[scale])):
                tower.extend(encoder_cell(width) for _ in range(a.encoder_cells))
                if scale or group:
                    tower.append(EncoderCombiner(width))
            if scale:
                tower.append(encoder_cell(width, down=True))
                width *= 2
        return tower, width

    def _samplers(self, a: Architecture, width: int) -> None:
        self.enc_sampler, self.dec_sampler = nn.ModuleList(), nn.ModuleList()
        self.nf_cells = nn.ModuleList()
        for scale, count in enumerate(a.groups):
            channels = width // 2**scale
            for group in range(count):
                self.enc_sampler.append(WeightNormConv(channels, 2 * a.latent_channels, 3))
                self.nf_cells.extend(FlowPair(a.latent_channels) for _ in range(a.num_flows))
                if scale or group:
                    conv = WeightNormConv(channels, 2 * a.latent_channels, 1)
                    self.dec_sampler.append(nn.Sequential(nn.ELU(), conv))

    @staticmethod
    def _decoder_tower(a: Architecture, width: int) -> tuple[nn.ModuleList, int]:
        tower = nn.ModuleList()
        for scale, count in enumerate(a.groups):
            for group in range(count):
                if scale or group:
                    tower.extend(decoder_cell(width, 6) for _ in range(a.decoder_cells))
                tower.append(DecoderCombiner(width, a.latent_channels))
            if scale < len(a.groups) - 1:
                tower.append(decoder_cell(width, 6, up=True))
                width //= 2
        return tower, width

    @staticmethod
    def _postprocess(a: Architecture, width: int) -> tuple[nn.ModuleList, int]:
        cells = nn.ModuleList()
        for _ in range(a.postprocess_blocks):
            cells.append(decoder_cell(width, 3, up=True))
            width //= 2
            cells.extend(decoder_cell(width, 3) for _ in range(a.postprocess_cells - 1))
        return cells, width

    def _encode(self, images: Tensor) -> tuple[Tensor, list]:
        """Top feature, and per combiner, top first, its module and the feature it will add to."""
        x = self.stem(2.0 * images - 1.0)
        for cell in self.pre_process:
            x = cell(x)
        stored = []
        for module in self.enc_tower:
            if isinstance(module, EncoderCombiner):
                stored.append((module, x))
            else:
                x = module(x)
        return self.enc0(x), stored[::-1]

    def _flow(self, z: Tensor, group: int) -> Tensor:
        count = self.architecture.num_flows
        for pair in self.nf_cells[group * count : (group + 1) * count]:
            z = pair(z)
        return z

    def _decode_tail(self, state: Tensor) -> Tensor:
        for cell in self.post_process:
            state = cell(state)
        return self.image_conditional(state)

    def forward(self, images: Tensor, noise: Sequence[Tensor] | None = None) -> Output:
        """Posterior pass; `noise` optionally fixes the standard normal draw of every group."""
        feature, stored = self._encode(images)
        mean, raw = self.enc_sampler[0](feature).chunk(2, dim=1)
        prior_mean = prior_raw = torch.zeros_like(mean)
        state = self.prior_ftr0.expand(len(images), -1, -1, -1)
        output = Output(state, [], [], [])
        group = 0
        for module in self.dec_tower:
            if not isinstance(module, DecoderCombiner):
                state = module(state)
                continue
            if group:
                prior_mean, prior_raw = self.dec_sampler[group - 1](state).chunk(2, dim=1)
                combiner, encoded = stored[group - 1]
                delta = self.enc_sampler[group](combiner(encoded, state))
                delta_mean, delta_raw = delta.chunk(2, dim=1)
                mean, raw = prior_mean + delta_mean, prior_raw + delta_raw
            epsilon = torch.randn_like(mean) if noise is None else noise[group]
            z = self._latent(output, group, (mean, raw), (prior_mean, prior_raw), epsilon)
            state = module(state, z)
            group += 1
        output.logits = self._decode_tail(state)
        return output

    def _latent(self, output: Output, group: int, posterior, prior, epsilon: Tensor) -> Tensor:
        mean_q, scale_q = soft_clamp(posterior[0]), scale_from_raw(posterior[1])
        mean_p, scale_p = soft_clamp(prior[0]), scale_from_raw(prior[1])
        sample = mean_q + scale_q * epsilon
        z = self._flow(sample, group)
        if self.training and not self.architecture.num_flows:
            output.kl.append(_normal_kl(mean_q, scale_q, mean_p, scale_p))
            return z
        output.log_q.append(_log_prob(sample, mean_q, scale_q))
        output.log_p.append(_log_prob(z, mean_p, scale_p))
        if self.architecture.num_flows:
            output.kl.append(output.log_q[-1] - output.log_p[-1])
        else:
            output.kl.append(_normal_kl(mean_q, scale_q, mean_p, scale_p))
        return z

    def prior_logits(
        self, num_images: int, temperature: float = 1.0, noise: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Head output for latents drawn from the prior, whose scales `temperature` multiplies."""
        state = self.prior_ftr0.expand(num_images, -1, -1, -1)
        group = 0
        for module in self.dec_tower:
            if not isinstance(module, DecoderCombiner):
                state = module(state)
                continue
            if group:
                mean, raw = self.dec_sampler[group - 1](state).chunk(2, dim=1)
            else:
                shape = (num_images, self.architecture.latent_channels, *state.shape[2:])
                mean = raw = state.new_zeros(shape)
            epsilon = torch.randn_like(mean) if noise is None else noise[group]
            z = soft_clamp(mean) + temperature * scale_from_raw(raw) * epsilon
            state = module(state, z)
            group += 1
        return self._decode_tail(state)

    def pad(self, images: Tensor) -> Tensor:
        """Images with the border of zeros that makes the grids divisible."""
        return F.pad(images, (self.architecture.padding,) * 4)

    def crop(self, x: Tensor) -> Tensor:
        """The central, unpadded part."""
        padding = self.architecture.padding
        return x[:, :, padding:-padding, padding:-padding] if padding else x

    @torch.inference_mode()
    def sample(self, num_images: int, temperature: float = 1.0) -> Tensor:
        """Mean images `[N, 1, H, W]` of the Bernoulli decoder for prior latents."""
        return torch.sigmoid(self.crop(self.prior_logits(num_images, temperature)))

    @torch.no_grad()
    def freeze_kernels(self, frozen: bool = True) -> None:
        """Computes the effective kernels once, for repeated inference with fixed weights."""
        for conv in self.convs:
            if isinstance(conv, WeightNormConv):
                conv.kernel = conv.effective_kernel() if frozen else None
                conv.frozen = frozen


def convolution_gflop(architecture: Architecture, batch_size: int) -> dict[str, float]:
    """1e9 operations (two per multiply-add) of one forward pass, by kind of convolution."""
    counts: Counter[str] = Counter()

    def record(conv: nn.Conv2d, _: object, output: Tensor) -> None:
        kind = "depthwise" if conv.groups > 1 else "x".join(map(str, conv.kernel_size))
        counts[kind] += 2 * output.numel() * conv.weight[0].numel()

    with torch.device("meta"):
        model = NVAE(architecture)
        for conv in model.convs:
            conv.register_forward_hook(record)
        size = architecture.image_size + 2 * architecture.padding
        model(torch.empty(batch_size, architecture.image_channels, size, size))
    return {kind: count / 1e9 for kind, count in counts.items()}
