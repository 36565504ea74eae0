"""Layers of the PyTorch NVAE that `nvae.py` compares tfgen with.

Written from the equations for this comparison, as one would write them in PyTorch today. Module
attributes are named so that `state_dict` has the names of published NVAE checkpoints; that is what
lets the equality of the two models be proven before their speed is compared.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WeightNormConv(nn.Conv2d):
    """Convolution with kernel `exp(log_weight_norm) * W / (|W| + 1e-5)`, one norm per filter.

    `kernel` holds the effective kernel of the last forward pass: the spectral penalty reads it, so
    that it is computed once per step. Between `freeze_kernels` and the next training step the
    stored kernel is used as it is.
    """

    kernel: Tensor | None = None
    masked = False
    frozen = False

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, **kwargs) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, padding=(kernel_size - 1) // 2, **kwargs
        )
        with torch.no_grad():
            norm = self._filter_norm(self.weight)
        self.log_weight_norm = nn.Parameter(torch.log(norm + 1e-2))

    @staticmethod
    def _filter_norm(weight: Tensor) -> Tensor:
        return torch.linalg.vector_norm(weight, dim=(1, 2, 3), keepdim=True)

    def effective_kernel(self) -> Tensor:
        weight = self.weight * self.mask if self.masked else self.weight
        return weight * (self.log_weight_norm.exp() / (self._filter_norm(weight) + 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        if not self.frozen:
            self.kernel = self.effective_kernel()
        return F.conv2d(
            x, self.kernel, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class PlainConv(nn.Conv2d):
    """Convolution without bias or weight norm: the three inside the depthwise cell."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, groups: int = 1):
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            padding=(kernel_size - 1) // 2,
            groups=groups,
            bias=False,
        )

    @property
    def kernel(self) -> Tensor:
        return self.weight


class BatchNorm(nn.BatchNorm2d):
    """Batch norm with new = 0.95 old + 0.05 batch."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-5, momentum=0.05)

    def forward(self, x: Tensor) -> Tensor:
        # The step counter that nn.BatchNorm2d.forward keeps is not needed at a fixed momentum.
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
        )


class SqueezeExcite(nn.Module):
    """A gate in (0, 1) per channel, `[B, C, 1, 1]`, from the spatial mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 16, 4)
        self.se = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.se(x.mean((2, 3)))[:, :, None, None]


