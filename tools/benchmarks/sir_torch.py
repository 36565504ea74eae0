"""The classifier of a latent group and its resampling, in PyTorch, for `sir.py` to compare with.

Written from the equations for this comparison, in evaluation mode and without gradients, with the
effective kernels of the tfgen model (weight norm is computed once, as a PyTorch user would).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _conv(w, conv, stride: int = 1) -> nn.Conv2d:
    kernel = np.transpose(w.kernel(conv).numpy(), (3, 2, 0, 1)).copy()
    size = kernel.shape[-1]
    module = nn.Conv2d(kernel.shape[1], kernel.shape[0], size, stride, padding=(size - 1) // 2)
    module.weight.data = torch.from_numpy(kernel)
    module.bias.data = torch.from_numpy(w.bias(conv).numpy().copy())
    return module


def _norm(bank, norm) -> nn.BatchNorm2d:
    module = nn.BatchNorm2d(norm.channels)
    pairs = (
        (module.weight.data, bank.scales),
        (module.bias.data, bank.offsets),
        (module.running_mean, bank.means),
        (module.running_var, bank.variances),
    )
    for target, source in pairs:
        target.copy_(torch.from_numpy(source[norm.channels].numpy()[norm.row].copy()))
    return module


def _dense(w, dense) -> nn.Linear:
    kernel = w._row("kernels", dense.stack, dense.row).numpy()
    module = nn.Linear(*kernel.shape)
    module.weight.data = torch.from_numpy(kernel.T.copy())
    module.bias.data = torch.from_numpy(
        w._row("biases", dense.units, dense.bias_row).numpy().copy()
    )
    return module


class Cell(nn.Module):
    """BN, swish, 3x3, BN, swish, 3x3, squeeze and excite, added to the skip with factor 0.1."""

    def __init__(self, w, bank, cell):
        super().__init__()
        body = cell.body
        self.norms = nn.ModuleList(_norm(bank, n) for n in body.norms)
        self.convs = nn.ModuleList(_conv(w, c, c.stride) for c in body.convs)
        self.reduce = _dense(w, cell.squeeze_excite.reduce)
        self.expand = _dense(w, cell.squeeze_excite.expand)
        parts = getattr(cell.skip, "convs", [])
        self.skips = nn.ModuleList(_conv(w, c) for c in parts)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for norm, conv in zip(self.norms, self.convs):
            y = conv(F.silu(norm(y)))
        gate = torch.sigmoid(self.expand(F.relu(self.reduce(y.mean((2, 3))))))
        return self._skip(x) + 0.1 * gate[:, :, None, None] * y

    def _skip(self, x: Tensor) -> Tensor:
        if not self.skips:
            return x
        x = F.silu(x)
        corners = ((0, 0), (1, 1), (0, 1), (1, 0))
        return torch.cat([c(x[:, :, i::2, j::2]) for c, (i, j) in zip(self.skips, corners)], 1)


class Classifier(nn.Module):
    """As `tfgen.generative.ncp.classifier.GridClassifier`."""

    def __init__(self, w, bank, classifier):
        super().__init__()
        self.project_z = _conv(w, classifier.project_z)
        self.project_context = _conv(w, classifier.project_context)
        self.cells = nn.ModuleList(Cell(w, bank, cell) for cell in classifier.trunk.cells)
        self.norm = _norm(bank, classifier.trunk.norm)
        self.head = _dense(w, classifier.trunk.head)
        self.quadratic = _dense(w, classifier.quadratic)

    def context(self, context: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        return self.project_context(torch.cat([context, loc, scale.log()], 1))

    def forward(self, eps: Tensor, loc: Tensor, scale: Tensor, projected: Tensor) -> Tensor:
        """log r `[B, m]` of whitened latents `[B, m, C, H, W]`."""
        batch, count = eps.shape[:2]
        white = eps.flatten(0, 1)
        z = (loc[:, None] + scale[:, None] * eps).flatten(0, 1)
        x = torch.cat([z, white], 1)
        if projected.is_contiguous(memory_format=torch.channels_last):
            x = x.contiguous(memory_format=torch.channels_last)
        x = torch.cat([self.project_z(x), projected.repeat_interleave(count, 0)], 1)
        for cell in self.cells:
            x = cell(x)
        logits = self.head(F.silu(self.norm(x)).mean((2, 3)))
        flat = white.permute(0, 2, 3, 1).flatten(1)  # tfgen's order of numbers
        logits = logits + self.quadratic(torch.cat([flat, 0.5 * (flat**2 - 1)], 1))
        return logits.reshape(batch, count)


@torch.no_grad()
def resample(classifier, eps, uniforms, context, loc, scale, chunk: int) -> Tensor:
    """The chosen noise `[B, C, H, W]`: Gumbel-max over M proposals, a chunk at a time."""
    projected = classifier.context(context, loc, scale)
    best = torch.full((len(eps),), -torch.inf)
    chosen = torch.zeros_like(eps[:, 0])
    for start in range(0, eps.shape[1], chunk):
        part = eps[:, start : start + chunk]
        log_r = classifier(part, loc, scale, projected)
        score = log_r - torch.log(-torch.log(uniforms[:, start : start + chunk]))
        value, index = score.max(1)
        better = value > best
        best = torch.where(better, value, best)
        candidate = part[torch.arange(len(part)), index]
        chosen = torch.where(better[:, None, None, None], candidate, chosen)
    return chosen
