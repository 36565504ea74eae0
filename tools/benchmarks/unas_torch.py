"""UNAS's supernet of cells and its search step in PyTorch, the peer of `unas.py`.

Written from the equations for this comparison, as one would write them in PyTorch today. Modules
are named so that a path with underscores is the name of the layer in `CellSupernet`, from which the
weights come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_side import TorchSide, tensors_of

OPERATIONS = (
    "skip",
    "separable_3x3",
    "max_pool_3x3",
    "dilated_3x3",
    "separable_5x5",
    "average_pool_3x3",
    "separable_7x7",
)
# Passes of a step that count as forward ones: training and validation images, relaxed and discrete,
# 4; gradients of the weights, 2; of the logits through both relaxed passes, 2.
PASSES = 8.0


def norm(channels: int, affine: bool = False) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-5, momentum=0.1, affine=affine)


class Separable(nn.Module):
    """ReLU, depthwise and pointwise convolution and batch norm, twice."""

    def __init__(self, channels: int, size: int, stride: int) -> None:
        super().__init__()
        for step, at in ((1, stride), (2, 1)):
            depthwise = nn.Conv2d(
                channels, channels, size, at, size // 2, groups=channels, bias=False
            )
            self.add_module(f"depthwise{step}", depthwise)
            self.add_module(f"pointwise{step}", nn.Conv2d(channels, channels, 1, bias=False))
            self.add_module(f"norm{step}", norm(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.pointwise1(self.depthwise1(F.relu(x))))
        return self.norm2(self.pointwise2(self.depthwise2(F.relu(x))))


class Dilated(nn.Module):
    """ReLU, depthwise convolution over every second pixel, pointwise one and batch norm."""

    def __init__(self, channels: int, size: int, stride: int) -> None:
        super().__init__()
        options = dict(padding=2 * (size // 2), dilation=2, groups=channels, bias=False)
        self.depthwise1 = nn.Conv2d(channels, channels, size, stride, **options)
        self.pointwise1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm1 = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm1(self.pointwise1(self.depthwise1(F.relu(x))))


class FactorizedReduction(nn.Module):
    """Half the grid by two convolutions, of which the second looks one pixel further on."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters // 2, 1, 2, bias=False)
        self.conv2 = nn.Conv2d(channels, filters // 2, 1, 2, bias=False)
        self.norm = norm(filters)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return self.norm(torch.cat([self.conv1(x), self.conv2(x[:, :, 1:, 1:])], 1))


class ReluConv(nn.Module):
    """What comes into a cell, at the cell's width."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, 1, bias=False)
        self.norm = norm(filters)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(F.relu(x)))


class Pool(nn.Module):
    """The largest or the mean of 3 x 3 pixels, of those that there are."""

    def __init__(self, largest: bool, stride: int) -> None:
        super().__init__()
        self.largest, self.stride = largest, stride

    def forward(self, x: Tensor) -> Tensor:
        if self.largest:
            return F.max_pool2d(x, 3, self.stride, 1)
        return F.avg_pool2d(x, 3, self.stride, 1, count_include_pad=False)


def operation(name: str, channels: int, stride: int) -> nn.Module:
    kind, _, size = name.rpartition("_")
    if name == "skip":
        return nn.Identity() if stride == 1 else FactorizedReduction(channels, channels)
    if kind.endswith("pool"):
        return Pool(kind == "max_pool", stride)
    return (Separable if kind == "separable" else Dilated)(channels, int(size[0]), stride)


class Supernet(nn.Module):
    """Logits of images `[B, C, H, W]` under architectures `{group: [B, 2, choices]}`."""

    def __init__(
        self,
        num_channels: int,
        num_cells: int,
        num_classes: int,
        skip_below: float,
        num_operations: int = len(OPERATIONS),
        num_nodes: int = 4,
    ) -> None:
        super().__init__()
        self.operations, self.nodes = OPERATIONS[:num_operations], num_nodes
        self.cells, self.skip_below = num_cells, skip_below
        self.reductions = (num_cells // 3, 2 * num_cells // 3)
        self.stem = nn.Sequential()
        self.stem.add_module("conv", nn.Conv2d(3, 3 * num_channels, 3, padding=1, bias=False))
        self.stem.add_module("norm", norm(3 * num_channels, affine=True))
        widths, width, halved = [3 * num_channels] * 2, num_channels, False
        for cell in range(num_cells):
            reduces = cell in self.reductions
            width *= 2 if reduces else 1
            fit = FactorizedReduction if halved else ReluConv
            for number, make in enumerate((fit, ReluConv)):
                self.add_module(f"cell{cell}_input{number}", make(widths[number], width))
            for node in range(self.nodes):
                for source in range(node + 2):
                    stride = 2 if reduces and source < 2 else 1
                    for name in self.operations:
                        made = operation(name, width, stride)
                        self.add_module(f"cell{cell}_node{node}_input{source}_{name}", made)
            widths, halved = [widths[1], self.nodes * width], reduces
        self.logits = nn.Linear(widths[1], num_classes)

    def forward(self, images: Tensor, architectures: Mapping[str, Tensor]) -> Tensor:
        before = x = self.stem(images)
        for cell in range(self.cells):
            before, x = x, self.cell(cell, before, x, architectures)
        return self.logits(x.mean((2, 3)))

    def cell(self, cell: int, before: Tensor, last: Tensor, architectures) -> Tensor:
        kind = "reduction" if cell in self.reductions else "normal"
        fit = [getattr(self, f"cell{cell}_input{number}") for number in range(2)]
        states = [fit[0](before), fit[1](last)]
        for node in range(self.nodes):
            edges = (architectures[f"{kind}/{node}/{what}"] for what in ("input", "operation"))
            weights = torch.einsum("bei,beo->ibo", *edges)
            total = 0.0
            for source in range(node + 2):
                start = f"cell{cell}_node{node}_input{source}"
                total = total + self.mixed(start, states[source], weights[source])
            states.append(total)
        return torch.cat(states[2:], 1)

    def mixed(self, start: str, x: Tensor, weights: Tensor) -> Tensor:
        total = None
        for number, name in enumerate(self.operations):
            if self.skip_below and weights[:, number].max() < self.skip_below:
                continue
            column = weights[:, number, None, None, None]
            found = getattr(self, f"{start}_{name}")(x)
            total = column * found if total is None else torch.addcmul(total, column, found)
        return 0.0 if total is None else total


def agreement(pair: Tensor) -> Tensor:
    return (pair[:, 0] * pair[:, 1]).sum(-1)


def duplicates(weights: Mapping[str, Tensor]) -> Tensor:
    nodes = {name.rpartition("/")[0] for name in weights}
    return sum(
        agreement(weights[f"{node}/input"]) * agreement(weights[f"{node}/operation"])
        for node in nodes
    )


class Peer(TorchSide):
    """The supernet, the logits and the search step.

    Args:
        layout: "NCHW" or "channels_last".
        threads: of PyTorch.
        options: keyword arguments of `Supernet`.
        weights: arrays by the name of the layer in `CellSupernet`.
        batch: images `[N, H, W, C]` and labels of both halves.
        uniforms: noise that `loss` draws architectures with.
        search: what `UNAS` is made with.
        rates: learning rates of "weights" and "architecture".
    """

    def __init__(
        self,
        layout: str,
        threads: int,
        options: Mapping,
        weights: Mapping[str, Sequence[np.ndarray]],
        batch: Mapping[str, np.ndarray],
        uniforms: Mapping[str, np.ndarray],
        search: Mapping[str, float],
        rates: Mapping[str, float],
    ) -> None:
        super().__init__(threads)
        self.net = Supernet(**options)
        self.copy(self.net, weights)
        self.net = self.net.to(memory_format=self.layouts[layout]).train()
        self.batch = tensors_of(batch, layout)
        self.noise = {key: torch.from_numpy(value) for key, value in uniforms.items()}
        self.alphas = {k: torch.zeros(v.shape[1:], requires_grad=True) for k, v in uniforms.items()}
        self.search = dict(search)
        self.weights = list(self.net.parameters())
        adam = dict(eps=1e-7, fused=True)
        self.optimizers = [
            torch.optim.Adam(self.weights, rates["weights"], **adam),
            torch.optim.Adam(list(self.alphas.values()), rates["architecture"], **adam),
        ]

    def parameters(self) -> int:
        return sum(p.numel() for p in (*self.weights, *self.alphas.values()))

    def draw(self, noise: Mapping[str, Tensor]) -> tuple[dict, dict, Tensor]:
        """Relaxed and discrete architectures, and log p of these."""
        relaxed, discrete, log_prob = {}, {}, 0.0
        for key, alpha in self.alphas.items():
            log_p = alpha.log_softmax(-1)
            uniforms = noise[key].clamp(1e-7, 1.0 - 1e-7)
            perturbed = log_p - torch.log(-torch.log(uniforms))
            z = F.one_hot(perturbed.argmax(-1), alpha.shape[-1]).to(log_p.dtype)
            share = torch.exp(perturbed - perturbed.amax(-1, keepdim=True)).detach()
            # UNAS's correction: the value itself, and of its gradient this share.
            corrected = share * perturbed + ((1.0 - share) * perturbed).detach()
            relaxed[key] = (corrected / self.search["temperature"]).softmax(-1)
            discrete[key] = z
            log_prob = log_prob + (z * log_p).sum((1, 2))
        return relaxed, discrete, log_prob

    def losses(self, kind: str, architectures: Mapping[str, Tensor]) -> Tensor:
        logits = self.net(self.batch[f"{kind}images"], architectures)
        return F.cross_entropy(logits, self.batch[f"{kind}labels"], reduction="none")

    def objective(self, train: Tensor, validation: Tensor, architectures) -> Tensor:
        gap = self.search["gap_coefficient"] * (validation - train).abs()
        return train + gap + self.search["duplicate_coefficient"] * duplicates(architectures)

    def loss(self) -> float:
        """The cross-entropy of the training images under the relaxed architectures of the noise."""
        with torch.no_grad(), self.unmoved(self.net):
            return float(self.losses("", self.draw(self.noise)[0]).mean())

    def gflop(self) -> float:
        with torch.no_grad(), self.unmoved(self.net):
            return PASSES * self.counted(lambda: self.losses("", self.draw(self.noise)[0]))

    def gradients(self, noise: Mapping[str, Tensor]) -> tuple[Tensor, Sequence, Sequence]:
        """The mean cross-entropy, and the gradients of weights and logits, without penalties."""
        relaxed, discrete, log_prob = self.draw(noise)
        train, validation = (self.losses(kind, relaxed) for kind in ("", "validation_"))
        with torch.no_grad():
            losses = (self.losses(kind, discrete) for kind in ("", "validation_"))
            measured = self.objective(*losses, discrete)
        surrogate = self.objective(train, validation, relaxed)
        estimated = ((measured - surrogate.detach()) * log_prob + surrogate).mean()
        mean, alphas = train.mean(), list(self.alphas.values())
        of_alphas = torch.autograd.grad(estimated, alphas, retain_graph=True)
        return mean.detach(), torch.autograd.grad(mean, self.weights), of_alphas

    def estimate(self) -> dict[str, np.ndarray]:
        """UNAS's gradient of the logits for the noise, by group."""
        with self.unmoved(self.net):
            *_, found = self.gradients(self.noise)
        return {key: gradient.numpy() for key, gradient in zip(self.alphas, found)}

    def step(self) -> Tensor:
        noise = {key: torch.rand_like(value) for key, value in self.noise.items()}
        mean, of_weights, of_alphas = self.gradients(noise)
        for alpha, gradient in zip(self.alphas.values(), of_alphas):
            alpha.grad = gradient + self.search["logit_penalty"] * alpha.detach()
        for weight, gradient in zip(self.weights, of_weights):
            weight.grad = gradient
        nn.utils.clip_grad_norm_(self.weights, self.search["clip_norm"], foreach=True)
        gradients, values = zip(*((w.grad, w.detach()) for w in self.weights))
        torch._foreach_add_(gradients, values, alpha=self.search["weight_penalty"])
        for optimizer in self.optimizers:
            optimizer.step()
        return mean