class FactorizedReduce(nn.Module):
    """Skip path of a down cell: Swish, then four 1x1 convolutions, one per 2x2 pixel phase."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        quarter = out_channels // 4
        self.conv_1 = WeightNormConv(in_channels, quarter, 1, stride=2)
        self.conv_2 = WeightNormConv(in_channels, quarter, 1, stride=2)
        self.conv_3 = WeightNormConv(in_channels, quarter, 1, stride=2)
        self.conv_4 = WeightNormConv(in_channels, out_channels - 3 * quarter, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(x)
        phases = (
            self.conv_1(x),
            self.conv_2(x[:, :, 1:, 1:]),
            self.conv_3(x[:, :, :, 1:]),
            self.conv_4(x[:, :, 1:, :]),
        )
        return torch.cat(phases, dim=1)


class NormSwishConv(nn.Module):
    """Batch norm, Swish, 3x3 convolution: half of an encoder cell."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.bn_act = BatchNorm(in_channels)
        self.conv_0 = WeightNormConv(in_channels, out_channels, 3, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_0(F.silu(self.bn_act(x)))


class _Norm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = BatchNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(x)


class _ConvNormSwish(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, groups: int = 1):
        super().__init__()
        conv = PlainConv(in_channels, out_channels, kernel_size, groups)
        self.conv = nn.Sequential(conv, BatchNorm(out_channels), nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class DepthwiseBottleneck(nn.Module):
    """Inverted bottleneck: 1x1 to `expansion` times the input width, depthwise 5x5, 1x1."""

    def __init__(self, in_channels: int, out_channels: int, expansion: int, up: bool) -> None:
        super().__init__()
        hidden = expansion * in_channels
        layers = [nn.UpsamplingNearest2d(scale_factor=2)] if up else []
        layers += [
            _Norm(in_channels),
            _ConvNormSwish(in_channels, hidden, 1),
            _ConvNormSwish(hidden, hidden, 5, groups=hidden),
            PlainConv(hidden, out_channels, 1),
            _Norm(out_channels),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Cell(nn.Module):
    """Residual cell: `skip(x) + 0.1 * SE(body(x))`."""

    def __init__(self, body: list[nn.Module], skip: nn.Module | None, out_channels: int) -> None:
        super().__init__()
        self.skip = skip or nn.Identity()
        self._ops = nn.ModuleList(body)
        self.se = SqueezeExcite(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        body = x
        for operation in self._ops:
            body = operation(body)
        return torch.addcmul(self.skip(x), body, self.se(body), value=0.1)


def encoder_cell(channels: int, down: bool = False) -> Cell:
    """Two [BN, Swish, 3x3]; the down version halves the grid and doubles the channels."""
    out = 2 * channels if down else channels
    first = NormSwishConv(channels, out, stride=2 if down else 1)
    skip = FactorizedReduce(channels, out) if down else None
    return Cell([first, NormSwishConv(out, out)], skip, out)


def decoder_cell(channels: int, expansion: int, up: bool = False) -> Cell:
    """Depthwise bottleneck; the up version doubles the grid and halves the channels."""
    out = channels // 2 if up else channels
    skip = None
    if up:
        upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        skip = nn.Sequential(upsample, WeightNormConv(channels, out, 1, bias=False))
    return Cell([DepthwiseBottleneck(channels, out, expansion, up)], skip, out)


class EncoderCombiner(nn.Module):
    """Encoder feature plus a 1x1 convolution of the decoder state."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = WeightNormConv(channels, channels, 1)

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        return encoder + self.conv(decoder)


class DecoderCombiner(nn.Module):
    """1x1 convolution of the concatenated decoder state and latent."""

    def __init__(self, channels: int, latent_channels: int) -> None:
        super().__init__()
        self.conv = WeightNormConv(channels + latent_channels, channels, 1)

    def forward(self, state: Tensor, latent: Tensor) -> Tensor:
        return self.conv(torch.cat((state, latent), dim=1))


def autoregressive_mask(conv: nn.Conv2d, latents: int, strict: bool, mirror: bool) -> Tensor:
    """1 where a kernel tap may look: earlier pixels, and at the centre earlier channels."""
    size = conv.kernel_size[0]
    centre = size // 2
    mask = torch.zeros(conv.weight.shape)
    mask[:, :, :centre] = 1
    mask[:, :, centre, :centre] = 1
    if conv.groups > 1:
        mask[:, :, centre, centre] = 1
    else:
        row = torch.arange(conv.out_channels) // (conv.out_channels // latents)
        column = torch.arange(conv.in_channels) // (conv.in_channels // latents)
        allowed = row[:, None] > column if strict else row[:, None] >= column
        mask[:, :, centre, centre] = allowed.float()
    return mask.flip(2, 3) if mirror else mask


class ShiftFlow(nn.Module):
    """z - m(z), m strictly autoregressive in raster (or mirrored) order: determinant one."""

    def __init__(self, latents: int, mirror: bool) -> None:
        super().__init__()
        hidden = 6 * latents
        first = WeightNormConv(latents, hidden, 3, bias=False)
        second = WeightNormConv(hidden, hidden, 5, groups=hidden, bias=False)
        last = WeightNormConv(hidden, latents, 1)
        for conv, strict in ((first, True), (second, False), (last, False)):
            mask = autoregressive_mask(conv, latents, strict, mirror)
            conv.masked = True
            conv.register_buffer("mask", mask, persistent=False)
            with torch.no_grad():
                norm = conv._filter_norm(conv.weight * mask)
                conv.log_weight_norm.copy_(torch.log(norm + 1e-2))
        last.log_weight_norm.data -= math.log(10.0)
        self.conv = nn.Module()
        self.conv.convz = nn.Sequential(first, nn.ELU(), second, nn.ELU())
        self.mu = nn.Module()
        self.mu.conv_0 = last

    def forward(self, z: Tensor) -> Tensor:
        # The published model applies the last ELU twice.
        return z - self.mu.conv_0(F.elu(self.conv.convz(z)))


class FlowPair(nn.Module):
    """One shift in raster order, one in the mirrored order."""

    def __init__(self, latents: int) -> None:
        super().__init__()
        self.cell1 = ShiftFlow(latents, mirror=False)
        self.cell2 = ShiftFlow(latents, mirror=True)

    def forward(self, z: Tensor) -> Tensor:
        return self.cell2(self.cell1(z))
