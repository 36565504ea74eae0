"""The classifier of a latent group and its resampling, in PyTorch, for `sir.py` to compare with.

Written from the equations for this comparison, in evaluation mode and without gradients, with the
effective kernels of the tfgen model (weight norm is computed once, as a PyTorch user would).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_parts import side_by_side


def _conv(weights: dict[str, Any]) -> nn.Conv2d:
    kernel = np.transpose(weights["kernel"], (3, 2, 0, 1)).copy()
    size, stride = kernel.shape[-1], weights["stride"]
    module = nn.Conv2d(kernel.shape[1], kernel.shape[0], size, stride, padding=(size - 1) // 2)
    module.weight.data = torch.from_numpy(kernel)
    module.bias.data = torch.from_numpy(weights["bias"])
    return module


def _norm(weights: dict[str, np.ndarray]) -> nn.BatchNorm2d:
    module = nn.BatchNorm2d(len(weights["scale"]))
    targets = (module.weight.data, module.bias.data, module.running_mean, module.running_var)
    for target, name in zip(targets, ("scale", "offset", "mean", "variance")):
        target.copy_(torch.from_numpy(weights[name]))
    return module


def _dense(weights: dict[str, np.ndarray]) -> nn.Linear:
    module = nn.Linear(*weights["kernel"].shape)
    module.weight.data = torch.from_numpy(weights["kernel"].T.copy())
    module.bias.data = torch.from_numpy(weights["bias"])
    return module


class Cell(nn.Module):
    """BN, swish, 3x3, BN, swish, 3x3, squeeze and excite, added to the skip with factor 0.1."""

    def __init__(self, weights: dict[str, Any]) -> None:
        super().__init__()
        self.norms = nn.ModuleList(map(_norm, weights["norms"]))
        self.convs = nn.ModuleList(map(_conv, weights["convs"]))
        self.reduce = _dense(weights["reduce"])
        self.expand = _dense(weights["expand"])
        self.skips = nn.ModuleList(map(_conv, weights["skips"]))

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

    def __init__(self, weights: dict[str, Any]) -> None:
        super().__init__()
        self.project_z = _conv(weights["project_z"])
        self.project_context = _conv(weights["project_context"])
        self.cells = nn.ModuleList(map(Cell, weights["cells"]))
        self.norm = _norm(weights["norm"])
        self.head = _dense(weights["head"])
        self.quadratic = _dense(weights["quadratic"])

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
def resample(classifier, propose, context, loc, scale, count: int, chunk: int) -> Tensor:
    """The chosen noise `[B, C, H, W]`: Gumbel-max over `count` proposals, a chunk at a time.

    `propose` makes of a slice of the proposals their noise and uniforms.
    """
    projected = classifier.context(context, loc, scale)
    best = torch.full((len(loc),), -torch.inf)
    chosen = torch.zeros_like(loc, memory_format=torch.contiguous_format)
    for start in range(0, count, chunk):
        part, uniforms = propose(slice(start, min(count, start + chunk)))
        log_r = classifier(part, loc, scale, projected)
        score = log_r - torch.log(-torch.log(uniforms))
        value, index = score.max(1)
        better = value > best
        best = torch.where(better, value, best)
        candidate = part[torch.arange(len(part)), index]
        chosen = torch.where(better[:, None, None, None], candidate, chosen)
    return chosen


_IN_PARTS = ", in parts"


class Peer:
    """The loop in both memory layouts, on the whole batch and in parts side by side.

    Args:
        weights: of the classifier, see `sir.classifier_weights`.
        inputs: noise `[B, M, H, W, C]`, uniforms, context, mean and deviation.
        chunk: proposals at a time.
        threads: of PyTorch.
        compile_too: also under torch.compile.
        draw: whether noise is drawn in the loop instead of given.
    """

    def __init__(
        self,
        weights: dict[str, Any],
        inputs: Sequence[np.ndarray],
        chunk: int,
        threads: int,
        compile_too: bool,
        draw: bool = False,
    ) -> None:
        torch.set_num_threads(threads)
        eps, uniforms, *rest = inputs
        self._noise = torch.from_numpy(np.moveaxis(eps, -1, 2).copy()), torch.from_numpy(uniforms)
        rest = [torch.from_numpy(np.moveaxis(x, -1, 1).copy()) for x in rest]
        last = [x.contiguous(memory_format=torch.channels_last) for x in rest]
        self._chunk, self._draw, self._threads = chunk, draw, threads
        self._variants = {
            "contiguous": (Classifier(weights).eval(), rest),
            "channels_last": (
                Classifier(weights).eval().to(memory_format=torch.channels_last),
                last,
            ),
        }
        for name, (model, values) in list(self._variants.items()) if compile_too else ():
            compiled = torch.compile(model, dynamic=False)
            # `context` is called beside `forward`, and runs as it is.
            self._variants[f"{name}, compiled"] = (compiled, values)

    def variants(self) -> list[str]:
        names = list(self._variants)
        return names + [f"{name}{_IN_PARTS}" for name in names if self._threads > 1]

    def timed(self, variant: str) -> tuple[float, np.ndarray]:
        """Seconds of one call, and the chosen noise `[B, H, W, C]`."""
        model, values = self._variants[variant.removesuffix(_IN_PARTS)]
        start = time.perf_counter()

        def of(rows: slice) -> Tensor:
            propose = functools.partial(self._drawn if self._draw else self._given, rows)
            count = self._noise[0].shape[1]
            return resample(model, propose, *(x[rows] for x in values), count, self._chunk)

        batch = len(values[0])
        if variant.endswith(_IN_PARTS):
            chosen = torch.cat(side_by_side(of, batch, self._threads))
        else:
            chosen = of(slice(0, batch))
        return time.perf_counter() - start, np.moveaxis(chosen.numpy(), 1, -1)

    def _given(self, rows: slice, which: slice) -> tuple[Tensor, Tensor]:
        eps, uniforms = self._noise
        return eps[rows, which], uniforms[rows, which]

    def _drawn(self, rows: slice, which: slice) -> tuple[Tensor, Tensor]:
        shape = self._noise[0].shape[2:]
        images, count = rows.stop - rows.start, which.stop - which.start
        return torch.randn(images, count, *shape), torch.rand(images, count)
